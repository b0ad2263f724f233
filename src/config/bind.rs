//! Addresses to listen on, as Go programs write them.

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// This port on all interfaces, of both address families where the kernel has them.
    All(u16),
    /// Exactly here.
    At(SocketAddr),
}

impl Bind {
    /// The addresses to try, the first one that can be bound serves.
    #[must_use]
    pub fn candidates(self) -> Vec<SocketAddr> {
        match self {
            // [::] takes IPv4 as well, unless the kernel has no IPv6 at all.
            Self::All(port) => vec![
                (Ipv6Addr::UNSPECIFIED, port).into(),
                (Ipv4Addr::UNSPECIFIED, port).into(),
            ],
            Self::At(address) => vec![address],
        }
    }

    /// `:8080`, `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(port) = text.strip_prefix(':') {
            return Some(Self::All(port_of(port)?));
        }
        Some(Self::At(match text.strip_prefix("localhost:") {
            Some(port) => (Ipv4Addr::LOCALHOST, port_of(port)?).into(),
            None => text.parse().ok()?,
        }))
    }

    pub(super) fn is_loopback(self) -> bool {
        match self {
            Self::All(_) => false,
            Self::At(address) => address.ip().to_canonical().is_loopback(),
        }
    }

    /// Whether both cannot be bound at once, as far as that can be told without trying.
    pub(super) fn collides_with(self, other: Self) -> bool {
        let port = |bind| match bind {
            Self::All(port) => port,
            Self::At(address) => address.port(),
        };
        let everywhere = |bind| match bind {
            Self::All(_) => true,
            Self::At(address) => address.ip().is_unspecified(),
        };
        port(self) != 0
            && port(self) == port(other)
            && (everywhere(self) || everywhere(other) || self == other)
    }
}

impl Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(port) => write!(f, ":{port}"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

/// Digits only: `u16::from_str` would take `+80`.
fn port_of(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_go_writes_them() {
        let at = |text: &str| Some(Bind::At(text.parse().expect("an address")));
        for (text, expected) in [
            (":8080", Some(Bind::All(8080))),
            (":0", Some(Bind::All(0))),
            ("127.0.0.1:8080", at("127.0.0.1:8080")),
            ("0.0.0.0:1", at("0.0.0.0:1")),
            ("[::1]:8080", at("[::1]:8080")),
            ("localhost:8080", at("127.0.0.1:8080")),
            ("8080", None),
            (":", None),
            (":+80", None),
            (":65536", None),
            (":http", None),
            ("::1:8080", None),
            ("example.com:80", None),
            ("127.0.0.1", None),
            ("00", None),
        ] {
            assert_eq!(Bind::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn collisions() {
        let bind = |text| Bind::parse(text).expect("an address");
        for (a, b, expected) in [
            (":8080", ":8080", true),
            (":8080", ":8081", false),
            (":0", ":0", false),
            (":8080", "127.0.0.1:8080", true),
            ("0.0.0.0:8080", "127.0.0.1:8080", true),
            ("127.0.0.2:8080", "127.0.0.1:8080", false),
            ("127.0.0.1:8080", "127.0.0.1:8080", true),
        ] {
            assert_eq!(bind(a).collides_with(bind(b)), expected, "{a} {b}");
            assert_eq!(bind(b).collides_with(bind(a)), expected, "{b} {a}");
        }
    }
}
