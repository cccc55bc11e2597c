//! What each change is for `changes.lua`.

use super::super::audit::{self, AuditRow};
use super::super::parked::Parking;
use super::super::rows::{
    BAD_KEY_ANSWERS_KEPT, Change, Endpoint, GOOD_KEYS_KEPT, IntentId, TaskRecord, TaskState,
    UncertainRow,
};
use super::super::usage::{Refused, UsageRow};
use super::rows;
use crate::calendar::DAY_MS;
use crate::tenants::meter::Day;

/// The arguments of one script: names of changes, how many arguments each has, and those.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<Vec<u8>>);

impl Arguments {
    pub(super) fn change<const N: usize>(&mut self, name: &str, arguments: [&[u8]; N]) {
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

    pub(super) fn uncertain<const N: usize>(
        &mut self,
        name: &str,
        row: &UncertainRow,
        more: [&str; N],
    ) {
        let (id, at) = (number(row.id.0), number(row.intent.at_ms));
        let text = rows::uncertain(row);
        let first: [&[u8]; 3] = [&id, text.as_bytes(), &at];
        self.0.push(name.into());
        self.0.push((first.len() + N).to_string().into());
        self.0.extend(first.map(<[u8]>::to_vec));
        self.0.extend(more.map(|text| text.as_bytes().to_vec()));
    }

    pub(super) fn list(&mut self, name: &str, arguments: impl IntoIterator<Item = Vec<u8>>) {
        self.0.push(name.into());
        let count = self.0.len();
        self.0.push(Vec::new());
        self.0.extend(arguments);
        self.0[count] = (self.0.len() - count - 1).to_string().into();
    }

    pub(super) fn usage(&mut self, row: &UsageRow) {
        let task = [
            rows::place(&row.task).into_bytes(),
            number(row.submitted_at_ms),
        ];
        self.list("settle", task.into_iter().chain(usage(row)));
    }

    pub(super) fn refused(&mut self, refused: &Refused, at_ms: i64, audited: &str) {
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

    pub(super) fn audit(&mut self, row: &AuditRow) {
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

    pub(super) fn bad_key_answer(&mut self, id: i64, at_ms: i64) {
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

pub(super) fn running(task: &TaskRecord) -> &'static [u8] {
    match task.state {
        TaskState::Running => b"1",
        TaskState::Final => b"",
    }
}

pub(super) fn number(number: i64) -> Vec<u8> {
    number.to_string().into()
}

/// How long a submit holds its slot if its replica dies. None is longer on its way.
const SUBMIT_MS: i64 = 300_000;
const SOLVE_MS: i64 = 700_000;
