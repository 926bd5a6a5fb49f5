//! What moves between subtasks: one element, or one word to a subtask, at each step.

use crate::protocol::element::Element;
use crate::protocol::subtask;
use crate::sim::trace::What;
use crate::sim::world::World;

/// Whether something has moved.
pub(crate) enum Moved {
    /// Something did.
    Yes,
    /// Nothing did, but something slow could.
    Later,
    /// Nothing can.
    No,
}

impl World<'_> {
    /// Lets one subtask that can do something do it.
    pub(crate) fn data_step(&mut self) -> Moved {
        let total: usize = self.job.layouts.iter().map(|layout| layout.subtasks.len()).sum();
        let start = self.schedule.index(total);
        let mut later = false;
        for offset in 0..total {
            let number = (start + offset) % total;
            let (region, subtask) = self.split(number);
            if self.regions[region].attempt.is_none() {
                continue;
            }
            let slow = number as u64 % 3 == self.settings.slow && self.settings.slow_percent < 100;
            if slow && !self.is_settled() && !self.schedule.percent(self.settings.slow_percent) {
                later = true;
                continue;
            }
            let stalled =
                self.stalled.is_some_and(|(of, number, until)| (of, number) == (region, subtask) && self.now < until);
            if stalled {
                later = true;
                continue;
            }
            if self.subtask_step(region, subtask) {
                return Moved::Yes;
            }
        }
        if later { Moved::Later } else { Moved::No }
    }

    fn split(&self, mut number: usize) -> (usize, usize) {
        for (region, layout) in self.job.layouts.iter().enumerate() {
            if number < layout.subtasks.len() {
                return (region, number);
            }
            number -= layout.subtasks.len();
        }
        unreachable!("the number is below the total")
    }

    fn subtask_step(&mut self, region: usize, subtask: usize) -> bool {
        if self.schedule.percent(50) {
            self.move_output(region, subtask) || self.deliver(region, subtask) || self.nudge(region, subtask)
        } else {
            self.deliver(region, subtask) || self.nudge(region, subtask) || self.move_output(region, subtask)
        }
    }

    /// Moves one element from a subtask's outbox to where there is room for it.
    fn move_output(&mut self, region: usize, subtask: usize) -> bool {
        let Some(attempt) = &mut self.regions[region].attempt else { return false };
        if attempt.subtasks[subtask].machine.outbox_is_clear() {
            return false;
        }
        let targets = &attempt.targets[subtask];
        let start = self.schedule.index(targets.len());
        for offset in 0..targets.len() {
            let output = (start + offset) % targets.len();
            let (target, channel) = targets[output];
            let room = attempt.subtasks[target].mailbox.room(channel) > 0;
            let machine = &mut attempt.subtasks[subtask].machine;
            let repaid = room && machine.is_overdrawn(output);
            if repaid {
                machine.set_overdrawn(output, false);
            }
            let may = |element: &Element| room || !element.needs_credit() || machine.goes_beyond(output);
            if !machine.peek_output(output).is_some_and(may) {
                if repaid && machine.outbox_is_clear() {
                    self.tell_subtask(region, subtask, subtask::Event::Wake);
                    return true;
                }
                continue;
            }
            let in_hand = if room { 0 } else { machine.ahead_of_barrier(output) };
            let Some(element) = machine.take_output(output) else { continue };
            if !room && element.needs_credit() {
                machine.set_overdrawn(output, true);
            }
            let pushed = attempt.subtasks[target].push(attempt.fence, channel, element, in_hand);
            let clear = attempt.subtasks[subtask].machine.outbox_is_clear();
            self.trace.note(self.step, self.now, What::Move, (region, subtask), output as u64);
            self.judge(pushed);
            if clear {
                self.tell_subtask(region, subtask, subtask::Event::Wake);
            }
            return true;
        }
        false
    }

    /// Delivers one element to a subtask that takes it, or what its mailbox has to say.
    fn deliver(&mut self, region: usize, subtask: usize) -> bool {
        let Some(attempt) = &mut self.regions[region].attempt else { return false };
        let running = &mut attempt.subtasks[subtask];
        if running.mailbox.has_news() && self.schedule.percent(50) {
            let captured = running.mailbox.take_captured();
            let captured = captured.map(|(window, channels)| subtask::Event::Captured(window, channels));
            let news = captured.or_else(|| running.mailbox.take_heard().map(subtask::Event::Heard));
            self.trace.note(self.step, self.now, What::News, (region, subtask), 0);
            if let Some(news) = news {
                self.tell_subtask(region, subtask, news);
            }
            return true;
        }
        let channels = running.machine.inputs();
        if channels == 0 || running.mailbox.is_empty() || !running.machine.is_free() {
            return false;
        }
        let start = self.schedule.index(channels);
        for offset in 0..channels {
            let channel = (start + offset) % channels;
            if !running.mailbox.has(channel) || !running.machine.takes(channel) {
                continue;
            }
            let (element, verdict) = running.pop(channel);
            running.busy = true;
            if matches!(element, Some(Element::Batch(_))) {
                self.last_move = (self.now, self.step);
            }
            self.trace.note(self.step, self.now, What::Deliver, (region, subtask), channel as u64);
            self.judge(verdict);
            if let Some(element) = element {
                self.tell_subtask(region, subtask, subtask::Event::Element(channel, element));
            }
            return true;
        }
        false
    }

    /// Wakes a subtask that asked for it, or tells it that nothing comes.
    fn nudge(&mut self, region: usize, subtask: usize) -> bool {
        let Some(attempt) = &mut self.regions[region].attempt else { return false };
        let running = &mut attempt.subtasks[subtask];
        if running.woken < self.now && running.machine.wake_at().is_some_and(|at| at <= self.now) {
            running.woken = self.now;
            self.trace.note(self.step, self.now, What::Wake, (region, subtask), 0);
            self.tell_subtask(region, subtask, subtask::Event::Wake);
            return true;
        }
        if running.busy && running.machine.is_free() && running.mailbox.is_empty() {
            running.busy = false;
            self.trace.note(self.step, self.now, What::Idle, (region, subtask), 0);
            self.tell_subtask(region, subtask, subtask::Event::Idle);
            return true;
        }
        false
    }
}
