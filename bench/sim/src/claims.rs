//! What `zen-lead.io/follow` says, and which pod a Lease means: read by other code than that of the
//! controller.

use serde_json::Value;

use crate::event::NS;
use crate::facts::{PodFact, SourceFact, text};

/// The label by which applications of the simulation name their leader.
pub(crate) const ROLE: (&str, &str) = ("role", "primary");
/// Milliseconds for which a leader is kept by default while a source follows.
const DELAY_MS: u64 = 250;

/// Where an application says which pod leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Follow {
    /// The pod with the label [`ROLE`].
    Role,
    /// The pod that holds the Lease of this name.
    Lease(String),
    /// What cannot be read, or is not allowed.
    Unreadable,
}

/// A Lease as far as it names a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseFact {
    /// Empty for none.
    pub(crate) holder: String,
    /// In milliseconds; `None` if it never ends.
    pub(crate) held_ms: Option<u64>,
}

impl LeaseFact {
    pub(crate) fn of(lease: &Value) -> Self {
        let spec = &lease["spec"];
        let seconds = spec["leaseDurationSeconds"].as_u64();
        Self {
            holder: text(&spec["holderIdentity"]),
            held_ms: seconds.filter(|seconds| *seconds > 0).map(|s| 1_000 * s),
        }
    }
}

/// Whether an object of ours is for the followers.
pub(crate) fn is_for_followers(object: &Value) -> bool {
    object["metadata"]["labels"]["zen-lead.io/role"] == "followers"
}

/// The first line of the contract by which a holder's identity means a pod, if one does. Pods of the
/// simulation have no host name but their own, and none uses its node's network.
pub(crate) fn line(holder: &str, pod: &PodFact) -> Option<u8> {
    let (head, tail) = holder.split_once('_').unwrap_or((holder, ""));
    let prefix = holder.split(['.', ':', '/']).next().unwrap_or_default();
    let is_own = |ip: &str| pod.ips.iter().any(|own| own == ip);
    let lines = [
        holder == pod.name || holder == pod.uid,
        head == pod.name,
        is_own(holder) || is_own(tail),
        prefix == pod.name,
    ];
    let first = lines.iter().position(|is| *is)?;
    u8::try_from(first).ok()
}

impl SourceFact {
    /// Where its application says who leads; `None` if it does not follow.
    pub(crate) fn follow(&self) -> Option<Follow> {
        let value = self.setting("follow")?;
        let (key, on) = ROLE;
        if value == format!("label/{key}={on}") {
            return Some(Follow::Role);
        }
        let lease = value.strip_prefix("lease/").unwrap_or_default();
        let name = lease.strip_prefix(&format!("{NS}/")).unwrap_or(lease);
        Some(if name.is_empty() || name.contains('/') {
            Follow::Unreadable
        } else {
            Follow::Lease(name.to_owned())
        })
    }

    /// How long a leader against which the application speaks is kept at least, in milliseconds.
    pub(crate) fn delay_min_ms(&self) -> u64 {
        match self.setting("failover-min-delay") {
            None => DELAY_MS,
            Some("300ms") => 300,
            Some("5s") => 5_000,
            // What cannot be read leaves it as it was.
            Some(_) => 0,
        }
    }
}

impl PodFact {
    /// Whether it has the label [`ROLE`].
    pub(crate) fn has_role(&self) -> bool {
        self.labels.get(ROLE.0).is_some_and(|value| value == ROLE.1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_line_decides() {
        let pod = PodFact::of(&json!({
            "metadata": {"name": "p1", "uid": "u1"}, "status": {"podIPs": [{"ip": "10.1.0.9"}]},
        }));
        for (holder, expected) in [
            ("p1", Some(0)),
            ("u1", Some(0)),
            ("p1_5f1b", Some(1)),
            ("10.1.0.9", Some(2)),
            ("other_10.1.0.9", Some(2)),
            ("p1.shop.svc", Some(3)),
            ("p1x", None),
            ("p1x_5f1b", None),
            ("P1", None),
            ("", None),
        ] {
            assert_eq!(line(holder, &pod), expected, "{holder}");
        }
    }
}
