//! The configuration as it is in effect, in the words of the configuration file and in its notation. No secret is in it:
//! of what holds one only is said that it is there, or where it leads.

use serde_json::{Map, Value, json};

use crate::config::settings::{
    ListenAddress, LogFormat, LogLevel, Mode, Settings, StoreKind, Strategy, Sync, UnknownTask,
    WhenBusy, WhenEmpty,
};
use crate::config::units::{show_duration as time, show_size};
use crate::money::usd;
use crate::otlp::collector::Collector;
use crate::vendor::profile::{Billing, Class, Profile};
use crate::vendor::way::Resolver;

pub(crate) fn config(settings: &Settings) -> Value {
    json!({
        "listen": listen(settings),
        "admin": {
            "listen": addresses(&settings.admin.listen),
            "has_token": settings.admin.token.is_some(),
        },
        "vendor": vendor(settings),
        "submit": submit(settings),
        "poll": {
            "pace": time(settings.poll.pace),
            "first": time(settings.poll.first),
            "hide_outage": time(settings.poll.hide_outage),
            "unknown_task": match settings.poll.unknown_task {
                UnknownTask::Ask => "ask",
                UnknownTask::Refuse => "refuse",
            },
            "keep": time(settings.poll.keep),
        },
        "balance": {
            "refresh": time(settings.balance.refresh),
            "minimum": usd(settings.balance.minimum_micro_usd),
            "low": usd(settings.balance.low_micro_usd),
        },
        // Scheme and host; the path may hold a token.
        "alerts": { "webhook": settings.alerts.webhook.as_ref().map(ToString::to_string) },
        "pool": pools(settings),
        "prices": prices(settings),
        "clients": {
            "mode": match settings.clients.mode {
                Mode::Open => "open",
                Mode::Tenants => "tenants",
            },
            "nominal_balance": usd(settings.clients.nominal_balance_micro_usd),
            "origins": settings.clients.origins,
        },
        "state": {
            "store": match settings.state.store {
                StoreKind::Memory => "memory",
                StoreKind::Sqlite => "sqlite",
                StoreKind::Redis => "redis",
            },
            "path": settings.state.path,
            "sync": match settings.state.sync {
                Sync::Full => "full",
                Sync::Process => "process",
            },
            // Without user and password.
            "url": settings.state.url.to_string(),
        },
        "log": {
            "format": match settings.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
            "level": match settings.log.level {
                LogLevel::Error => "error",
                LogLevel::Warn => "warn",
                LogLevel::Info => "info",
                LogLevel::Debug => "debug",
                LogLevel::Trace => "trace",
            },
            "otlp": settings.log.otlp.as_ref().map(Collector::as_str),
        },
    })
}

fn listen(settings: &Settings) -> Value {
    let listen = &settings.listen;
    json!({
        "http": addresses(&listen.http),
        "https": addresses(&listen.https),
        "tls_cert": listen.tls.as_ref().map(|tls| &tls.cert),
        "tls_key": listen.tls.as_ref().map(|tls| &tls.key),
        "max_connections": listen.max_connections,
        "max_body": show_size(listen.max_body as u64),
        "max_body_total": show_size(listen.max_body_total as u64),
    })
}

fn vendor(settings: &Settings) -> Value {
    let Profile {
        name,
        url,
        hosts,
        endpoints,
        takes,
        billing,
        limits,
        solution_fields,
        no_slot_json,
        codes,
    } = &settings.vendor.profile;
    let codes = codes.iter().map(|(code, rule)| {
        let rule = json!({
            "class": class(rule.class),
            "cooldown": time(rule.cooldown),
            "polls": rule.polls,
        });
        (code.clone(), rule)
    });
    json!({
        "profile": name,
        "url": url,
        "has_ca_file": settings.vendor.ca_pem.is_some(),
        "connect_timeout": time(settings.vendor.connect_timeout),
        "resolver": match settings.vendor.way.resolver {
            Resolver::System => "system",
            Resolver::Dns => "dns",
        },
        // Its address alone.
        "proxy": settings.vendor.way.proxy.as_ref().map(ToString::to_string),
        "billing": match billing {
            Billing::Balance => "balance",
            Billing::Threads => "threads",
        },
        "hosts": hosts,
        "endpoints": {
            "submit": endpoints.submit,
            "result": endpoints.result,
            "solve": endpoints.solve,
            "load": endpoints.load,
        },
        "takes": { "ids": takes.ids, "threadsinfo": takes.threadsinfo },
        "limits": {
            "submits": limits.submits,
            "submits_in": time(limits.submits_in),
            "polls": limits.polls,
            "polls_per_task": limits.polls_per_task,
        },
        "answers": { "solution_fields": solution_fields, "no_slot_json": no_slot_json },
        "codes": codes.collect::<Map<_, _>>(),
    })
}

fn submit(settings: &Settings) -> Value {
    let submit = &settings.submit;
    json!({
        "deadline": time(submit.deadline),
        "max_keys": submit.max_keys,
        "when_busy": match submit.when_busy {
            WhenBusy::Wait => "wait",
            WhenBusy::Fail => "fail",
            WhenBusy::Park => "park",
        },
        "when_empty": match submit.when_empty {
            WhenEmpty::Fail => "fail",
            WhenEmpty::Park => "park",
        },
        "wait": time(submit.wait),
        "park_for": time(submit.park_for),
        "park_max": submit.park_max,
    })
}

fn pools(settings: &Settings) -> Value {
    let pool = |strategy| match strategy {
        Strategy::RoundRobin => "round-robin",
        Strategy::LeastBusy => "least-busy",
        Strategy::Balance => "balance",
    };
    let pools = settings.pools.iter();
    pools
        .map(|it| (it.name.clone(), json!({ "strategy": pool(it.strategy) })))
        .collect::<Map<_, _>>()
        .into()
}

fn prices(settings: &Settings) -> Value {
    let prices = settings.prices.0.iter();
    prices
        .map(|(kind, price)| ((*kind).to_owned(), usd(*price).into()))
        .collect::<Map<_, _>>()
        .into()
}

fn class(class: Class) -> &'static str {
    match class {
        Class::KeyBad => "key-bad",
        Class::KeyEmpty => "key-empty",
        Class::KeyBusy => "key-busy",
        Class::EgressIp => "egress-ip",
        Class::Request => "request",
        Class::NoTask => "no-task",
        Class::Task => "task",
        Class::Server => "server",
    }
}

fn addresses(addresses: &[ListenAddress]) -> Vec<String> {
    let addresses = addresses.iter();
    addresses.map(|it| it.address.to_string()).collect()
}
