//! How many final answers are kept, and for how long. The answers themselves are with their tasks.

use std::collections::VecDeque;
use std::sync::Weak;

use tokio::time::Instant;

use super::Task;
use super::course::View;

/// SECURITY: clients decide how many answers there are, and the vendor how long they are.
const MOST_ANSWERS: usize = 20_000;
const MOST_BYTES: usize = 8 << 20;
/// A longer one is asked for again each time.
pub(super) const LONGEST_ANSWER: usize = 64 << 10;

/// The oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    answers: VecDeque<Answer>,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) task: Weak<Task>,
    pub(super) view: View,
    bytes: usize,
    until: Instant,
}

impl Kept {
    /// Notes one more, and returns those that have to go for it.
    pub(super) fn add(
        &mut self,
        task: Weak<Task>,
        view: View,
        bytes: usize,
        until: Instant,
    ) -> Vec<Answer> {
        self.bytes += bytes;
        self.answers.push_back(Answer {
            task,
            view,
            bytes,
            until,
        });
        self.take(|kept| kept.answers.len() > MOST_ANSWERS || kept.bytes > MOST_BYTES)
    }

    pub(super) fn outdated(&mut self, now: Instant) -> Vec<Answer> {
        self.take(|kept| {
            kept.answers
                .front()
                .is_some_and(|answer| answer.until <= now)
        })
    }

    fn take(&mut self, more: impl Fn(&Self) -> bool) -> Vec<Answer> {
        let mut taken = Vec::new();
        while more(self)
            && let Some(answer) = self.answers.pop_front()
        {
            self.bytes -= answer.bytes;
            taken.push(answer);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tasks::course::Action;

    const VIEW: View = View {
        action: Action::Get,
        json: false,
        header_acao: false,
    };

    #[tokio::test(start_paused = true)]
    async fn the_oldest_answers_go_when_there_are_too_many_too_long_or_too_old_ones() {
        let mut kept = Kept::default();
        let now = Instant::now();
        let until = |seconds| now + Duration::from_secs(seconds);
        for n in 0..MOST_ANSWERS as u64 {
            assert!(kept.add(Weak::new(), VIEW, 1, until(n)).is_empty());
        }
        let gone = kept.add(Weak::new(), VIEW, 1, until(90_000));
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].until, until(0));

        assert_eq!(kept.outdated(until(10)).len(), 10);

        let gone = kept.add(Weak::new(), VIEW, MOST_BYTES - 100, until(90_000));
        assert_eq!(gone.len(), MOST_ANSWERS - 10 - 100);
        assert!(kept.bytes <= MOST_BYTES);
    }
}
