//! A report of a name that nobody has says so.

use crate::bill_reports::told;
use crate::bills::{ALICE, poll, submit, tenants};
use crate::support::write;

#[tokio::test]
async fn a_name_that_nobody_has_is_said_so_beside_an_empty_report() {
    let world = tenants(0.000_85).await;
    let id = submit(&world, ALICE).await;
    poll(&world, ALICE, &format!("action=get&id={id}")).await;
    world.running().server.store.flush().await.unwrap();
    let place = world.place.path();
    let config = world.config_path().display().to_string();
    let store = place.join("sidekey.db").display().to_string();
    let (config, store) = (["--config", &config], ["--store", &store]);
    let typo = "no tenant is named `alise`: did you mean `alice`?";
    for format in ["table", "csv", "json"] {
        let right = told(
            place,
            &format!("report --format {format} --month 2020-01 --tenant alice"),
            &config,
        );
        assert!(
            right.ends_with("[0]\n\n") && !right.contains("sidekey: "),
            "{right}"
        );
        let wrong = told(
            place,
            &format!("report --format {format} --month 2020-01 --tenant alise"),
            &config,
        );
        // What a script reads is the same as of a tenant that did nothing.
        let expected = right
            .replace("alice", "alise")
            .replace("[0]", &format!("sidekey: {typo}\n[64]"));
        assert_eq!(wrong, expected);
    }
    // One that is configured and did nothing yet is none.
    let idle = told(place, "report --tenant bob", &config);
    assert!(
        !idle.contains("sidekey: ") && idle.contains("[0]"),
        "{idle}"
    );
    let far = told(place, "report --tenant nobody-we-know", &config);
    assert!(
        far.contains("`nobody-we-know`: there is alice, bob\n[64]"),
        "{far}"
    );
    // The file alone does not know who is configured.
    let alone = told(place, "report --tenant alise", &store);
    assert!(alone.contains(typo) && alone.contains("[0]"), "{alone}");
    let project = told(place, "report --project nightly", &config);
    assert!(
        project.contains("no project is named `nightly`") && project.contains("[0]"),
        "{project}"
    );
    let bills = told(place, "report --csv-dir bills --tenant alise", &config);
    assert!(
        bills.contains("there is no bill to write") && bills.contains(typo),
        "{bills}"
    );
    write(&place.join("a-file"), "");
    let blocked = told(place, "report --csv-dir a-file", &config);
    assert!(blocked.contains("cannot write a-file: "), "{blocked}");
    world.end().await;
}
