//! What can be chosen when a server is made, and where its time and its chance come from.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use crate::api::kind::Kind;
use crate::api::path::Verb;

/// How a watch from a resourceVersion that is too old is refused. Real servers do both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// 200, then one ERROR frame with code 410: the answer of the watch cache.
    Frame,
    /// HTTP 410 with a `Status` body.
    Status,
}

/// What a server makes of requests for protobuf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protobuf {
    /// It answers in protobuf, as every API server does.
    #[default]
    Served,
    /// It does not know the media type, and takes the next one that the client accepts.
    Unknown,
    /// It answers 406 wherever the media type is named.
    Refused,
}

/// A request that RBAC refuses. Empty strings match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `list`, `patch`, …
    pub verb: String,
    /// The plural, with `/status` for a subresource.
    pub resource: String,
    /// A namespace; a cluster-wide request matches only the empty one.
    pub namespace: String,
}

impl Rule {
    /// A rule from its parts; `""` matches everything.
    #[must_use]
    pub fn new(verb: &str, resource: &str, namespace: &str) -> Self {
        Self {
            verb: verb.into(),
            resource: resource.into(),
            namespace: namespace.into(),
        }
    }

    pub(crate) fn matches(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let fits = |rule: &str, given: &str| rule.is_empty() || rule == given;
        fits(&self.verb, verb) && fits(&self.resource, resource) && fits(&self.namespace, namespace)
    }
}

/// Wall clock of the server, for timestamps only: nothing is ever decided by it.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Says why a write is refused, or `None`. Sees the object as it would be stored (for a deletion: as it is).
pub type Admission = Arc<dyn Fn(Verb, Kind, &Value) -> Option<Refusal> + Send + Sync>;

/// An admission plugin's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The whole text, such as `ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`.
    pub message: String,
    /// 403 Forbidden as webhooks and quota answer, instead of 422 Invalid.
    pub forbidden: bool,
}

/// What can be chosen about a server. `Options::default()` is a Kubernetes v1.37 as it comes.
#[derive(Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the real server's own"
)]
pub struct Options {
    /// The minor version to behave like: 36 or 37, which differ in the words of a few refusals.
    pub minor: u32,
    /// Decides UIDs and generated names.
    pub seed: u64,
    /// Wall time at the start, unless `clock` is given.
    pub epoch: Timestamp,
    /// Wall clock; without one it runs from `epoch` along tokio's clock.
    pub clock: Option<WallClock>,
    /// Who the requests come from, in the words of RBAC refusals.
    pub user: String,
    /// Services get addresses of both families when they ask.
    pub dual_stack: bool,
    /// Service names may begin with a digit (`RelaxedServiceNameValidation`, on by default in v1.36).
    pub relaxed_service_names: bool,
    /// Streaming lists are served.
    pub watch_list: bool,
    /// How a watch that starts too late is refused.
    pub expiry: Expiry,
    /// Changes kept for each kind; a watch that wants older ones must list again.
    pub history: usize,
    /// Time between bookmarks on a quiet watch.
    pub bookmark_every: Duration,
    /// End of a watch that sets no `timeoutSeconds`.
    pub watch_timeout: Duration,
    /// A namespace that is missing is made on its first use.
    pub auto_namespaces: bool,
    /// `metadata.managedFields` are kept.
    pub managed_fields: bool,
    /// `OwnerReferencesPermissionEnforcement`: `blockOwnerDeletion: true` is refused.
    pub owner_reference_enforcement: bool,
    /// What is made of requests for protobuf.
    pub protobuf: Protobuf,
    /// Bodies are sent in pieces of at most so many bytes.
    pub chunk: Option<usize>,
    /// Requests that RBAC refuses.
    pub deny: Vec<Rule>,
    /// Only users that have a token ([`crate::SimKube::token`]) and a bound role may do something;
    /// members of `system:masters` may do everything. Otherwise every client is `user` and may do
    /// what `deny` does not name.
    pub rbac: bool,
    /// Node ports given out.
    pub node_ports: RangeInclusive<u16>,
    /// Largest request body.
    pub body_limit: usize,
    /// Requests remembered for `requests()`; the oldest go first.
    pub log_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            minor: 37,
            seed: 0,
            // 2026-01-01T00:00:00Z: any fixed time will do, a fixed one keeps runs comparable.
            epoch: Timestamp::from_second(1_767_225_600).unwrap_or(Timestamp::UNIX_EPOCH),
            clock: None,
            user: "system:serviceaccount:zen-lead:zen-lead".into(),
            dual_stack: false,
            relaxed_service_names: true,
            watch_list: true,
            expiry: Expiry::Frame,
            history: 1_000,
            bookmark_every: Duration::from_mins(1),
            watch_timeout: Duration::from_mins(30),
            auto_namespaces: false,
            managed_fields: false,
            owner_reference_enforcement: false,
            protobuf: Protobuf::Served,
            chunk: None,
            deny: Vec::new(),
            rbac: false,
            node_ports: 30_000..=32_767,
            body_limit: 3 * 1_024 * 1_024,
            log_limit: 100_000,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("seed", &self.seed)
            .field("dual_stack", &self.dual_stack)
            .field("watch_list", &self.watch_list)
            .field("expiry", &self.expiry)
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// The wall clock to use from now on.
    pub(crate) fn wall_clock(&self) -> WallClock {
        if let Some(clock) = &self.clock {
            return Arc::clone(clock);
        }
        let (epoch, start) = (self.epoch, Instant::now());
        Arc::new(move || epoch.checked_add(start.elapsed()).unwrap_or(Timestamp::MAX))
    }
}

/// `splitmix64`: one addition and two multiplications, and the same on every machine for ever.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A version 4 UUID.
    pub(crate) fn uid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            (b >> 48) & 0x3fff | 0x8000,
            b & 0xffff_ffff_ffff
        )
    }

    /// The five characters after a `generateName`.
    pub(crate) fn suffix(&mut self) -> String {
        // Without vowels and look-alikes, as the real one: no words come out by chance.
        const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5)
            .map(|_| {
                let at = usize::try_from(self.next() % 27).unwrap_or_default();
                char::from(ALPHABET[at])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_a_matter_of_the_seed() {
        let (mut a, mut b) = (Chance::new(7), Chance::new(7));
        assert_eq!(a.uid(), b.uid());
        assert_eq!(a.suffix(), b.suffix());
        let uid = a.uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"));
        assert!("89ab".contains(&uid[19..20]), "{uid}");
        assert_ne!(a.uid(), Chance::new(8).uid());
    }

    #[test]
    fn rules_match_by_what_they_name() {
        let rule = Rule::new("list", "pods", "");
        assert!(rule.matches("list", "pods", "a") && rule.matches("list", "pods", ""));
        assert!(!rule.matches("watch", "pods", "a") && !rule.matches("list", "services", "a"));
        assert!(!Rule::new("", "", "a").matches("list", "pods", ""));
    }
}
