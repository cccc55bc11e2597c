//! What must hold between tenants, keys and pools. Keys may come later, so most of it is only doubtful.

use std::collections::{HashMap, HashSet};

use super::key_checks::Problem;
use super::report::Diagnostic;
use super::settings::{KeyEntry, Pool, TenantEntry};
use super::suggest::nearest;
use crate::keys::set::DEFAULT_POOL;
use crate::tenants::TokenHash;

pub(crate) fn check<'a>(
    tenants: &[TenantEntry],
    keys: &'a [KeyEntry],
    pools: &[Pool],
    origin: &str,
    found: &mut Vec<Diagnostic>,
) {
    let names: HashSet<&str> = keys.iter().map(|key| key.name.as_str()).collect();
    let values: HashMap<TokenHash, &str> = keys
        .iter()
        .map(|key| (TokenHash::of(key.value.expose()), key.name.as_str()))
        .collect();
    let owned = tenants.iter().filter_map(|tenant| tenant.keys.as_ref());
    let owned: HashSet<&str> = owned.flatten().map(String::as_str).collect();
    let pool_of = |key: &'a KeyEntry| match &key.pool {
        Some(pool) => Some(pool.as_str()),
        None => Some(DEFAULT_POOL).filter(|_| !owned.contains(key.name.as_str())),
    };
    let with_keys: HashSet<&str> = keys.iter().filter_map(pool_of).collect();
    let pools: HashSet<&str> = pools
        .iter()
        .map(|pool| pool.name.as_str())
        .chain(with_keys.iter().copied())
        .collect();
    let mut doubtful = |message: String, near: Option<&str>| {
        let mut found_here =
            Problem::warning(message, "see the names in the keys file").in_source(origin);
        if let Some(near) = near {
            found_here.help = Some(format!("did you mean `{near}`?"));
        }
        found.push(found_here);
    };
    for tenant in tenants {
        let name = &tenant.name;
        let shared = match &tenant.keys {
            None => Some(tenant.pool.as_deref().unwrap_or(DEFAULT_POOL)),
            Some(_) => tenant.fallback_pool.as_deref(),
        };
        // That there are no keys at all is said once, elsewhere.
        let lacks = |pool: &&str| !with_keys.contains(pool) && !keys.is_empty();
        if let Some(pool) = shared.filter(lacks) {
            let message = format!("tenant `{name}`: no key is in the pool `{pool}`");
            let others = pools.iter().copied().filter(|other| *other != pool);
            doubtful(message, nearest(pool, others));
        }
        for key in tenant.keys.iter().flatten() {
            if !names.contains(key.as_str()) {
                let message = format!("tenant `{name}`: no key is named `{key}`");
                doubtful(message, nearest(key, names.iter().copied()));
            }
        }
    }
    let tokens: HashMap<&TokenHash, &str> = tenants
        .iter()
        .map(|tenant| (&tenant.token, tenant.name.as_str()))
        .collect();
    for key in keys {
        if let Some(tenant) = tokens.get(&TokenHash::of(key.name.as_bytes())) {
            let message = format!("the token of `{tenant}` is the name of a key");
            let help = "names are shown in logs and metrics; make a token with `sidekey token`";
            found.push(Problem::error(message, help).in_source(origin));
        }
    }
    for tenant in tenants {
        if let Some(key) = values.get(&TokenHash::of(tenant.name.as_bytes())) {
            let message = format!("the value of the key `{key}` is the name of a tenant");
            let help = "names are shown in logs and metrics; give it another one";
            found.push(Problem::error(message, help).in_source(origin));
        }
        if let Some(key) = values.get(&tenant.token) {
            let message = format!(
                "the token of `{}` is the value of the key `{key}`",
                tenant.name
            );
            let help = "clients must not hold real keys; make a token with `sidekey token`";
            found.push(Problem::error(message, help).in_source(origin));
        }
    }
}
