use std::collections::BTreeSet;

use super::*;

/// A record and its request.
pub(super) fn parked_submit(id: OwnId, byte: u8) -> (ParkedRecord, ParkedRequest) {
    let request = ParkedRequest {
        post: byte.is_multiple_of(2),
        query: "key=&a=%00".into(),
        content_type: (byte > 9).then(|| "text/plain; \u{e4}".into()),
        user_agent: (byte > 99).then(|| vec![byte].into()),
        body: vec![byte; usize::from(byte)].into(),
    };
    let record = ParkedRecord {
        id,
        profile: Arc::from("captchaai"),
        tenant: Arc::from("acme"),
        project: (byte > 5).then(|| Arc::from("shop")),
        kind: Arc::from("image"),
        lacks: if byte > 50 { Lack::Money } else { Lack::Key },
        state: ParkedState::Waiting,
        bytes: request.bytes(),
        parked_at_ms: i64::from(byte),
        used_at_ms: i64::from(byte),
    };
    (record, request)
}

pub(super) async fn park(store: &Store) -> OwnId {
    let (record, request) = parked_submit(store.next_own_id(), 7);
    let id = record.id;
    store.park(record, request, None).1.await.unwrap();
    id
}

fn opened_again(directory: &tempfile::TempDir) -> Store {
    open(directory, Sync::Process)
}

#[tokio::test]
async fn a_parked_submit_is_found_as_it_was_until_it_ends() {
    for (store, _directory) in stores() {
        let (record, request) = parked_submit(store.next_own_id(), 120);
        let id = record.id;
        store
            .park(record.clone(), request.clone(), None)
            .1
            .await
            .unwrap();
        assert_eq!(store.find_parked(id, "acme").await.unwrap(), Some(record));
        assert_eq!(store.parked_request(id).await.unwrap(), Some(request));

        let (sent, written) = store.intend_parked(id, intent("main"));
        written.await.unwrap();
        store
            .accept_parked(id, sent, task("7", "main"))
            .await
            .unwrap();
        let found = store.find_parked(id, "acme").await.unwrap().unwrap();
        assert_eq!(found.state, ParkedState::Submitted(Arc::from("7")));
        assert_eq!(store.parked_request(id).await.unwrap(), None);
        assert!(store.find_task(&key("", "7")).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn after_a_restart_those_that_wait_wait_and_those_that_were_being_sent_are_uncertain() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, Sync::Process);
    let [waits, sent, refused, accepted] = [
        park(&store).await,
        park(&store).await,
        park(&store).await,
        park(&store).await,
    ];
    for id in [sent, refused, accepted] {
        let (number, written) = store.intend_parked(id, intent("main"));
        written.await.unwrap();
        if id == refused {
            store.forget_parked_intent(id, number, 9_000);
        } else if id == accepted {
            store
                .accept_parked(id, number, task("7", "main"))
                .await
                .unwrap();
        }
    }
    store.close().await.unwrap();

    let store = opened_again(&directory);
    let waiting = store.waiting_parked().await.unwrap();
    let ids: Vec<_> = waiting.iter().map(|record| record.id).collect();
    assert_eq!(ids, [waits, refused]);
    let state = async |id| store.find_parked(id, "acme").await.unwrap().unwrap().state;
    assert_eq!(state(sent).await, ParkedState::Uncertain);
    assert_eq!(
        state(accepted).await,
        ParkedState::Submitted(Arc::from("7"))
    );
    assert_eq!(store.parked_request(sent).await.unwrap(), None);
    assert_eq!(store.uncertain_list(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_id_is_never_given_again_also_when_all_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let mut given = BTreeSet::new();
    for _ in 0..3 {
        let store = opened_again(&directory);
        for _ in 0..3 {
            let id = park(&store).await;
            assert!(given.insert(id), "{id} was given twice");
            assert_eq!(OwnId::parse(&id.to_string()), Some(id));
            store.end_parked(id, ParkedState::Unsent(Unsent::Cancelled), 9);
        }
        assert_eq!(store.forget_parked_unused_since(10).await.unwrap(), 3);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn only_what_has_ended_is_forgotten() {
    for (store, _directory) in stores() {
        let (waits, ended, used) = (park(&store).await, park(&store).await, park(&store).await);
        for id in [ended, used] {
            store.end_parked(id, ParkedState::Uncertain, 9);
        }
        store.touch_parked(used, 99);
        assert_eq!(store.forget_parked_unused_since(50).await.unwrap(), 1);
        for (id, known) in [(waits, true), (ended, false), (used, true)] {
            assert_eq!(
                store.find_parked(id, "acme").await.unwrap().is_some(),
                known
            );
        }
    }
}
