//! The sandbox's own time, which can run faster than everybody else's.

use std::time::Duration;

use tokio::time::Instant;

/// Every time that the sandbox keeps or tells is this clock's; only faults delay by the real one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    /// Seconds of the sandbox in a real second.
    speed: u32,
}

impl Clock {
    pub(super) fn start(speed: u32) -> Self {
        Self {
            started: Instant::now(),
            speed: speed.max(1),
        }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn now(&self) -> Instant {
        self.started + self.started.elapsed() * self.speed
    }

    pub(super) async fn sleep_until(&self, time: Instant) {
        let since_start = time.saturating_duration_since(self.started);
        tokio::time::sleep_until(self.started + since_start / self.speed).await;
    }

    /// How long clients have to wait for `time` of the sandbox's to go by, in the whole seconds of HTTP.
    pub(super) fn real_seconds(&self, time: Duration) -> u64 {
        let real = time / self.speed;
        real.as_secs() + u64::from(real.subsec_nanos() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_minute_goes_by_in_a_second() {
        let (clock, began) = (Clock::start(60), Instant::now());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.now() - clock.started(), Duration::from_secs(120));
        clock
            .sleep_until(clock.now() + Duration::from_secs(60))
            .await;
        // The runtime's timer counts milliseconds.
        let slept = began.elapsed() - Duration::from_secs(2);
        assert!((1000..1002).contains(&slept.as_millis()), "{slept:?}");
        for (seconds, real) in [(0, 0), (1, 1), (60, 1), (61, 2), (600, 10)] {
            assert_eq!(clock.real_seconds(Duration::from_secs(seconds)), real);
        }
    }
}
