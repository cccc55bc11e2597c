//! An unproven key makes an account call before it makes a submit: cheap, quickly answered, and repeatable, where a submit
//! with a bad key would cost a client its time and `solve.php` would keep all other unproven keys waiting for minutes.

use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use super::admit::Admitted;
use super::forward::{Route, Sending, forward};
use super::trace::Trace;
use crate::keys::key::Key;
use crate::live::Snapshot;
use crate::vendor::answer::{Asked, Reading};
use crate::vendor::profile::Class;
use crate::wire::Endpoint;

/// Account calls are answered within tens of milliseconds; all unproven keys wait meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) enum Proof {
    Proven,
    /// The vendor blames the key.
    Refused(Class),
    /// It bans our address.
    Banned,
    /// No usable answer; nothing was learnt and nothing was paid.
    Unreached,
}

pub(super) async fn prove(
    server: &Server,
    snapshot: &Snapshot,
    admitted: &Admitted,
    key: &Key,
    trace: &mut Trace,
) -> Proof {
    let asked = if snapshot.settings.vendor.profile.takes.threadsinfo {
        Asked::Threads
    } else {
        Asked::Balance
    };
    let sending = Sending::account(key, asked);
    let route = Route {
        endpoint: Endpoint::Result,
        user_agent: admitted.user_agent.as_ref(),
        asked,
        deadline: Instant::now() + PATIENCE,
        client_left: None,
    };
    match forward(
        server,
        snapshot,
        Some(key),
        admitted.token(),
        sending,
        &route,
        trace,
    )
    .await
    {
        Ok(answered) => match answered.reading {
            Reading::Code { rule, .. } => match rule.class {
                Class::KeyBad | Class::KeyEmpty | Class::KeyBusy => Proof::Refused(rule.class),
                Class::EgressIp => Proof::Banned,
                Class::Request | Class::NoTask | Class::Task | Class::Server => Proof::Unreached,
            },
            Reading::Trouble { .. } => Proof::Unreached,
            Reading::Said | Reading::Accepted { .. } | Reading::Final | Reading::NotReady => {
                Proof::Proven
            }
        },
        Err(_) => Proof::Unreached,
    }
}
