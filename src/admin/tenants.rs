//! Tenants over the admin port: what each may use and has used, and whether it may submit. Tokens are in no answer.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::access::Who;
use super::api::seconds;
use super::changes::{MOST_NAMES, Told};
use crate::calendar::rfc3339;
use crate::config::settings::Role;
use crate::live::Snapshot;
use crate::money::usd;
use crate::replicas::Subject;
use crate::request::{Server, clock};
use crate::tenants::{Pools, Tenant};

pub(super) fn list(server: &Server, who: &Who) -> Value {
    let snapshot = server.live.load();
    let tenants: Vec<_> = match who {
        Who::Admin(_) => snapshot
            .tenants
            .all()
            .map(|tenant| describe(server, &snapshot, tenant))
            .collect(),
        Who::Tenant(tenant) => vec![describe(server, &snapshot, tenant)],
    };
    json!({ "tenants": tenants })
}

pub(super) fn deactivate(server: &Server, name: &str) -> Told {
    change(server, name, true)
}

pub(super) fn activate(server: &Server, name: &str) -> Told {
    change(server, name, false)
}

fn change(server: &Server, name: &str, deactivated: bool) -> Told {
    let snapshot = server.live.load();
    let tenant = snapshot.tenants.all().find(|tenant| &*tenant.name == name);
    let Some(tenant) = tenant else {
        let names = snapshot.tenants.all().map(|tenant| &*tenant.name);
        let names: Vec<_> = names.take(MOST_NAMES).collect();
        let error = "no tenant of the file has this name";
        return (
            StatusCode::NOT_FOUND,
            json!({ "error": error, "names": names }),
        );
    };
    let subject = Subject::Tenant((&*tenant.name).into());
    server
        .replicas
        .switch(subject, deactivated, clock::now_ms());
    if tenant.deactivate(deactivated) {
        tracing::info!(tenant = %tenant.name, deactivated, "a tenant was changed by hand");
    }
    if !deactivated && !tenant.active {
        let error = "`active = false` stands in the tenants file: remove it there, the file is read again by itself";
        return (StatusCode::CONFLICT, json!({ "error": error }));
    }
    let note = match deactivated {
        true if server.replicas.are_there() => {
            "no new submits at any replica until it is activated again, also after restarts; its tasks are polled to their end"
        }
        true => {
            "no new submits until it is activated again or this program ends; its tasks are polled to their end. \
            `active = false` in the tenants file survives restarts"
        }
        false => "it may submit",
    };
    let answer = json!({ "note": note, "tenant": describe(server, &snapshot, tenant) });
    (StatusCode::OK, answer)
}

fn describe(server: &Server, snapshot: &Snapshot, tenant: &Tenant) -> Value {
    let now_ms = clock::now_ms();
    let used = server.tenants.of(&tenant.name).used(now_ms);
    let last_use_ms = tenant.last_use_ms();
    let ago = |at_ms| Duration::from_millis(u64::try_from(now_ms - at_ms).unwrap_or_default());
    let limits = &tenant.limits;
    let (keys, fallback, when_empty) = match &tenant.pools {
        Pools::Shared(_) => (None, None, false),
        Pools::Own {
            pool,
            fallback,
            fallback_when_empty,
        } => {
            let keys = snapshot.keys.in_pool(pool).map(|key| &*key.name);
            (
                Some(keys.collect::<Vec<_>>()),
                fallback.as_deref(),
                *fallback_when_empty,
            )
        }
    };
    json!({
        "name": &*tenant.name,
        "role": match tenant.role {
            Role::Admin => "admin",
            Role::User => "user",
            Role::Service => "service",
        },
        "active": tenant.is_active(),
        "why": match tenant {
            _ if !tenant.active => Some("active = false in the tenants file"),
            _ if tenant.is_deactivated() => Some("deactivated by hand"),
            _ => None,
        },
        "project": tenant.project.as_deref(),
        "pool": &**tenant.first_pool(),
        // Of its own that are in use; null where it shares a pool.
        "keys": keys,
        "fallback_pool": fallback,
        "fallback_when_empty": when_empty,
        // Null is no limit.
        "limits": {
            "daily_limit": limits.daily,
            "rate_per_minute": limits.rate_per_minute,
            "monthly_budget": limits.budget_micro_usd.map(usd),
            "monthly_budget_micro_usd": limits.budget_micro_usd,
            "max_tasks": limits.max_tasks,
        },
        "solves_today": used.solves_today,
        "spent_this_month": usd(used.spent_micro_usd),
        "spent_this_month_micro_usd": used.spent_micro_usd,
        "running": used.running,
        "uncertain_today": used.uncertain_today,
        // Since the start of this program; null: it has not called.
        "last_use": last_use_ms.map(rfc3339),
        "last_use_seconds": last_use_ms.map(|at_ms| seconds(ago(at_ms))),
    })
}
