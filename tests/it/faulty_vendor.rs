//! Many clients, and a vendor with everything wrong at once: nothing is made twice, nothing is lost, no limit is broken.

use futures_util::future::join_all;
use sidekey::sandbox::{Ban, Dialect, Fault, FaultRule, SandboxConfig};

use crate::support::ledger::{Compared, labelled};
use crate::support::{World, vendor};

const CLIENTS: usize = 20;
const SUBMITS_EACH: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vendors_ledger_is_sidekeys_and_the_uncertain_list() {
    let vendor = SandboxConfig {
        // The pace of submits is another subject: all at once over few keys may break it.
        bans: Ban::ALL
            .into_iter()
            .filter(|ban| *ban != Ban::MaxUserTurn)
            .collect(),
        ..vendor(Dialect::Twocaptcha, 5)
    };
    let world = World::start(vendor, "submit.wait = \"1s\"").await;
    for (seed, rule) in fault_mix().into_iter().enumerate() {
        let rule = FaultRule {
            probability: 0.05,
            seed: seed as u64,
            ..rule.endpoint("in.php")
        };
        world.sandbox.set_fault(rule).unwrap();
    }
    join_all((0..CLIENTS).map(|client| submits(&world, client))).await;
    // Each is written before its client hears of it.
    let compared = Compared::of(&world, "load");
    compared.assert_exact();
    assert!(compared.known > 0, "{compared:?}");
    assert!(
        compared.uncertain_made > 0 && compared.uncertain_unmade > 0,
        "{compared:?}"
    );
    assert!(world.sandbox.counts().violations.is_empty());
    world.end().await;
}

fn fault_mix() -> Vec<FaultRule> {
    let code = |code: &str| Fault::Code {
        code: code.to_owned(),
    };
    vec![
        FaultRule::new(Fault::Reset),
        FaultRule::new(Fault::Reset).done(),
        FaultRule::new(Fault::Close).done(),
        FaultRule::new(Fault::Html { status: 502 }),
        FaultRule::new(Fault::Empty).done(),
        FaultRule::new(Fault::TruncateBody {
            bytes: 4,
            reset: true,
        }),
        FaultRule::new(code("ERROR_NO_SLOT_AVAILABLE")),
        FaultRule::new(Fault::Status {
            status: 429,
            retry_after: None,
        }),
    ]
}

async fn submits(world: &World, client: usize) {
    for n in 0..SUBMITS_EACH {
        let task = labelled(&format!("load{client}x{n}"));
        // Whatever is answered: the ledgers say what came of it.
        world.get(&format!("/in.php?key={{}}&{task}")).await;
    }
}
