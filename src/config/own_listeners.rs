//! A vendor's address that is our own, found before anything is bound. What only a name server knows is found when the
//! vendor is called (`loops.rs`).

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::files::read_bounded;
use super::reader::{At, Reader};
use super::settings::Settings;
use crate::loops::listens;
use crate::vendor::target::Target;
use crate::vendor::way::Resolver;

pub(crate) fn check_loop(reader: &mut Reader<'_>, settings: &Settings) {
    // A url that is wrong has been reported.
    let Ok(target) = Target::parse(&settings.vendor.profile.url) else {
        return;
    };
    let way = &settings.vendor.way;
    let next = way.next(&target);
    let (Some(host), Some(port)) = (next.host(), next.port_u16()) else {
        return;
    };
    let listen = settings.listen.http.iter().chain(&settings.listen.https);
    let listening: Vec<SocketAddr> = listen.map(|listen| listen.address).collect();
    let leads_here = |ip: &IpAddr| listens(&listening, SocketAddr::new(*ip, port));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        if leads_here(&ip) {
            let message = format!("the vendor would be sidekey itself: it listens on {ip}:{port}");
            let help = "set `url` in [vendor] to the vendor's own address";
            reader.error(&At::Default, message, help);
        }
        return;
    }
    if way.resolver == Resolver::Dns && way.proxy.is_none() {
        return;
    }
    let hosts = read_bounded(Path::new(HOSTS)).unwrap_or_default();
    let found = addresses(&String::from_utf8_lossy(&hosts), host);
    if let Some(ip) = found.into_iter().find(leads_here) {
        let message = format!(
            "{HOSTS} gives {host} the address {ip}, and sidekey listens on port {port} there: it would call itself"
        );
        let help = "set resolver = \"dns\" in [vendor], so that only the clients believe that file";
        reader.error(&At::Default, message, help);
    }
}

fn addresses(hosts: &str, name: &str) -> Vec<IpAddr> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words
            .any(|word| word.eq_ignore_ascii_case(name))
            .then_some(ip)
    };
    hosts.lines().filter_map(line).collect()
}

const HOSTS: &str = "/etc/hosts";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_gives_a_name_the_addresses_of_all_its_lines() {
        let hosts = "# 10.0.0.1 a.com\n127.0.0.1 localhost\n::1\tlocalhost A.com # b.com\n 10.0.0.2 a.com\nodd a.com\n";
        let of = |name| {
            let found: Vec<String> = addresses(hosts, name)
                .iter()
                .map(ToString::to_string)
                .collect();
            found.join(" ")
        };
        assert_eq!(of("a.com"), "::1 10.0.0.2");
        assert_eq!(of("localhost"), "127.0.0.1 ::1");
        assert_eq!(of("b.com"), "");
    }
}
