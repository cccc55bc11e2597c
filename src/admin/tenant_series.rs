//! What tenants came to since the start. Made from the tenants of the file, so that a series ends with its tenant and no
//! request can make one.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::money::usd;
use crate::request::Server;

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

pub(super) fn register(server: &Server, registry: &mut Registry) {
    let solves = Family::<Solves, Counter>::default();
    let cost = Family::<Tenant, Counter<f64, AtomicU64>>::default();
    let refusals = Family::<Refusals, Counter>::default();
    for tenant in server.live.load().tenants.all() {
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
        for (limit, count) in counted.refusals {
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
}
