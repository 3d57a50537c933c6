//! Decides which hosts mean this machine. Both ports answer to no other host.

use std::{net::IpAddr, str::FromStr};

use axum::http::uri::Authority;

/// Whether a host, with or without a port, can only mean this machine.
pub fn is_loopback_host(text: &str) -> bool {
    let Ok(authority) = Authority::from_str(text) else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    !text.contains('@')
        && (host.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in [
            "localhost",
            "LocalHost:7420",
            "127.0.0.1",
            "127.3.2.1:80",
            "[::1]",
            "[::1]:7420",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.nip.io:7420",
            "10.0.0.1",
            "[::2]",
            "0.0.0.0",
            "a@localhost",
            "localhost@evil.example",
            "local host",
        ] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
