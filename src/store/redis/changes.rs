//! What each change is for `changes.lua`.

use super::super::audit::{self, AuditRow};
use super::super::memory::Remembered;
use super::super::parked::{ParkedRecord, ParkedRequest, Parking};
use super::super::rows::{
    BAD_KEY_ANSWERS_KEPT, CameTo, Change, Endpoint, GOOD_KEYS_KEPT, IntentId, TaskRecord,
    TaskState, UncertainRow, Within,
};
use super::super::usage::{Refused, UsageRow};
use super::{VERSION, held, rows};
use crate::calendar::DAY_MS;
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
            Change::Intend(id, intent, claim, within) => {
                let leased = match intent.endpoint {
                    Endpoint::Submit => SUBMIT_MS,
                    Endpoint::Solve => SOLVE_MS,
                };
                let most = within.slots.map(|most| most.to_string());
                let submit = within.reserved.map(|it| number(it.submit));
                let is_limited = within.reserved.is_some_and(|it| it.is_limited);
                self.change(
                    "intend",
                    [
                        &number(id.0),
                        intent.owner_name.as_bytes(),
                        rows::intent(intent).as_bytes(),
                        &number(leased),
                        most.unwrap_or_default().as_bytes(),
                        claim.as_ref().map_or(&[], |claim| &claim.scope),
                        claim.as_ref().map_or(&[], |claim| &claim.parameters),
                        &number(intent.at_ms),
                        &submit.unwrap_or_default(),
                        if is_limited { b"1" } else { b"" },
                    ],
                );
            }
            Change::Accept(id, task) => self.task("accept", *id, task),
            Change::Resolve(id, task) => self.task("resolve", Some(*id), task),
            Change::Answered(id, answer, row) => {
                let place = rows::place(&row.task).into_bytes();
                let id = [number(id.0), place, row.task.id.as_bytes().to_vec()];
                let answer = answer.as_ref().map(|answer| answer.to_vec());
                self.list("answered", id.into_iter().chain(usage(row)).chain(answer));
            }
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
            Change::Refused(refused, at_ms) => {
                let first = audit::limit_reached(&refused.tenant, &refused.reason, *at_ms);
                self.refused(refused, *at_ms, &rows::audit(&first));
            }
            Change::Audit(row) => self.audit(row),
            Change::ForgetUsage { before_ms, limit } => self.change(
                "forget_usage",
                [
                    &number(*before_ms),
                    &number(before_ms / DAY_MS),
                    &number(*limit as i64),
                ],
            ),
            Change::ForgetAudit { before_ms, most } => {
                self.change("forget_audit", [&number(*before_ms), &number(*most as i64)])
            }
            Change::Park(parking) => self.park(parking),
            Change::Turn {
                id,
                state,
                at_ms,
                with,
            } => {
                let mut inner = Self::default();
                inner.add(with);
                // Its name, how many arguments it has, and those.
                let with = inner.0.into_iter().enumerate();
                let with = with
                    .filter(|(at, _)| *at != 1)
                    .map(|(_, argument)| argument);
                let turn = [
                    number(id.0),
                    state.as_str().into(),
                    rows::detail(state).into(),
                    number(*at_ms),
                ];
                self.list("turn", turn.into_iter().chain(with));
            }
            Change::TouchParked(id, used_at_ms) => {
                self.change("touch_parked", [&number(id.0), &number(*used_at_ms)]);
            }
            Change::ForgetParked {
                unused_since_ms,
                limit,
            } => self.change(
                "forget_parked",
                [&number(*unused_since_ms), &number(*limit as i64)],
            ),
            Change::HoldParked { submit, parked } => {
                self.change("hold_parked", [&number(*submit), &number(parked.0)]);
            }
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

    fn list(&mut self, name: &str, arguments: impl IntoIterator<Item = Vec<u8>>) {
        self.0.push(name.into());
        let count = self.0.len();
        self.0.push(Vec::new());
        self.0.extend(arguments);
        self.0[count] = (self.0.len() - count - 1).to_string().into();
    }

    fn usage(&mut self, row: &UsageRow) {
        let task = [
            rows::place(&row.task).into_bytes(),
            number(row.submitted_at_ms),
        ];
        self.list("settle", task.into_iter().chain(usage(row)));
    }

    fn refused(&mut self, refused: &Refused, at_ms: i64, audited: &str) {
        self.change(
            "refused",
            [
                &number(refused.day),
                format!("{}\0{}", refused.tenant, refused.reason).as_bytes(),
                &number(refused.count),
                &number(at_ms),
                audited.as_bytes(),
            ],
        );
    }

    fn audit(&mut self, row: &AuditRow) {
        self.change("audit", [&number(row.at_ms), rows::audit(row).as_bytes()]);
    }

    fn park(&mut self, parking: &Parking) {
        let Parking {
            record,
            request,
            claim,
        } = parking;
        let (intent, scope, parameters) = match claim {
            Some((intent, claim)) => (
                number(intent.0),
                claim.scope.to_vec(),
                claim.parameters.to_vec(),
            ),
            None => Default::default(),
        };
        let parked = [
            number(record.id.0),
            record.tenant.as_bytes().to_vec(),
            rows::parked(record).into(),
            number(record.parked_at_ms),
            scope,
            parameters,
            intent,
        ];
        self.list("park", parked.into_iter().chain(rows::request(request)));
    }

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

    fn bad_key_answer(&mut self, id: i64, at_ms: i64) {
        self.change(
            "bad_key_answer",
            [&number(id), &number(at_ms), &number(BAD_KEY_ANSWERS_KEPT)],
        );
    }
}

/// When it ended, which row it is, how it ended, and what it counts for.
fn usage(row: &UsageRow) -> [Vec<u8>; 8] {
    let Day { day, month } = Day::of(row.ended_at_ms);
    let (ended, end, rest) = rows::usage(row);
    [
        number(row.ended_at_ms),
        rows::usage_place(&row.task, row.submitted_at_ms).into(),
        ended.into(),
        end.into(),
        rest.into(),
        number(day),
        number(month),
        number(row.charge_micro_usd),
    ]
}

/// All that this process remembers, in pieces of the size of a batch.
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
