//! IP addresses in objects.

use std::net::IpAddr;

use crate::api::violation::Violations;

/// Whether the address is of this family (`IPv4` or `IPv6`).
pub(crate) fn is_family(ip: IpAddr, family: &str) -> bool {
    ip.is_ipv4() == (family == "IPv4")
}

/// Family as the API spells it.
pub(crate) fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Parses, or says what is wrong.
pub(crate) fn parse(path: &str, text: &str, bad: &mut Violations) -> Option<IpAddr> {
    let ip = text.parse().ok();
    if ip.is_none() {
        bad.invalid(
            path,
            text,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
    ip
}

/// Addresses that no endpoint may have.
pub(crate) fn endpoint(path: &str, text: &str, ip: IpAddr, bad: &mut Violations) {
    if ip.is_unspecified() {
        bad.invalid(path, text, format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        bad.invalid(
            path,
            text,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        );
    }
    let (link_local, multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local(),
            v6.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    if link_local {
        bad.invalid(
            path,
            text,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
    }
    if multicast {
        bad.invalid(
            path,
            text,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}
