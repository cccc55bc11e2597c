//! What is told, how long it must hold before, and when it may be told again. A new cause does not compile until all of
//! this is decided.

use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    BalanceLow,
    /// Nothing left: no money, or no plan.
    BalanceCritical,
    KeyRevoked,
    NoUsableKey,
    SlotsFull,
    /// Somebody else uses the key.
    SpendBeyondLedger,
    /// 80 % of the solves of a day.
    TenantDailyLow,
    /// All of them.
    TenantDailyReached,
    /// 80 % of the budget of a month.
    TenantBudgetLow,
    /// All of it, or what is left is too little for a submit that came.
    TenantBudgetReached,
}

impl Cause {
    pub const ALL: [Self; 10] = [
        Self::BalanceLow,
        Self::BalanceCritical,
        Self::KeyRevoked,
        Self::NoUsableKey,
        Self::SlotsFull,
        Self::SpendBeyondLedger,
        Self::TenantDailyLow,
        Self::TenantDailyReached,
        Self::TenantBudgetLow,
        Self::TenantBudgetReached,
    ];

    /// In log, metric and webhook.
    pub fn name(self) -> &'static str {
        match self {
            Self::BalanceLow => "balance_low",
            Self::BalanceCritical => "balance_critical",
            Self::KeyRevoked => "key_revoked",
            Self::NoUsableKey => "no_usable_key",
            Self::SlotsFull => "slots_full",
            Self::SpendBeyondLedger => "spend_beyond_ledger",
            Self::TenantDailyLow => "tenant_daily_low",
            Self::TenantDailyReached => "tenant_daily_reached",
            Self::TenantBudgetLow => "tenant_budget_low",
            Self::TenantBudgetReached => "tenant_budget_reached",
        }
    }

    /// What its subject is the name of.
    pub fn subject(self) -> &'static str {
        match self {
            Self::BalanceLow
            | Self::BalanceCritical
            | Self::KeyRevoked
            | Self::SpendBeyondLedger => "key",
            Self::NoUsableKey | Self::SlotsFull => "pool",
            Self::TenantDailyLow
            | Self::TenantDailyReached
            | Self::TenantBudgetLow
            | Self::TenantBudgetReached => "tenant",
        }
    }

    /// So long without a gap before it is told.
    pub fn told_after(self) -> Duration {
        match self {
            Self::BalanceLow
            | Self::BalanceCritical
            | Self::KeyRevoked
            | Self::SpendBeyondLedger => Duration::ZERO,
            Self::TenantDailyLow
            | Self::TenantDailyReached
            | Self::TenantBudgetLow
            | Self::TenantBudgetReached => Duration::ZERO,
            // Longer than a short outage, and than the probes of a file of new keys.
            Self::NoUsableKey => Duration::from_secs(30),
            Self::SlotsFull => Duration::from_secs(60),
        }
    }

    /// So long gone before it is told again: what comes and goes is one trouble, not many.
    pub fn armed_after(self) -> Duration {
        match self {
            // Its way back is measured in money instead: see `findings`.
            // An hour without a sign is measured where it is seen: see `keys::beyond`.
            Self::BalanceLow | Self::SpendBeyondLedger => Duration::ZERO,
            // What was used only grows, until the next day or month, or a changed limit: then it may be told again.
            Self::TenantDailyLow
            | Self::TenantDailyReached
            | Self::TenantBudgetLow
            | Self::TenantBudgetReached => Duration::ZERO,
            // An empty key's probe may pass and its next submit be refused, a minute later.
            Self::BalanceCritical => Duration::from_secs(300),
            Self::KeyRevoked | Self::NoUsableKey => Duration::from_secs(60),
            // A busy pool is full now and then all day.
            Self::SlotsFull => Duration::from_secs(600),
        }
    }

    /// While it lasts.
    pub fn told_every(self) -> Option<Duration> {
        match self {
            Self::BalanceCritical => Some(Duration::from_secs(3600)),
            // Who takes it on in the morning should hear of it.
            Self::SpendBeyondLedger => Some(Duration::from_secs(24 * 3600)),
            Self::BalanceLow | Self::KeyRevoked | Self::NoUsableKey | Self::SlotsFull => None,
            Self::TenantDailyLow
            | Self::TenantDailyReached
            | Self::TenantBudgetLow
            | Self::TenantBudgetReached => None,
        }
    }

    /// The worse cause that says all that this one would say of the same subject.
    pub fn said_by(self) -> Option<Self> {
        match self {
            Self::BalanceLow => Some(Self::BalanceCritical),
            Self::TenantDailyLow => Some(Self::TenantDailyReached),
            Self::TenantBudgetLow => Some(Self::TenantBudgetReached),
            Self::BalanceCritical
            | Self::KeyRevoked
            | Self::NoUsableKey
            | Self::SlotsFull
            | Self::SpendBeyondLedger
            | Self::TenantDailyReached
            | Self::TenantBudgetReached => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_documented() {
        let document = include_str!("../../docs/webhook.md");
        for cause in Cause::ALL {
            let row = format!("| `{}` | {} |", cause.name(), cause.subject());
            assert!(document.contains(&row), "{row}");
        }
    }
}
