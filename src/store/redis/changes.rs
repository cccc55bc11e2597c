//! What each change is for `changes.lua`.

use super::super::memory::Remembered;
use super::super::rows::{
    BAD_KEY_ANSWERS_KEPT, CameTo, Change, Endpoint, GOOD_KEYS_KEPT, IntentId, TaskRecord,
    TaskState, UncertainRow,
};
use super::super::usage::UsageRow;
use super::rows;
use crate::keys::secret::Salt;
use crate::tenants::meter::Day;

/// The arguments of one script: names of changes, how many arguments each has, and those.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<Vec<u8>>);

impl Arguments {
    fn change<const N: usize>(&mut self, name: &str, arguments: [&[u8]; N]) {
        self.0.push(name.into());
        self.0.push(N.to_string().into());
        self.0.extend(arguments.map(<[u8]>::to_vec));
    }

    /// False: nothing is to be carried out, and the result is 0.
    pub(super) fn add(&mut self, change: &Change) -> bool {
        match change {
            Change::Intend(id, intent, claim, most) => {
                let leased = match intent.endpoint {
                    Endpoint::Submit => SUBMIT_MS,
                    Endpoint::Solve => SOLVE_MS,
                };
                let most = most.map(|most| most.to_string()).unwrap_or_default();
                self.change(
                    "intend",
                    [
                        &number(id.0),
                        intent.owner_name.as_bytes(),
                        rows::intent(intent).as_bytes(),
                        &number(leased),
                        most.as_bytes(),
                        claim.as_ref().map_or(&[], |claim| &claim.scope),
                        claim.as_ref().map_or(&[], |claim| &claim.parameters),
                        &number(intent.at_ms),
                    ],
                );
            }
            Change::Accept(id, task) => self.task("accept", *id, task),
            Change::Resolve(id, task) => self.task("resolve", Some(*id), task),
            Change::Answered(id, Some(answer)) => {
                self.change("answered", [&number(id.0), answer]);
            }
            Change::Answered(id, None) => self.change("answered", [&number(id.0)]),
            Change::ForgetIntent(id) => self.change("forget_intent", [&number(id.0)]),
            Change::Uncertain(row) => self.uncertain("uncertain", row, []),
            Change::Touch(key, used_at_ms, state) => self.change(
                "touch",
                [
                    rows::place(key).as_bytes(),
                    &number(*used_at_ms),
                    if *state == TaskState::Final {
                        b"1"
                    } else {
                        b""
                    },
                ],
            ),
            Change::Settle(row) => self.usage(row),
            Change::Refused(refused) => self.change(
                "refused",
                [
                    &number(refused.day),
                    format!("{}\0{}", refused.tenant, refused.reason).as_bytes(),
                    &number(refused.count),
                ],
            ),
            Change::BadKeyAnswer { id, at_ms } => self.bad_key_answer(*id, *at_ms),
            Change::GoodKey(identity, at_ms) => self.change(
                "good_key",
                [&identity.0, &number(*at_ms), &number(GOOD_KEYS_KEPT)],
            ),
            Change::NoGoodKey(identity) => self.change("no_good_key", [&identity.0]),
            Change::ForgetTasks {
                unused_since_ms,
                limit,
            } => self.change(
                "forget_tasks",
                [&number(*unused_since_ms), &number(*limit as i64)],
            ),
            Change::ForgetUncertain { before_ms, limit } => self.change(
                "forget_uncertain",
                [&number(*before_ms), &number(*limit as i64)],
            ),
            Change::ForgetClaims {
                before_ms,
                most,
                limit,
            } => self.change(
                "forget_claims",
                [
                    &number(*before_ms),
                    &number(*most as i64),
                    &number(*limit as i64),
                ],
            ),
            Change::GiveBack {
                tenant,
                submit,
                uncertain_until_ms,
            } => {
                let until = uncertain_until_ms.map(number).unwrap_or_default();
                self.change("give_back", [tenant.as_bytes(), &number(*submit), &until]);
            }
            Change::Nothing => return false,
        }
        true
    }

    fn task(&mut self, name: &str, id: Option<IntentId>, task: &TaskRecord) {
        self.change(
            name,
            [
                &id.map(|id| number(id.0)).unwrap_or_default(),
                task.key.id.as_bytes(),
                rows::place(&task.key).as_bytes(),
                task.owner_name.as_bytes(),
                rows::task(task).as_bytes(),
                &number(task.used_at_ms),
                running(task),
            ],
        );
    }

    fn uncertain<const N: usize>(&mut self, name: &str, row: &UncertainRow, more: [&str; N]) {
        let (id, at) = (number(row.id.0), number(row.intent.at_ms));
        let text = rows::uncertain(row);
        let first: [&[u8]; 3] = [&id, text.as_bytes(), &at];
        self.0.push(name.into());
        self.0.push((first.len() + N).to_string().into());
        self.0.extend(first.map(<[u8]>::to_vec));
        self.0.extend(more.map(|text| text.as_bytes().to_vec()));
    }

    fn usage(&mut self, row: &UsageRow) {
        let Day { day, month } = Day::of(row.ended_at_ms);
        self.change(
            "settle",
            [
                rows::place(&row.task).as_bytes(),
                &number(row.ended_at_ms),
                rows::usage_place(&row.task, row.submitted_at_ms).as_bytes(),
                rows::usage(row).as_bytes(),
                &number(day),
                &number(month),
                &number(row.charge_micro_usd),
            ],
        );
    }

    fn bad_key_answer(&mut self, id: i64, at_ms: i64) {
        self.change(
            "bad_key_answer",
            [&number(id), &number(at_ms), &number(BAD_KEY_ANSWERS_KEPT)],
        );
    }
}

/// All that this process remembers, in pieces of the size of a batch.
pub(super) fn written_back(remembered: &Remembered, salt: &Salt, run: i64) -> Vec<Arguments> {
    let mut pieces = Pieces::default();
    pieces.change().change("salt", [&salt.0, &number(run + 1)]);
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
        let change = Change::Intend(*id, intent.clone(), None, None);
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
    for (id, at_ms) in &remembered.bad_key_answers {
        pieces.change().bad_key_answer(*id, *at_ms);
    }
    pieces.0
}

#[derive(Default)]
struct Pieces(Vec<Arguments>);

impl Pieces {
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

fn running(task: &TaskRecord) -> &'static [u8] {
    match task.state {
        TaskState::Running => b"1",
        TaskState::Final => b"",
    }
}

fn number(number: i64) -> Vec<u8> {
    number.to_string().into()
}

/// Of some ten arguments a change: a few milliseconds of the server's one thread.
const ARGUMENTS_AT_ONCE: usize = 8_000;

/// How long a submit holds its slot if its replica dies. None is longer on its way.
const SUBMIT_MS: i64 = 300_000;
const SOLVE_MS: i64 = 700_000;
