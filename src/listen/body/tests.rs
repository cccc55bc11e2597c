use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Frame, SizeHint};
use hyper::header::HeaderMap;
use tokio::time::{Sleep, sleep};

use super::*;

/// Sends `piece` again and again, each after `pause`.
struct Drip {
    piece: Bytes,
    pieces: usize,
    announced: Option<u64>,
    pause: Duration,
    next: Option<Pin<Box<Sleep>>>,
    polled: Arc<AtomicUsize>,
}

impl Drip {
    fn new(piece: &'static [u8], pieces: usize, pause: Duration) -> Self {
        Self {
            piece: Bytes::from_static(piece),
            pieces,
            announced: None,
            pause,
            next: None,
            polled: Arc::default(),
        }
    }

    fn announced(self, length: u64) -> Self {
        let announced = Some(length);
        Self { announced, ..self }
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.polled.fetch_add(1, Ordering::Relaxed);
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        let pause = self.pause;
        let next = self.next.get_or_insert_with(|| Box::pin(sleep(pause)));
        ready!(next.as_mut().poll(context));
        self.next = None;
        self.pieces -= 1;
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.announced
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

const MIB: usize = 1024 * 1024;

async fn read(
    body: Drip,
    max_body: usize,
    budget: &Arc<BodyBudget>,
) -> Result<HeldBody, BodyError> {
    read_body(body, max_body, budget, &Limits::new(1)).await
}

#[tokio::test(start_paused = true)]
async fn a_body_is_held_whole_and_its_budget_given_back() {
    let budget = Arc::new(BodyBudget::new(MIB));
    let held = read(Drip::new(&[7; 1000], 300, Duration::ZERO), MIB, &budget)
        .await
        .unwrap();
    assert_eq!(held.bytes, vec![7; 300_000]);
    assert!(budget.free() <= MIB - 300_000, "{}", budget.free());
    drop(held);
    assert_eq!(budget.free(), MIB);
}

#[tokio::test(start_paused = true)]
async fn an_announced_length_takes_exactly_its_budget() {
    let budget = Arc::new(BodyBudget::new(MIB));
    let body = Drip::new(&[7; 1000], 300, Duration::ZERO).announced(300_000);
    let held = read(body, MIB, &budget).await.unwrap();
    assert_eq!((held.bytes.len(), budget.free()), (300_000, MIB - 300_000));
}

#[tokio::test(start_paused = true)]
async fn a_length_that_is_only_announced_takes_little() {
    let budget = Arc::new(BodyBudget::new(MIB));
    let body = Drip::new(b"a", 1, Duration::from_secs(1)).announced(MIB as u64);
    let reading = read(body, MIB, &budget);
    assert!(
        tokio::time::timeout(Duration::from_millis(10), reading)
            .await
            .is_err()
    );
    let body = Drip::new(b"a", 1, Duration::from_secs(1)).announced(MIB as u64);
    let mut reading = std::pin::pin!(read(body, MIB, &budget));
    let waker = std::task::Waker::noop();
    assert!(
        reading
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
    );
    assert_eq!(budget.free(), MIB - FIRST_GRANT);
}

#[tokio::test(start_paused = true)]
async fn too_big_is_known_before_reading_if_announced_and_while_reading_if_not() {
    let budget = Arc::new(BodyBudget::new(MIB));
    let body = Drip::new(b"a", 1, Duration::ZERO).announced(1001);
    let polled = Arc::clone(&body.polled);
    assert_eq!(
        read(body, 1000, &budget).await.unwrap_err(),
        BodyError::TooBig
    );
    assert_eq!(polled.load(Ordering::Relaxed), 0);
    let body = Drip::new(b"ab", 1000, Duration::ZERO);
    assert_eq!(
        read(body, 1001, &budget).await.unwrap_err(),
        BodyError::TooBig
    );
    assert_eq!(budget.free(), MIB);
}

#[tokio::test(start_paused = true)]
async fn without_budget_nothing_is_asked_for() {
    let budget = Arc::new(BodyBudget::new(100));
    let body = Drip::new(b"a", 1, Duration::ZERO).announced(101);
    let polled = Arc::clone(&body.polled);
    assert_eq!(
        read(body, 1000, &budget).await.unwrap_err(),
        BodyError::NoBudget
    );
    assert_eq!(polled.load(Ordering::Relaxed), 0);
    let exact = Drip::new(b"a", 100, Duration::ZERO).announced(100);
    assert_eq!(read(exact, 1000, &budget).await.unwrap().bytes.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn budget_that_runs_out_on_the_way_ends_the_body() {
    let budget = Arc::new(BodyBudget::new(20_000));
    let body = Drip::new(&[7; 1000], 30, Duration::ZERO);
    assert_eq!(
        read(body, MIB, &budget).await.unwrap_err(),
        BodyError::NoBudget
    );
    assert_eq!(budget.free(), 20_000);
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_end_at_the_first_of_three_deadlines() {
    let seconds = Duration::from_secs;
    for (body, ends_after) in [
        // Nothing at all: the grace of the rate.
        (Drip::new(b"a", 9, seconds(3600)), 5),
        // A byte a second earns nothing.
        (Drip::new(b"a", 9000, seconds(1)), 5),
        (Drip::new(&[0; 102_400], 2, seconds(4)), 8),
        // Quick enough for ever, but not for longer than 120 s.
        (Drip::new(&[0; 2048], 9000, seconds(1)), 120),
    ] {
        let budget = Arc::new(BodyBudget::new(64 * MIB));
        let start = Instant::now();
        let slow = read(body, 32 * MIB, &budget).await.map(drop);
        assert_eq!(start.elapsed().as_secs(), ends_after);
        assert_eq!(slow.is_err(), ends_after != 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_in_the_middle_is_bounded() {
    let limits = Limits::new(1);
    let start = Instant::now();
    let mut pace = Pace::new(&limits, start);
    pace.last_read = start + Duration::from_secs(40);
    assert_eq!(pace.deadline(100 * 1024), start + Duration::from_secs(70));
}

#[tokio::test]
async fn trailers_are_dropped() {
    let mut trailers = HeaderMap::new();
    trailers.insert("key", "stolen".parse().unwrap());
    let body = http_body_util::Full::new(Bytes::from_static(b"a"))
        .with_trailers(std::future::ready(Some(Ok(trailers))));
    let budget = Arc::new(BodyBudget::new(MIB));
    let held = read_body(body, MIB, &budget, &Limits::new(1))
        .await
        .unwrap();
    assert_eq!(held.bytes, b"a"[..]);
}
