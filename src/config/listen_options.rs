//! `[listen]` and `[admin]`: addresses and the files that go with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Occasion;
use super::files::{Files, read_bounded};
use super::reader::{Reader, Value, shown};
use super::section::Section;
use super::settings::{Admin, Listen, ListenAddress, TlsFiles};
use crate::keys::secret::Secret;
use crate::listen::Certificates;

pub(crate) fn listen(mut section: Section<'_, '_>, occasion: Occasion) -> Listen {
    let loopback = [
        (Ipv4Addr::LOCALHOST, 8080).into(),
        (Ipv6Addr::LOCALHOST, 8080).into(),
    ];
    let errors = section.reader.errors;
    let http = addresses(&mut section, "http", &loopback, 8080);
    let https = addresses(&mut section, "https", &[], 8443);
    // They are not empty because somebody meant that.
    let is_refused = section.reader.errors > errors;
    let cert = section.path("tls_cert");
    let key = section.path("tls_key");
    let max_connections = section.integer("max_connections", 10_000, 1..=1_000_000);
    let max_body = section.size("max_body", 16 << 20, 1 << 30);
    let max_body_total = section.size("max_body_total", 64 << 20, 64 << 30);

    let reader = &mut *section.reader;
    if http.value.is_empty() && https.value.is_empty() && !is_refused {
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
        && !is_refused
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
    if occasion == Occasion::Start {
        let cert = cert
            .as_ref()
            .filter(|cert| pem(reader, cert, "CERTIFICATE"));
        let key = key.as_ref().filter(|key| pem(reader, key, "PRIVATE KEY"));
        if let Some((cert, key)) = cert.zip(key) {
            pair(reader, cert, key);
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

pub(crate) fn admin(mut section: Section<'_, '_>, files: &mut Files) -> Admin {
    let listen = addresses(
        &mut section,
        "listen",
        &[(Ipv4Addr::LOCALHOST, 9090).into()],
        9090,
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

fn addresses(
    section: &mut Section<'_, '_>,
    name: &'static str,
    default: &[SocketAddr],
    usual_port: u16,
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
                let message = match without_port(&value) {
                    Some(_) => format!("{} has no port", shown(&value)),
                    None => format!("{} is not an address to listen on", shown(&value)),
                };
                section
                    .reader
                    .error(&at, message, address_help(&value, usual_port));
            }
        }
    }
    Value {
        value: addresses,
        at: list.at,
    }
}

fn without_port(written: &str) -> Option<IpAddr> {
    written.trim_matches(['[', ']']).parse().ok()
}

fn address_help(written: &str, usual_port: u16) -> String {
    if let Some(ip) = without_port(written) {
        return format!("write \"{}\"", SocketAddr::new(ip, usual_port));
    }
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
        _ => format!(
            "write an IP address and a port: \"127.0.0.1:{usual_port}\" or \"[::1]:{usual_port}\""
        ),
    }
}

/// Present and of the right kind; whether key and certificate belong together, the listener finds out. Not among the
/// files whose change is a reload: the listener follows these itself.
fn pem(reader: &mut Reader<'_>, file: &Value<PathBuf>, label: &str) -> bool {
    let path = file.value.display();
    match read_bounded(&file.value) {
        Err(error) => {
            reader.error(
                &file.at,
                format!("cannot read {path}: {error}"),
                "check the path and its permissions",
            );
            false
        }
        Ok(content)
            if memchr::memmem::find(&content, format!("{label}-----").as_bytes()).is_none() =>
        {
            reader.error(
                &file.at,
                format!("{path} holds no {}", label.to_lowercase()),
                "it must be a PEM file",
            );
            false
        }
        Ok(_) => true,
    }
}

fn pair(reader: &mut Reader<'_>, cert: &Value<PathBuf>, key: &Value<PathBuf>) {
    let files = TlsFiles {
        cert: cert.value.clone(),
        key: key.value.clone(),
    };
    if let Err(error) = Certificates::load(&files) {
        reader.error(
            &key.at,
            error.to_string(),
            "replace certificate and key together; `sidekey cert` makes both",
        );
    }
}

fn token(reader: &mut Reader<'_>, files: &mut Files, file: &Value<PathBuf>) -> Option<Secret> {
    let path = file.value.display().to_string();
    let content = match files.read(&file.value) {
        Ok(content) => content,
        Err(error) => {
            // Without its path: somebody may have written the token itself there.
            reader.error(
                &file.at,
                format!("cannot read it: {error}"),
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
