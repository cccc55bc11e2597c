use super::*;
use crate::store::ParkedRequest;

const HOUR: Duration = Duration::from_secs(3600);

async fn parked(store: &Store, tenant: &str) -> (Arc<Parked>, OwnId) {
    let id = store.next_own_id();
    let record = ParkedRecord {
        id,
        profile: "captchaai".into(),
        tenant: tenant.into(),
        project: None,
        kind: "image".into(),
        lacks: Lack::Money,
        state: ParkedState::Waiting,
        bytes: 7,
        parked_at_ms: 0,
        used_at_ms: 0,
    };
    let request = ParkedRequest {
        post: false,
        query: "key=&a=".into(),
        content_type: None,
        user_agent: None,
        body: "".into(),
    };
    let parked = Arc::new(Parked::new(store.clone(), Arc::default()));
    assert!(parked.add(record.clone(), 1, Instant::now()));
    assert!(
        parked.take(|_| true, Instant::now()).is_none(),
        "taken before it is durable"
    );
    store.park(record, request, None).1.await.unwrap();
    assert!(parked.ready(id));
    (parked, id)
}

async fn found(parked: &Parked, id: OwnId, tenant: &str) -> Option<ParkedState> {
    let now = Instant::now();
    parked.find(id, tenant, HOUR, now, 0).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn whoever_polls_keeps_it_and_whoever_stops_hears_the_end_of_it() {
    let store = Store::memory();
    let (parked, id) = parked(&store, "").await;
    for _ in 0..3 {
        tokio::time::advance(Duration::from_secs(119)).await;
        assert_eq!(parked.end_due(HOUR, Instant::now(), 0), 0);
        assert_eq!(found(&parked, id, "").await, Some(ParkedState::Waiting));
    }
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(parked.end_due(HOUR, Instant::now(), 0), 1);
    let dropped = Some(ParkedState::Unsent(Unsent::Dropped));
    assert_eq!(found(&parked, id, "").await, dropped);
    assert_eq!(parked.count(), 0);
    // Also when memory has forgotten it.
    let parked = Parked::new(store, Arc::default());
    assert_eq!(found(&parked, id, "").await, dropped);
}

#[tokio::test(start_paused = true)]
async fn another_tenants_id_is_unknown_wherever_it_stands() {
    let store = Store::memory();
    let (parked, id) = parked(&store, "acme").await;
    assert_eq!(found(&parked, id, "").await, None);
    // A stranger's poll does not keep it.
    tokio::time::advance(Duration::from_secs(120)).await;
    assert_eq!(found(&parked, id, "").await, None);
    assert_eq!(parked.end_due(HOUR, Instant::now(), 0), 1);
    assert_eq!(found(&parked, id, "").await, None);
    assert_eq!(
        found(&Parked::new(store, Arc::default()), id, "").await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn one_whose_sending_is_cut_off_waits_until_it_leaves_and_then_it_is_uncertain() {
    let store = Store::memory();
    let (parked, id) = parked(&store, "").await;
    let taken = parked.take(|_| true, Instant::now()).unwrap();
    assert!(!parked.cancel(id, Instant::now(), 0));
    drop(taken);
    assert_eq!(found(&parked, id, "").await, Some(ParkedState::Waiting));
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut taken = parked.take(|_| true, Instant::now()).unwrap();
    taken.leaves();
    assert!(!parked.cancel(id, Instant::now(), 0));
    drop(taken);
    assert_eq!(found(&parked, id, "").await, Some(ParkedState::Uncertain));
}
