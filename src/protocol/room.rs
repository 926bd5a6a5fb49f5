//! How much may be kept for a restart, and when it is time for the checkpoint that lets it go.
//!
//! A checkpoint that is asked for too early costs work, too late it leaves a gap: what is beyond the limit is not kept,
//! so that the next failure goes up to the region. The first is asked for at half of the limit. Then it is known how
//! much more comes until the cut, and twice as much is left free for it, of late at most: where asking is answered at
//! once, there are half as many checkpoints as with a fixed mark.

/// Counts what is kept. See the module.
pub(crate) struct Room {
    limit: usize,
    bytes: usize,
    /// How much there was when a checkpoint was asked for, if one was.
    asked_at: Option<usize>,
    /// How much is left free for what comes until the cut.
    spare: usize,
}

impl Room {
    /// Begins with nothing, of so many bytes at most.
    pub(crate) fn new(limit: usize) -> Room {
        Room { limit, bytes: 0, asked_at: None, spare: limit / 2 }
    }

    /// Adds so many bytes; returns whether they may be kept.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.is_kept()
    }

    /// Returns whether so many more bytes may be kept.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes) <= self.limit
    }

    /// Replaces what there is by so many bytes; returns whether they may be kept.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        self.bytes = bytes;
        self.is_kept()
    }

    /// Returns how many bytes may be kept.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns how many bytes there are, those that are not kept included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether everything is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.bytes <= self.limit
    }

    /// Returns, once between two cuts, whether it is time for the next one.
    pub(crate) fn wants_cut(&mut self) -> bool {
        let wants = self.asked_at.is_none() && self.bytes > self.limit - self.spare;
        if wants {
            self.asked_at = Some(self.bytes);
        }
        wants
    }

    /// Begins again: there was a cut.
    pub(crate) fn clear(&mut self) {
        if let Some(asked_at) = self.asked_at.take() {
            let came = self.bytes.saturating_sub(asked_at);
            // What was slow once may be so again: the mark comes down at once, and goes up by and by.
            let spare = came.saturating_mul(2).max(self.spare - self.spare / 8);
            self.spare = spare.clamp(self.limit / 16, self.limit / 2);
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds batches of 16 bytes until a cut is wanted, and returns how many bytes there are then.
    fn filled(room: &mut Room) -> usize {
        while !room.wants_cut() {
            assert!(room.add(16));
        }
        room.bytes()
    }

    #[test]
    fn the_first_cut_is_wanted_at_half_of_the_limit_and_once_only() {
        let mut room = Room::new(1600);
        assert_eq!(filled(&mut room), 816);
        assert!(room.add(16) && !room.wants_cut());
        room.clear();
        assert_eq!(room.bytes(), 0);
    }

    #[test]
    fn where_cuts_come_at_once_they_are_wanted_later() {
        let mut room = Room::new(1600);
        for _ in 0..50 {
            filled(&mut room);
            room.clear();
        }
        assert_eq!(filled(&mut room), 1504, "a sixteenth is always left free");
    }

    #[test]
    fn twice_what_came_until_the_cut_is_left_free() {
        let mut room = Room::new(1600);
        for _ in 0..50 {
            filled(&mut room);
            assert!(room.add(208));
            room.clear();
        }
        assert_eq!(filled(&mut room), 1200);
        assert!(!room.add(10_000) && !room.is_kept());
        room.clear();
        assert_eq!(filled(&mut room), 816, "after one that came too late it is half again");
    }

    #[test]
    fn a_cut_that_nobody_asked_for_teaches_nothing() {
        let mut room = Room::new(1600);
        room.add(700);
        room.clear();
        assert_eq!(filled(&mut room), 816);
    }
}
