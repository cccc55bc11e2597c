//! One call to the vendor with one key: rewritten, sent under a deadline, and its answer read.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::admit::{Admitted, Caller, NO_TOKEN};
use super::judge::Case;
use super::refuse::Refusal;
use super::respond::{Outcome, Relay};
use super::trace::Trace;
use crate::keys::chance;
use crate::keys::key::Key;
use crate::live::Snapshot;
use crate::tasks::course::{Heard, Word};
use crate::vendor::answer::{self, Asked, Reading};
use crate::vendor::client::{CallError, Kind, Outgoing};
use crate::vendor::profile::{Billing, Class, CodeRule};
use crate::vendor::scrub;
use crate::wire::{Endpoint, Hints, Rewritten, own_query};

/// What goes out, and the key that is in it.
pub(super) struct Sending<'a> {
    key: Option<&'a Key>,
    method: Method,
    rewritten: Rewritten,
}

impl<'a> Sending<'a> {
    /// The client's own request, with this key in the place of its own.
    pub(super) fn of(admitted: &Admitted, key: &'a Key) -> Self {
        Self {
            key: Some(key),
            method: method(admitted),
            rewritten: admitted.request.message.with_key(&key.value()),
        }
    }

    /// An account call. In JSON, because the text form of `threadsinfo` is documented nowhere.
    pub(super) fn account(key: &'a Key, asked: Asked) -> Self {
        let action: &[u8] = if asked == Asked::Threads {
            b"threadsinfo"
        } else {
            b"getbalance"
        };
        Self::own(key, &[("action", action), ("json", b"1")])
    }

    pub(super) fn keyless(admitted: &Admitted) -> Self {
        Self {
            key: None,
            method: method(admitted),
            rewritten: admitted.request.message.without_key(),
        }
    }

    /// A request that Sidekey makes up itself, to `res.php`.
    pub(super) fn own(key: &'a Key, fields: &[(&str, &[u8])]) -> Self {
        Self {
            key: Some(key),
            method: Method::GET,
            rewritten: own_query(&key.value(), fields),
        }
    }
}

fn method(admitted: &Admitted) -> Method {
    match admitted.request.message.parts().post {
        true => Method::POST,
        false => Method::GET,
    }
}

/// For whom a call is made, what for, and how long it may take.
pub(super) struct Route<'a> {
    pub caller: Caller<'a>,
    pub asked: Asked,
    pub deadline: Instant,
    /// Ends a call that was not sent yet.
    pub client_left: Option<&'a CancellationToken>,
    /// Our own look at a key.
    pub is_probe: bool,
}

impl<'a> Route<'a> {
    pub(super) fn new(caller: Caller<'a>, asked: Asked, deadline: Instant) -> Self {
        Self {
            caller,
            asked,
            deadline,
            client_left: None,
            is_probe: false,
        }
    }
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// The account may not be asked now. Nothing was sent, and nothing is wrong.
    NotNow,
    Failed(CallError),
}

pub(super) struct Answered {
    pub reading: Reading,
    pub relay: Relay,
}

pub(super) async fn forward(
    server: &Server,
    snapshot: &Snapshot,
    sending: Sending<'_>,
    route: &Route<'_>,
    trace: &mut Trace,
) -> Result<Answered, Unanswered> {
    let profile = &snapshot.settings.vendor.profile;
    let path = match route.caller.endpoint {
        Endpoint::Submit => &profile.endpoints.submit,
        Endpoint::Solve => &profile.endpoints.solve,
        Endpoint::Result => &profile.endpoints.result,
        Endpoint::Load => &profile.endpoints.load,
    };
    let changes_nothing = matches!(route.asked, Asked::Poll | Asked::Balance | Asked::Threads);
    let Sending {
        key,
        method,
        rewritten,
    } = sending;
    let outgoing = Outgoing {
        method,
        path_and_query: target(path, &rewritten.query),
        content_type: rewritten.content_type,
        user_agent: route.caller.user_agent.cloned(),
        body: rewritten.body,
        kind: if changes_nothing {
            Kind::Repeatable
        } else if route.asked == Asked::Solve {
            Kind::Long
        } else {
            Kind::Once
        },
        abandoned: route.client_left.cloned(),
    };
    let began = Instant::now();
    let is_submit = matches!(route.asked, Asked::Submit | Asked::Solve);
    // Asking during a ban prolongs it, and a vendor that is out of reach is the prober's to try.
    if !route.is_probe
        && (server.egress.banned_until(began).is_some() || server.outage.open_until().is_some())
    {
        return Err(Unanswered::Failed(CallError::NotSent {
            why: "the vendor is out of reach or bans this address".to_owned(),
        }));
    }
    // Judged since it was chosen: each call more would be a bad-key answer more. Only a probe may still ask.
    if key.is_some_and(|key| key.is_called_bad(began)) && !route.is_probe {
        return Err(Unanswered::Failed(CallError::NotSent {
            why: "the vendor has called the key bad since it was chosen".to_owned(),
        }));
    }
    // A submit has this right by its slot. Our own few probes are counted, and sent whatever the count.
    if let Some(key) = key.filter(|_| !is_submit)
        && (key.polls_rest_until(began).is_some() || !key.take_call(began))
        && !route.is_probe
    {
        return Err(Unanswered::NotNow);
    }
    let answer = snapshot.client.call(outgoing, route.deadline).await;
    let now = Instant::now();
    if let Some(key) = key {
        key.touch(now);
    }
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            trace.asked_vendor(route.asked, key, now - began, NO_ANSWER);
            let left = route
                .client_left
                .is_some_and(CancellationToken::is_cancelled);
            if let CallError::NotSent { why } = &error
                && !left
            {
                if server.outage.unreached(now, chance()) {
                    tracing::warn!(
                        vendor = profile.url,
                        why,
                        "the vendor is out of reach: nothing but a probe is sent until it answers"
                    );
                    // The prober, which sleeps while all keys are well.
                    snapshot.keys.events().happened();
                } else if route.is_probe {
                    // The reason may be another by now, such as the proxy's after the name server's. Every 15 s at most.
                    tracing::info!(why, "the probe did not reach the vendor");
                }
            }
            server
                .metrics
                .vendor_call(route.asked, NO_ANSWER, now - began);
            return Err(Unanswered::Failed(error));
        }
    };
    let mut reading = answer::read(profile, route.asked, answer.status, &answer.body);
    if let Reading::Code { code, rule } = &mut reading
        && code == ZERO_BALANCE
        && rule.class == Class::KeyBusy
        && key.is_some_and(|key| key.limits.billing == Billing::Balance)
    {
        *rule = NOTHING_LEFT;
    }
    let class = class_label(&reading);
    trace.asked_vendor(route.asked, key, now - began, class);
    server.metrics.vendor_call(route.asked, class, now - began);
    let usable = !matches!(&reading, Reading::Trouble { .. })
        && !matches!(&reading, Reading::Code { rule, .. } if rule.class == Class::Server);
    if usable && server.outage.reached() {
        tracing::info!("the vendor answers again");
        snapshot.keys.events().happened();
    }
    if let Some(key) = key {
        let case = Case {
            server,
            profile,
            key,
            asked: route.asked,
            is_probe: route.is_probe,
            began,
            now,
        };
        case.learn(&reading, &answer.body);
        case.judge(&reading, answer.retry_after);
    }
    let secret = key.map(Key::value).unwrap_or_default();
    let scrubbed = |text: &Bytes, stands_in: &[u8]| {
        let text = scrub::scrub(text, &secret, stands_in);
        snapshot.keys.values().scrub(&text, stands_in)
    };
    // SECURITY: an id is logged and stored, and a vendor that repeats the key may put it there: `OK|73548291|KEY`. The
    // client's token has no more business in a log than the key; and the client must poll for the id that it was given.
    let (reading, stands_in) = match reading {
        Reading::Accepted { id } => {
            let seen = scrubbed(&id.clone().into(), NO_TOKEN);
            let stands_in = if *seen == *id.as_bytes() {
                route.caller.token
            } else {
                NO_TOKEN
            };
            let id = String::from_utf8_lossy(&seen).into_owned();
            (Reading::Accepted { id }, stands_in)
        }
        reading => (reading, route.caller.token),
    };
    let body = scrubbed(&answer::trim(&answer.body), stands_in);
    // SECURITY: a vendor may repeat the key in a header as well; such a header is dropped.
    let is_clean = |value: &HeaderValue| {
        let value = Bytes::copy_from_slice(value.as_bytes());
        scrubbed(&value, NO_TOKEN) == value
    };
    let relay = Relay {
        body,
        content_type: answer.content_type.filter(is_clean),
        allow_origin: answer.acao.filter(is_clean),
    };
    Ok(Answered { reading, relay })
}

fn target(path: &str, query: &[u8]) -> Bytes {
    let mut target = Vec::with_capacity(path.len() + 1 + query.len());
    target.extend_from_slice(path.as_bytes());
    if !query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target.into()
}

impl Answered {
    /// The vendor's own bytes where they are in the client's format, else the same code rendered anew.
    pub(super) fn control(self, code: &str, hints: Hints) -> Outcome {
        // Judged by its status alone: its body is a page, which no client understands.
        if code.starts_with("HTTP ") {
            return Outcome::Refused(Refusal::VendorTrouble);
        }
        if self.is_json() == hints.json {
            Outcome::Relay(self.relay)
        } else {
            Outcome::Code(code.to_owned())
        }
    }

    /// The same for a poll.
    pub(super) fn word(self, word: Word, hints: Hints) -> Heard {
        if self.is_json() == hints.json {
            Heard::Relay(self.relay)
        } else {
            Heard::Word(word)
        }
    }

    pub(super) fn accepted(self, id: &str, hints: Hints) -> Outcome {
        if self.is_json() == hints.json {
            Outcome::Relay(self.relay)
        } else {
            Outcome::Value(id.to_owned())
        }
    }

    /// For metrics and traces.
    pub(super) fn class(&self) -> &'static str {
        class_label(&self.reading)
    }

    fn is_json(&self) -> bool {
        self.relay.body.first() == Some(&b'{')
    }
}

fn class_label(reading: &Reading) -> &'static str {
    match reading {
        Reading::Accepted { .. } => "accepted",
        Reading::Final => "final",
        Reading::NotReady => "not_ready",
        Reading::Said => "said",
        Reading::Trouble { .. } => "trouble",
        Reading::Code { rule, .. } => match rule.class {
            Class::KeyBad => "key_bad",
            Class::KeyEmpty => "key_empty",
            Class::KeyBusy => "key_busy",
            Class::EgressIp => "egress_ip",
            Class::Request => "request",
            Class::NoTask => "no_task",
            Class::Task => "task",
            Class::Server => "server",
        },
    }
}

/// What a call came to that has no answer.
pub(super) const NO_ANSWER: &str = "no_answer";
/// The one word that means two things: no money, or at a vendor of thread plans no free thread.
pub(super) const ZERO_BALANCE: &str = "ERROR_ZERO_BALANCE";
/// No plan or no money. "Set the timeout to 60 seconds".
pub(super) const NOTHING_LEFT: CodeRule = CodeRule {
    class: Class::KeyEmpty,
    cooldown: Duration::from_secs(60),
    polls: false,
};
