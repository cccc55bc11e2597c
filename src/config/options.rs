//! `sidekey.toml` and `SIDEKEY_…` to [`Settings`]: which options exist, their defaults, and what must hold between them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::files::Files;
use super::notes::Quoting;
use super::reader::{At, Reader, Value, shown};
use super::section::Section;
use super::settings::*;
use super::vendor_options::vendor;
use crate::keys::secret::Secret;

/// Where keys are to be looked for.
#[derive(Clone, Debug)]
pub(crate) struct KeySources {
    pub file: Value<PathBuf>,
    pub directory: Option<Value<PathBuf>>,
    pub variable: Value<String>,
}

pub(crate) fn read(root: &mut Section<'_, '_>, files: &mut Files) -> (Settings, KeySources) {
    let keys = KeySources {
        file: root
            .path("keys_file")
            .unwrap_or_else(|| Value::default(root.reader.in_base("keys.toml"))),
        directory: root.path("keys_dir"),
        variable: root
            .text("keys_env")
            .unwrap_or_else(|| Value::default("CAPTCHAAI_KEYS".to_owned())),
    };
    let settings = Settings {
        listen: listen(root.section("listen"), files),
        admin: admin(root.section("admin"), files),
        vendor: vendor(root.section("vendor"), files),
        submit: submit(root.section("submit")),
        poll: poll(root.section("poll")),
        clients: clients(root.section("clients")),
        state: state(root.section("state")),
        log: log(root.section("log")),
    };
    let clash = settings.admin.listen.iter().find(|admin| {
        admin.address.port() != 0
            && settings
                .listen
                .http
                .iter()
                .chain(&settings.listen.https)
                .any(|data| data.address == admin.address)
    });
    if let Some(clash) = clash {
        let message = format!(
            "{} is both a data address and an admin address",
            clash.address
        );
        root.reader.error(
            &At::Default,
            message,
            "give [admin] listen a port of its own",
        );
    }
    (settings, keys)
}

/// How `sidekey.toml` is quoted. It holds no secrets, but people paste them into the wrong file.
pub(crate) const QUOTING: Quoting = Quoting {
    words: &[
        "keys_file",
        "keys_dir",
        "keys_env",
        "listen",
        "http",
        "https",
        "tls_cert",
        "tls_key",
        "max_connections",
        "max_body",
        "max_body_total",
        "admin",
        "token_file",
        "vendor",
        "profile",
        "url",
        "allow_plaintext",
        "ca_file",
        "connect_timeout",
        "hosts",
        "endpoints",
        "submit",
        "result",
        "solve",
        "load",
        "takes",
        "ids",
        "threadsinfo",
        "answers",
        "solution_fields",
        "codes",
        "class",
        "cooldown",
        "deadline",
        "max_keys",
        "when_busy",
        "wait",
        "poll",
        "hide_outage",
        "unknown_task",
        "keep",
        "clients",
        "origins",
        "state",
        "store",
        "path",
        "sync",
        "log",
        "format",
        "level",
        "true",
        "false",
    ],
    secret: false,
};

const DAY: Duration = Duration::from_secs(86_400);

fn listen(mut section: Section<'_, '_>, files: &mut Files) -> Listen {
    let loopback = [
        (Ipv4Addr::LOCALHOST, 8080).into(),
        (Ipv6Addr::LOCALHOST, 8080).into(),
    ];
    let http = addresses(&mut section, "http", &loopback);
    let https = addresses(&mut section, "https", &[]);
    let cert = section.path("tls_cert");
    let key = section.path("tls_key");
    let max_connections = section.integer("max_connections", 10_000, 1..=1_000_000);
    let max_body = section.size("max_body", 16 << 20, 1 << 30);
    let max_body_total = section.size("max_body_total", 64 << 20, 64 << 30);

    let reader = &mut *section.reader;
    if http.value.is_empty() && https.value.is_empty() {
        let at = if http.is_written() {
            &http.at
        } else {
            &https.at
        };
        reader.error(
            at,
            "nothing to listen on: `http` and `https` are both empty",
            "give one of them an address",
        );
    }
    if let Some(twice) = https.value.iter().find(|https| {
        http.value
            .iter()
            .any(|http| http.address == https.address && http.address.port() != 0)
    }) {
        reader.error(
            &https.at,
            format!("{} is in `http` and in `https`", twice.address),
            "give each a port of its own",
        );
    }
    if !https.value.is_empty() && (cert.is_none() || key.is_none()) {
        let help = "set `tls_cert` and `tls_key` to PEM files";
        reader.error(
            &https.at,
            "`https` needs a certificate and its private key",
            help,
        );
    }
    if https.value.is_empty()
        && let Some(unused) = cert.as_ref().or(key.as_ref())
    {
        reader.warn(
            &unused.at,
            "the certificate is used by nothing: `https` is empty",
            "add an address to `https`",
        );
    }
    if max_body.value > max_body_total.value {
        let at = if max_body_total.is_written() {
            &max_body_total.at
        } else {
            &max_body.at
        };
        reader.error(
            at,
            "`max_body_total` is less than `max_body`",
            "one body must fit into what all may take together",
        );
    }
    for (file, label) in [(&cert, "CERTIFICATE"), (&key, "PRIVATE KEY")] {
        if let Some(file) = file {
            pem(reader, files, file, label);
        }
    }
    section.done();
    Listen {
        http: http.value,
        https: https.value,
        tls: cert.zip(key).map(|(cert, key)| TlsFiles {
            cert: cert.value,
            key: key.value,
        }),
        max_connections: max_connections.value,
        max_body: max_body.value,
        max_body_total: max_body_total.value,
    }
}

fn admin(mut section: Section<'_, '_>, files: &mut Files) -> Admin {
    let listen = addresses(
        &mut section,
        "listen",
        &[(Ipv4Addr::LOCALHOST, 9090).into()],
    );
    let token_file = section.path("token_file");
    let reader = &mut *section.reader;
    if token_file.is_none()
        && listen
            .value
            .iter()
            .any(|listen| !listen.address.ip().is_loopback())
    {
        let message = "without `token_file` only probes and metrics answer there";
        reader.warn(
            &listen.at,
            message,
            "set `token_file`, or listen on 127.0.0.1 if that is all you want to reach",
        );
    }
    let token = token_file.and_then(|file| token(reader, files, &file));
    section.done();
    Admin {
        listen: listen.value,
        token,
    }
}

fn submit(mut section: Section<'_, '_>) -> Submit {
    let ms = Duration::from_millis;
    let deadline = section.duration("deadline", ms(15_000), ms(100)..=ms(600_000));
    let max_keys = section.integer("max_keys", 3, 1..=1000);
    let when_busy = section.choice(
        "when_busy",
        WhenBusy::Wait,
        &[("wait", WhenBusy::Wait), ("fail", WhenBusy::Fail)],
    );
    let wait = section.duration("wait", ms(2_000), ms(0)..=ms(600_000));
    if wait.value > deadline.value {
        let at = if wait.is_written() {
            &wait.at
        } else {
            &deadline.at
        };
        section.reader.warn(
            at,
            "`wait` is longer than `deadline`, which ends it",
            "make `wait` the shorter of the two",
        );
    }
    section.done();
    Submit {
        deadline: deadline.value,
        max_keys: max_keys.value,
        when_busy: when_busy.value,
        wait: wait.value,
    }
}

fn poll(mut section: Section<'_, '_>) -> Poll {
    let seconds = Duration::from_secs;
    let hide_outage = section.duration("hide_outage", seconds(60), seconds(0)..=DAY);
    let tasks = [("ask", UnknownTask::Ask), ("refuse", UnknownTask::Refuse)];
    let unknown_task = section.choice("unknown_task", UnknownTask::Ask, &tasks);
    let keep = section.duration("keep", seconds(3600), seconds(60)..=365 * DAY);
    section.done();
    Poll {
        hide_outage: hide_outage.value,
        unknown_task: unknown_task.value,
        keep: keep.value,
    }
}

fn clients(mut section: Section<'_, '_>) -> Clients {
    let mut origins = Vec::new();
    for Value { value, at } in section
        .list("origins")
        .map(|list| list.value)
        .unwrap_or_default()
    {
        let lower = value.to_ascii_lowercase();
        if is_origin(&lower) {
            origins.push(lower);
        } else {
            let help = "write it as browsers send it: \"https://app.example.com\", without a path or a slash at the end";
            section
                .reader
                .error(&at, format!("{} is not an origin", shown(&value)), help);
        }
    }
    section.done();
    Clients { origins }
}

fn state(mut section: Section<'_, '_>) -> State {
    let stores = [("memory", StoreKind::Memory), ("sqlite", StoreKind::Sqlite)];
    let store = section.choice("store", StoreKind::Sqlite, &stores);
    // Relative to the working directory: a ConfigMap's own directory is read-only.
    let path = section
        .text("path")
        .unwrap_or_else(|| Value::default("sidekey.db".to_owned()));
    if path.value.trim().is_empty() {
        section.reader.error(
            &path.at,
            "`state.path` is blank",
            "write a path or leave the option out",
        );
    }
    let sync = section.choice(
        "sync",
        Sync::Full,
        &[("full", Sync::Full), ("process", Sync::Process)],
    );
    section.done();
    State {
        store: store.value,
        path_written: path.is_written(),
        path: path.value.into(),
        sync: sync.value,
    }
}

fn log(mut section: Section<'_, '_>) -> Log {
    let format = section.choice(
        "format",
        LogFormat::Text,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let level = section.choice("level", LogLevel::Info, &levels);
    section.done();
    Log {
        format: format.value,
        level: level.value,
    }
}

fn addresses(
    section: &mut Section<'_, '_>,
    name: &'static str,
    default: &[SocketAddr],
) -> Value<Vec<ListenAddress>> {
    let Some(list) = section.list(name) else {
        let default = default.iter().map(|&address| ListenAddress {
            address,
            written: false,
        });
        return Value::default(default.collect());
    };
    let mut addresses: Vec<ListenAddress> = Vec::new();
    for Value { value, at } in list.value {
        match value.parse::<SocketAddr>() {
            Ok(address)
                if address.port() != 0
                    && addresses.iter().any(|other| other.address == address) =>
            {
                section.reader.error(
                    &at,
                    format!("{address} is listed twice"),
                    "remove one of them",
                );
            }
            Ok(address) => addresses.push(ListenAddress {
                address,
                written: true,
            }),
            Err(_) => {
                let message = format!("{} is not an address to listen on", shown(&value));
                section.reader.error(&at, message, address_help(&value));
            }
        }
    }
    Value {
        value: addresses,
        at: list.at,
    }
}

fn address_help(written: &str) -> String {
    let port = written
        .rsplit(':')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    match (written.rsplit_once(':'), port) {
        (Some(("localhost", _)), Some(port)) => {
            format!("write \"127.0.0.1:{port}\" and \"[::1]:{port}\": a name may mean either")
        }
        (Some(("" | "*", _)), Some(port)) => {
            format!("for every address of the host write \"0.0.0.0:{port}\" or \"[::]:{port}\"")
        }
        (None, Some(port)) => format!("write \"127.0.0.1:{port}\""),
        _ => "write an IP address and a port: \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned(),
    }
}

/// `scheme://host` or `scheme://host:port`, in lower case.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let authority: Option<hyper::http::uri::Authority> = rest.parse().ok();
    scheme
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && !rest.contains(['@', '*'])
        && authority.is_some_and(|authority| {
            !authority.host().is_empty()
                && (authority.port_u16().is_some()
                    || !rest.trim_end_matches(']').contains("]:") && !rest.ends_with(':'))
        })
}

/// Present and of the right kind; whether key and certificate belong together, the listener finds out.
fn pem(reader: &mut Reader<'_>, files: &mut Files, file: &Value<PathBuf>, label: &str) {
    let path = file.value.display();
    match files.read(&file.value) {
        Err(error) => reader.error(
            &file.at,
            format!("cannot read {path}: {error}"),
            "check the path and its permissions",
        ),
        Ok(content)
            if memchr::memmem::find(&content, format!("{label}-----").as_bytes()).is_none() =>
        {
            reader.error(
                &file.at,
                format!("{path} holds no {}", label.to_lowercase()),
                "it must be a PEM file",
            );
        }
        Ok(_) => {}
    }
}

fn token(reader: &mut Reader<'_>, files: &mut Files, file: &Value<PathBuf>) -> Option<Secret> {
    let path = file.value.display().to_string();
    let content = match files.read(&file.value) {
        Ok(content) => content,
        Err(error) => {
            reader.error(
                &file.at,
                format!("cannot read {path}: {error}"),
                "check the path and its permissions",
            );
            return None;
        }
    };
    let token = content.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        let help = "write one line of printable characters without blanks, such as the output of `openssl rand -hex 32`";
        reader.error(&file.at, format!("{path} holds no token"), help);
        return None;
    }
    if token.len() < 16 {
        reader.warn(
            &file.at,
            format!("the token in {path} is short"),
            "16 characters or more cannot be guessed",
        );
    }
    Some(Secret::new(token))
}
