//! All that a replica remembers, as changes for `write_back.lua`.

use super::super::memory::Remembered;
use super::super::parked::{ParkedRecord, ParkedRequest};
use super::super::rows::{CameTo, Change, Within};
use super::changes::{Arguments, number, running};
use super::{VERSION, held, rows};
use crate::keys::secret::Salt;

/// In pieces of the size of a batch.
pub(super) fn written_back(
    remembered: &Remembered,
    held: &held::Inner,
    salt: &Salt,
    run: i64,
    last_own_id: i64,
) -> Vec<Arguments> {
    let mut pieces = Pieces::default();
    let salt = [
        &salt.0[..],
        &number(run + 1),
        &number(last_own_id),
        &number(VERSION),
    ];
    pieces.change().change("salt", salt);
    // Before the tasks: a task that was settled runs no more.
    for row in &remembered.usage {
        pieces.change().usage(row);
    }
    for task in &remembered.tasks {
        let place = rows::usage_place(&task.key, task.submitted_at_ms);
        pieces.change().change(
            "put_back_task",
            [
                place.as_bytes(),
                task.key.id.as_bytes(),
                rows::place(&task.key).as_bytes(),
                task.owner_name.as_bytes(),
                rows::task(task).as_bytes(),
                &number(task.used_at_ms),
                running(task),
            ],
        );
    }
    for (id, intent) in &remembered.intents {
        let change = Change::Intend(*id, intent.clone(), None, Within::default());
        pieces.change().add(&change);
    }
    for row in &remembered.uncertain {
        let resolved = row.resolved.as_ref().map(rows::resolved);
        let resolved = resolved.unwrap_or_default();
        pieces
            .change()
            .uncertain("put_back_uncertain", row, [&resolved]);
    }
    for claim in &remembered.claims {
        let (field, value): (&[u8], &[u8]) = match &claim.claimed.came_to {
            CameTo::Task(id) => (b"task", id.as_bytes()),
            CameTo::Answer(answer) => (b"answer", answer),
            CameTo::Unknown => (b"", b""),
        };
        pieces.change().change(
            "put_back_claim",
            [
                &claim.scope,
                &claim.claimed.parameters,
                &number(claim.intent.0),
                &number(claim.at_ms),
                field,
                value,
            ],
        );
    }
    for (record, request) in &remembered.parked {
        pieces.change().put_back_parked(record, request.as_ref());
    }
    for refused in &remembered.refusals {
        pieces.change().refused(refused, 0, "");
    }
    for row in &remembered.audit {
        pieces.change().audit(row);
    }
    for (id, at_ms) in &remembered.bad_key_answers {
        pieces.change().bad_key_answer(*id, *at_ms);
    }
    pieces.only_open(
        "open_intents",
        &[],
        remembered.intents.iter().map(|(id, _)| id.0),
    );
    pieces.held(held);
    pieces.0
}

impl Arguments {
    fn put_back_parked(&mut self, record: &ParkedRecord, request: Option<&ParkedRequest>) {
        let parked = [
            number(record.id.0),
            record.tenant.as_bytes().to_vec(),
            rows::parked(record).into(),
            number(record.used_at_ms),
            record.state.as_str().into(),
            rows::detail(&record.state).into(),
            u8::from(record.state.is_open()).to_string().into(),
        ];
        let request = request.map(rows::request).unwrap_or_default();
        self.list("put_back_parked", parked.into_iter().chain(request));
    }
}

#[derive(Default)]
struct Pieces(Vec<Arguments>);

impl Pieces {
    fn held(&mut self, held: &held::Inner) {
        let submits = held.submits.iter();
        let submits = submits.map(|(submit, hold)| (submit.to_string(), hold));
        let parked = held.parked.iter();
        let parked = parked.map(|(id, hold)| (format!("p{id}"), hold));
        for (member, hold) in submits.chain(parked) {
            let until = hold.uncertain_until_ms.map(number).unwrap_or_default();
            let price = number(hold.price_micro_usd);
            let hold = [hold.tenant.as_bytes(), member.as_bytes(), &until, &price];
            self.change().change("put_back_hold", hold);
        }
        for (tenant, rate) in &held.rates {
            for (at_ms, submit) in rate {
                let rate = [tenant.as_bytes(), &number(*at_ms), &number(*submit)];
                self.change().change("put_back_rate", rate);
            }
        }
        for (tenant, (day, used)) in &held.used {
            let of_tenant = held.submits.iter();
            let of_tenant = of_tenant.filter(|(_, hold)| hold.tenant == *tenant);
            let first = [tenant.as_bytes().to_vec()];
            self.only_open("open_submits", &first, of_tenant.map(|(submit, _)| *submit));
            let used = [
                tenant.as_bytes().to_vec(),
                format!("d{}", day.day).into(),
                number(i64::from(used.solves_today)),
                format!("m{}", day.month).into(),
                number(used.charged_this_month_micro_usd),
            ];
            self.change().list("put_back_used", used);
        }
    }

    fn only_open(&mut self, name: &str, first: &[Vec<u8>], open: impl Iterator<Item = i64>) {
        let open: Vec<_> = first.iter().cloned().chain(open.map(number)).collect();
        // Lua has no room for more arguments; what has ended is then left to its lease.
        if open.len() <= ARGUMENTS_AT_ONCE / 2 {
            self.change().list(name, open);
        }
    }

    fn change(&mut self) -> &mut Arguments {
        if self
            .0
            .last()
            .is_none_or(|last| last.0.len() > ARGUMENTS_AT_ONCE)
        {
            self.0.push(Arguments::default());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

/// Of some ten arguments a change: a few milliseconds of the server's one thread.
const ARGUMENTS_AT_ONCE: usize = 8_000;
