//! From the holder's identity in a Lease to a pod. Electors write what they like there: a pod's name, a
//! host name, an address, each with or without something random.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::logic::model::{Family, Pod, Uid};
use crate::mutations::{self, Mutation};

/// Longest host name that a kubelet gives to a pod.
const HOST_NAME_MAX: usize = 63;

/// The rule by which an identity names a pod. They are tried in this order, and the first one with a match
/// decides. Case counts, and a part of a name is no match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// It is the pod's name or uid.
    Pod,
    /// The part before the first `_`, or all of it, is the pod's name or host name.
    Host,
    /// It, or the part after the first `_`, is an address of the pod, with or without a port.
    Address,
    /// The part before the first `.`, `:` or `/` is the pod's name or host name.
    Prefix,
    /// It, or the part before the first `_`, is the node of a pod that uses the node's network.
    Node,
}

impl Line {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::Pod,
        Self::Host,
        Self::Address,
        Self::Prefix,
        Self::Node,
    ];

    /// Its number in the contract.
    #[must_use]
    pub fn number(self) -> usize {
        self as usize + 1
    }

    /// What it compares, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pod => "the pod's name or uid",
            Self::Host => "the pod's name or host name, before _",
            Self::Address => "an address of the pod",
            Self::Prefix => "the pod's name or host name, before a separator",
            Self::Node => "the node of a pod in the node's network",
        }
    }
}

/// The pods that an identity matches, and the line by which.
pub(super) fn matching<'a>(
    identity: &str,
    pods: &'a [Arc<Pod>],
) -> Option<(Line, Vec<&'a Arc<Pod>>)> {
    let parts = IdentityParts::of(identity);
    Line::ALL.into_iter().find_map(|line| {
        let is_meant = |pod: &&Arc<Pod>| !pod.ended() && parts.name(pod, line);
        let pods: Vec<_> = pods.iter().filter(is_meant).collect();
        (!pods.is_empty()).then_some((line, pods))
    })
}

/// An identity, taken apart once.
struct IdentityParts<'a> {
    all: &'a str,
    uid: Uid,
    /// Before the first `_`.
    head: &'a str,
    /// Before the first other separator.
    prefix: &'a str,
    addresses: [Option<IpAddr>; 2],
}

impl<'a> IdentityParts<'a> {
    fn of(identity: &'a str) -> Self {
        let (head, tail) = identity.split_once('_').unwrap_or((identity, ""));
        let prefix = identity.split(['.', ':', '/']).next();
        Self {
            all: identity,
            uid: identity.into(),
            head,
            prefix: prefix.unwrap_or_default(),
            addresses: [address(identity), address(tail)],
        }
    }

    /// Whether this line names that pod.
    fn name(&self, pod: &Pod, line: Line) -> bool {
        let is_cut = |text: &str| {
            mutations::is(Mutation::PrefixWithoutSeparator) && text.starts_with(&*pod.name)
        };
        let is_host =
            |text: &str| *pod.name == *text || host_name(pod) == Some(text) || is_cut(text);
        match line {
            Line::Pod => *pod.name == *self.all || pod.uid == self.uid,
            Line::Host => is_host(self.head),
            Line::Address => {
                let own = [Family::IPv4, Family::IPv6].map(|family| pod.ips.of(family));
                let mut addresses = self.addresses.iter().flatten();
                addresses.any(|address| own.contains(&Some(*address)))
            }
            Line::Prefix => is_host(self.prefix),
            Line::Node => {
                let node = pod.node.as_deref();
                pod.host_network && (node == Some(self.all) || node == Some(self.head))
            }
        }
    }
}

/// The name that the pod's containers see as their host's; that of the node is not the pod's own.
fn host_name(pod: &Pod) -> Option<&str> {
    if pod.host_network {
        return None;
    }
    if let Some(name) = &pod.hostname {
        return Some(name);
    }
    // A kubelet cuts it, and takes off what must not be at the end of a host name.
    let is_cut = pod.name.len() > HOST_NAME_MAX;
    let cut = pod.name.get(..HOST_NAME_MAX).filter(|_| is_cut);
    Some(cut.map_or(&*pod.name, |cut| cut.trim_end_matches(['-', '.'])))
}

/// An address, with or without brackets and a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|socket| socket.ip());
    bare.parse().or_else(|_| with_port()).ok()
}
