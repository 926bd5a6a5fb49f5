//! Which of several inputs is read next: the one whose event time lags behind the others.
//!
//! What one input brings often waits for what another one brings of the same time: a row of a join for its partner, a bid
//! for its auction. The less far apart they are read, the less has to wait, and waiting is dear: it is state, timers, and
//! memory. Of inputs that are equally far, the one that was named first goes first, so that two branches of one stream
//! are not read in the other order only because of when they were filled. Without event time they take turns.
//!
//! This is a matter of speed alone: the order in which inputs are read is never promised. Whoever lags behind for ever is
//! preferred only so often in a row.

use piton_actors::{Timestamp, WATERMARK_MIN};

/// How often in a row an input may be read although it is another's turn.
const MOST_IN_A_ROW: u32 = 32;

/// Remembers whose turn it is. See the module.
#[derive(Default)]
pub(crate) struct Turns {
    /// Whose turn it is.
    next: usize,
    /// How often in a row somebody else was preferred.
    preferred: u32,
}

impl Turns {
    /// Returns which of so many channels is read now, if any can be: `far` says how far its event time is, and nothing
    /// if there is nothing to be read from it.
    pub(crate) fn choose(&mut self, channels: usize, far: impl Fn(usize) -> Option<Timestamp>) -> Option<usize> {
        let mut in_turn = (0..channels).map(|offset| (self.next + offset) % channels);
        let (first, reached) = in_turn.find_map(|channel| Some((channel, far(channel)?)))?;
        let mut chosen = (reached, first);
        if self.preferred < MOST_IN_A_ROW {
            for channel in in_turn {
                let Some(reached) = far(channel) else { continue };
                let is_named_before = reached == chosen.0 && reached != WATERMARK_MIN && channel < chosen.1;
                if reached < chosen.0 || is_named_before {
                    chosen = (reached, channel);
                }
            }
        }
        let (_, channel) = chosen;
        // Whoever was passed over still has its turn.
        (self.next, self.preferred) =
            if channel == first { ((channel + 1) % channels, 0) } else { (first, self.preferred + 1) };
        Some(channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(turns: &mut Turns, far: &[Option<Timestamp>], times: usize) -> Vec<usize> {
        (0..times).map(|_| turns.choose(far.len(), |channel| far[channel]).unwrap()).collect()
    }

    #[test]
    fn without_event_time_they_take_turns() {
        let (none, some) = (None, Some(WATERMARK_MIN));
        assert_eq!(chosen(&mut Turns::default(), &[some, some, some], 5), [0, 1, 2, 0, 1]);
        assert_eq!(chosen(&mut Turns::default(), &[some, none, some], 5), [0, 2, 0, 2, 0]);
        assert_eq!(Turns::default().choose(2, |_| None), None);
        assert_eq!(Turns::default().choose(0, |_| None), None);
    }

    #[test]
    fn whoever_lags_behind_goes_first() {
        let mut turns = Turns::default();
        assert_eq!(chosen(&mut turns, &[Some(7), Some(5), Some(6)], 3), [1, 1, 1]);
        assert_eq!(chosen(&mut turns, &[Some(7), None, Some(6)], 2), [2, 2]);
        assert_eq!(chosen(&mut turns, &[Some(7), Some(WATERMARK_MIN), Some(6)], 1), [1], "nothing is known of it yet");
    }

    #[test]
    fn of_two_that_are_equally_far_the_first_goes_first() {
        for next in 0..2 {
            let mut turns = Turns { next, preferred: 0 };
            assert_eq!(chosen(&mut turns, &[Some(5), Some(5)], 1), [0]);
            assert_eq!(chosen(&mut turns, &[Some(6), Some(5)], 1), [1]);
        }
    }

    #[test]
    fn nobody_is_passed_over_for_ever() {
        let mut turns = Turns::default();
        let chosen = chosen(&mut turns, &[Some(5), Some(9), Some(9)], 1_000);
        for other in [1, 2] {
            let longest = chosen.split(|channel| *channel == other).map(<[usize]>::len).max();
            assert!(longest <= Some(3 * MOST_IN_A_ROW as usize), "{longest:?}");
        }
    }
}
