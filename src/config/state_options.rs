//! `[state]`: where what outlives the process is kept.

use super::reader::Value;
use super::section::Section;
use super::settings::{State, StoreKind, Sync};
use crate::store::{Address, AddressError};

pub(super) fn state(mut section: Section<'_, '_>) -> State {
    let stores = [
        ("memory", StoreKind::Memory),
        ("sqlite", StoreKind::Sqlite),
        ("redis", StoreKind::Redis),
    ];
    let store = section.choice("store", StoreKind::Sqlite, &stores);
    // A ConfigMap's own directory is read-only.
    let path = section
        .working_path("path")
        .unwrap_or_else(|| Value::default("sidekey.db".into()));
    let sync = section.choice(
        "sync",
        Sync::Full,
        &[("full", Sync::Full), ("process", Sync::Process)],
    );
    let url = redis_url(&mut section, store.value);
    section.done();
    State {
        url,
        store: store.value,
        path_written: path.is_written(),
        path: path.value,
        sync: sync.value,
    }
}

/// Never quoted: it may hold a password.
fn redis_url(section: &mut Section<'_, '_>, store: StoreKind) -> Address {
    let default = || {
        Address::parse(LOCAL_REDIS).unwrap_or_else(|_| unreachable!("the default is an address"))
    };
    let Some(url) = section.secret_text("url") else {
        return default();
    };
    if store != StoreKind::Redis {
        section.reader.warn(
            &url.at,
            "`state.url` is there but `state.store` is not \"redis\", so replicas share nothing",
            "set store = \"redis\", or leave the url out",
        );
    }
    Address::parse(url.value.trim()).unwrap_or_else(|error| {
        let help = match error {
            AddressError::NotAUrl => {
                "write redis://HOST:PORT/DATABASE, with USER:PASSWORD@ before the host, or unix:///PATH"
            }
            AddressError::Tls => {
                "write redis://, and let a tunnel on this host (stunnel, a mesh) do the TLS"
            }
        };
        let message = format!("the url of `state.url` {error}");
        section.reader.error(&url.at, message, help);
        default()
    })
}

const LOCAL_REDIS: &str = "redis://127.0.0.1:6379";
