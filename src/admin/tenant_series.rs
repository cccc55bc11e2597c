//! What tenants came to since the start. Made from the tenants of the file, so that a series ends with its tenant and no
//! request can make one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::config::settings::TenantLimits;
use crate::money::usd;
use crate::request::{Server, clock};
use crate::tenants::meter::{Limit, Used};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Solves {
    tenant: Arc<str>,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Tenant {
    tenant: Arc<str>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refusals {
    tenant: Arc<str>,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Limits {
    tenant: Arc<str>,
    limit: &'static str,
    kind: &'static str,
}

pub(super) fn register(server: &Server, registry: &mut Registry) {
    let solves = Family::<Solves, Counter>::default();
    let cost = Family::<Tenant, Counter<f64, AtomicU64>>::default();
    let refusals = Family::<Refusals, Counter>::default();
    let limits = Family::<Limits, Gauge<f64, AtomicU64>>::default();
    let now_ms = clock::now_ms();
    for tenant in server.live.load().tenants.all() {
        for (limit, used, max) in used_and_max(
            &tenant.limits,
            &server.tenants.of(&tenant.name).used(now_ms),
        ) {
            for (kind, value) in [("used", Some(used)), ("max", max)] {
                if let Some(value) = value {
                    let labels = Limits {
                        tenant: Arc::clone(&tenant.name),
                        limit: limit.name(),
                        kind,
                    };
                    limits.get_or_create(&labels).set(value);
                }
            }
        }
        let tenant = &tenant.name;
        let counted = server.tenants.of(tenant).counted();
        for (kind, count) in counted.solves {
            let labels = Solves {
                tenant: Arc::clone(tenant),
                r#type: kind,
            };
            solves.get_or_create(&labels).inc_by(count);
        }
        let labels = Tenant {
            tenant: Arc::clone(tenant),
        };
        cost.get_or_create(&labels)
            .inc_by(usd(counted.charged_micro_usd));
        for limit in Limit::ALL {
            let count = counted.refusals.get(&limit).copied().unwrap_or_default();
            let labels = Refusals {
                tenant: Arc::clone(tenant),
                reason: limit.name(),
            };
            refusals.get_or_create(&labels).inc_by(count);
        }
    }
    registry.register("tenant_solves", "Solves of a tenant, by type", solves);
    registry.register(
        "tenant_cost_usd",
        "What a tenant was charged for its solves",
        cost,
    );
    registry.register(
        "tenant_refusals",
        "Submits of a tenant that one of its limits refused, by the limit",
        refusals,
    );
    registry.register(
        "tenant_limit",
        "What a tenant has used of a limit, and the limit where there is one: solves of today, dollars of this month, tasks that run",
        limits,
    );
}

/// Solves and money for good, as alerts count them: what runs may fail and be given back.
fn used_and_max(limits: &TenantLimits, used: &Used) -> [(Limit, f64, Option<f64>); 3] {
    let solves = used.solves_today.saturating_add(used.uncertain_today);
    [
        (Limit::Daily, f64::from(solves), limits.daily.map(f64::from)),
        (
            Limit::Budget,
            usd(used.spent_micro_usd),
            limits.budget_micro_usd.map(usd),
        ),
        (
            Limit::Tasks,
            used.running as f64,
            limits.max_tasks.map(f64::from),
        ),
    ]
}
