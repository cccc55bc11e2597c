//! What `sidekey report` writes of a store, in every form.
//!
//! `UPDATE_GOLDEN=1 cargo test --test it bill_reports` writes the texts anew; read the difference before committing it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use sidekey::cli::{Arguments, Command, report};
use sidekey::config::environment::Environment;
use sidekey::config::settings::Sync;
use sidekey::store::{
    Address, By, Ended, Endpoint, Intent, Refused, Store, TaskKey, UncertainRow, UsageRow, Within,
};

use crate::redis_server::RedisServer;
use crate::support::{key, keys, name, write};

#[tokio::test]
async fn reports_are_as_written() {
    let place = tempfile::TempDir::new().unwrap();
    let path = place.path().join("sidekey.db");
    let store = Store::open(&path, Sync::Process).unwrap().0;
    fill(&store).await;
    // The program still has it open.
    let mut transcript = transcript(place.path(), &["--store", &path.display().to_string()]);
    transcript += &told(place.path(), "report --store elsewhere.db", &[]);
    transcript += &written(&place.path().join("bills"));
    store.close().await.unwrap();
    let expected = Path::new("tests/golden/report/expected.txt");
    let environment = Environment::of_this_process();
    if environment.get("UPDATE_GOLDEN").is_some() {
        fs::write(expected, &transcript).unwrap();
    }
    let written = fs::read_to_string(expected).unwrap_or_default();
    assert!(written == transcript, "other than written:\n{transcript}");
}

#[tokio::test]
async fn a_report_of_the_store_that_replicas_share_says_the_same_as_of_a_file() {
    let file = tempfile::TempDir::new().unwrap();
    let path = file.path().join("sidekey.db");
    let store = Store::open(&path, Sync::Process).unwrap().0;
    fill(&store).await;
    let wanted = transcript(file.path(), &["--store", &path.display().to_string()]);
    let wanted = wanted + &written(&file.path().join("bills"));
    store.close().await.unwrap();

    let place = tempfile::TempDir::new().unwrap();
    let mut redis = RedisServer::start();
    let config = place.path().join("sidekey.toml");
    let lines = "vendor.profile = \"2captcha\"\nkeys_file = \"keys.toml\"\nstate.store = \"redis\"";
    write(
        &config,
        &format!("{lines}\nstate.url = {:?}\n", redis.url()),
    );
    let keys = keys([(name(1), key(1)), (name(2), key(2))]);
    write(&place.path().join("keys.toml"), &keys);
    let config = config.display().to_string();
    let nothing = told(place.path(), "report", &["--config", &config]);
    assert!(
        nothing.contains("there is no state of sidekey at redis://") && nothing.contains("[69]")
    );

    let store = Store::connect(&Address::parse(&redis.url()).unwrap()).unwrap();
    fill(&store).await;
    let said = transcript(place.path(), &["--config", &config]);
    let said = said + &written(&place.path().join("bills"));
    assert!(said == wanted, "other than of a file:\n{said}");
    let asked = sidekey::bills::asked(By::Tenant, None, None, None, NOON + 3_600_000);
    assert_eq!(
        store.bill(asked).await.unwrap().len(),
        4,
        "likewise over the admin port"
    );
    store.close().await.unwrap();
    redis.kill();
    let gone = told(place.path(), "report", &["--config", &config]);
    assert!(
        gone.contains("cannot be read") && gone.contains("[69]"),
        "{gone}"
    );
}

/// All kinds of reports of one store.
fn transcript(place: &Path, of: &[&str]) -> String {
    [
        "report",
        "report --by project",
        "report --by type --tenant alice",
        "report --by key",
        "report --by day",
        "report --by month",
        "report --month 2026-10",
        "report --month 2020-01",
        "report --tenant -",
        "report --project =cmd",
        "report --format csv",
        "report --format csv --by project",
        "report --format json --by day --tenant alice",
        "report --csv-dir bills",
        "report --csv-dir bills",
        "report --csv-dir bills --overwrite --tenant alice",
        "report --csv-dir bills --by day",
        "report --month 2026-13",
    ]
    .map(|line| told(place, line, of))
    .concat()
}

/// The bills in a directory.
fn written(directory: &Path) -> String {
    let mut bills: Vec<_> = fs::read_dir(directory).unwrap().collect();
    bills.sort_by_key(|bill| bill.as_ref().unwrap().file_name());
    let text = |bill: std::io::Result<fs::DirEntry>| {
        let bill = bill.unwrap();
        let text = fs::read_to_string(bill.path()).unwrap();
        format!("=== {}\n{text}", bill.file_name().display())
    };
    bills.into_iter().map(text).collect()
}

/// 2026-11-21T12:00:00Z.
const NOON: i64 = 1_795_262_400_000;
const DAY: i64 = 86_400_000;

/// Two months of three tenants, and of one without a name.
async fn fill(store: &Store) {
    let row = |tenant: &str, id: &str, ended_at_ms, ended| UsageRow {
        task: TaskKey {
            profile: "2captcha".into(),
            tenant: tenant.into(),
            id: id.into(),
        },
        submitted_at_ms: ended_at_ms - 20_000,
        ended_at_ms,
        ended,
        project: None,
        kind: "recaptcha_v2".into(),
        owner_name: "account-1".into(),
        cost_micro_usd: 2_990,
        charge_micro_usd: 2_990,
    };
    let free = |row: UsageRow| UsageRow {
        cost_micro_usd: 0,
        charge_micro_usd: 0,
        ..row
    };
    store.settle(row("alice", "73548291", NOON, Ended::Solved));
    store.settle(row("alice", "73548292", NOON - DAY, Ended::Solved));
    store.settle(row("alice", "73548293", NOON - 31 * DAY, Ended::Solved));
    store.settle(free(row("alice", "73548294", NOON, Ended::Failed)));
    store.settle(free(row("alice", "73548295", NOON, Ended::Expired)));
    store.settle(UsageRow {
        charge_micro_usd: 5_000,
        project: Some("=cmd".into()),
        ..row("Bob & co, ltd.", "=1+2", NOON - 2 * DAY, Ended::Solved)
    });
    store.settle(UsageRow {
        kind: "image".into(),
        owner_name: "account-2".into(),
        ..row("", "73548296", NOON - 60_000, Ended::Solved)
    });
    let refused = |tenant: &str, day: i64, count| Refused {
        tenant: Arc::from(tenant),
        day: day / DAY,
        reason: "daily_limit".into(),
        count,
    };
    store.note_refused(refused("carol", NOON, 3));
    store.note_refused(refused("alice", NOON - 40 * DAY, 1));
    let intent = Intent {
        profile: "2captcha".into(),
        tenant: "alice".into(),
        project: None,
        kind: "image".into(),
        endpoint: Endpoint::Submit,
        owner_name: "account-1".into(),
        owner_identity: sidekey::keys::secret::Identity([7; 32]),
        at_ms: NOON,
    };
    let (id, _written) = store.intend_within(intent.clone(), None, Within::default());
    let row = UncertainRow {
        id,
        intent,
        why: "reset".into(),
        parameters_hash: None,
        resolved: None,
    };
    store.uncertain(row).await.unwrap();
    store.flush().await.unwrap();
}

/// The command as somebody types it beside the store, what it says, and how it ends.
pub(crate) fn told(place: &Path, line: &str, of: &[&str]) -> String {
    let words = line.split(' ').map(|word| match word {
        "bills" | "elsewhere.db" | "a-file" => place.join(word).display().to_string(),
        word => word.to_owned(),
    });
    let of = of.iter().map(|word| (*word).to_owned());
    let words: Vec<_> = ["sidekey".to_owned()]
        .into_iter()
        .chain(words)
        .chain(of)
        .collect();
    let (code, out, err) = match Arguments::try_parse_from(&words) {
        Ok(arguments) => report(&arguments, NOON + 3_600_000),
        Err(usage) => {
            let first = usage.to_string().lines().next().unwrap().to_owned();
            (64, String::new(), format!("{first}\n"))
        }
    };
    let text = format!("$ sidekey {line}\n{out}{err}[{code}]\n\n");
    text.replace(&format!("{}/", place.display()), "")
}

pub(crate) fn report(arguments: &Arguments, now_ms: i64) -> (u8, String, String) {
    let Command::Report(args) = &arguments.command else {
        panic!("no report");
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = Environment::default();
    let code = match report::run(args, environment, now_ms, &mut out, &mut err) {
        Ok(code) => code,
        // As the program itself says it.
        Err(error) => {
            err.extend(format!("sidekey: {error}\n").bytes());
            70
        }
    };
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}
