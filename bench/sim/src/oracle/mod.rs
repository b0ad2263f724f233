//! What must be true once nothing has gone wrong for a minute: a predicate over the server's
//! objects, by other code than that of the controller.

mod choice;
mod follow;
mod followers;
mod objects;
mod ops;
mod refused;

use std::collections::BTreeSet;

use serde_json::Value;
use simkube::{Kind, SimKube};

use crate::claims::{Follow, is_for_followers};
use crate::event::{NS, SOURCES, is_foreign, name_of};
use crate::facts::{PodFact, SourceFact, text};
use crate::judge::{self, Judge};

use self::objects::{check_service, check_slice};
pub(crate) use self::ops::kept;
use self::ops::was_handed_over;
pub(crate) use self::refused::check_refused;

const SOURCE: &str = "zen-lead.io/source-service";
const SERVICE: &str = "kubernetes.io/service-name";

/// What a source asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// To be served under this name.
    Served(String),
    /// Nothing of ours.
    Nothing,
    /// What it was before: its annotations cannot be read, or the name is taken.
    Whatever,
}

struct Cluster<'a> {
    judge: &'a Judge,
    services: Vec<Value>,
    slices: Vec<Value>,
    pods: Vec<PodFact>,
    /// Leases of applications.
    leases: Vec<Value>,
    /// Nodes that leaders leave.
    leaving: BTreeSet<String>,
}

/// Says what is not as it should be.
pub(crate) fn check(kube: &SimKube, judge: &Judge) -> Result<(), String> {
    let cluster = Cluster::of(kube, judge);
    for name in SOURCES {
        cluster
            .check(name)
            .map_err(|what| format!("source {name}: {what}"))?;
    }
    for ((kind, name), object) in judge.foreign() {
        let now = kube.get(kind, NS, &name);
        let same = now.as_ref().is_some_and(|now| {
            now["metadata"] == object["metadata"]
                && now["spec"] == object["spec"]
                && now["endpoints"] == object["endpoints"]
        });
        if !same {
            return Err(format!("the foreign {} {name} has changed", kind.name()));
        }
    }
    Ok(())
}

fn leaving(kube: &SimKube, judge: &Judge) -> BTreeSet<String> {
    let nodes = kube.list(Kind::Node, "").into_iter();
    let is_left = |node: &Value| judge.minds_cordons() && judge::leaves(node);
    let nodes = nodes.filter(is_left);
    nodes.map(|node| name_of(&node).to_owned()).collect()
}

fn owner(object: &Value) -> Option<&Value> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl<'a> Cluster<'a> {
    fn of(kube: &SimKube, judge: &'a Judge) -> Self {
        Self {
            judge,
            services: kube.list(Kind::Service, NS),
            slices: kube.list(Kind::EndpointSlice, NS),
            pods: kube.list(Kind::Pod, NS).iter().map(PodFact::of).collect(),
            leases: kube.list(Kind::Lease, NS),
            leaving: leaving(kube, judge),
        }
    }
}

impl Cluster<'_> {
    fn check(&self, name: &str) -> Result<(), String> {
        let source = self
            .services
            .iter()
            .find(|service| name_of(service) == name);
        let fact = source.map(SourceFact::of).filter(|fact| !fact.deleting);
        let wish = fact
            .as_ref()
            .map_or(Wish::Nothing, |fact| self.wish(name, fact));
        let all: Vec<&Value> = self
            .services
            .iter()
            .filter(|service| self.is_ours(service, name, fact.as_ref()))
            .collect();
        let leads = |service: &&&Value| !is_for_followers(service);
        let is_clear = matches!(wish, Wish::Served(_));
        let (fact, served) = match (wish, fact) {
            (Wish::Served(wanted), Some(fact)) => {
                let mut served = all.iter().filter(leads).copied();
                let served = served.find(|service| name_of(service) == wanted);
                (
                    fact,
                    Some(served.ok_or_else(|| format!("is not served under {wanted}"))?),
                )
            }
            (Wish::Whatever, Some(fact)) => (fact, all.iter().find(leads).copied()),
            _ => return self.check_nothing(name, &all),
        };
        let left: Vec<&str> = all
            .iter()
            .filter(leads)
            .filter(|service| served.map(uid) != Some(uid(service)))
            .map(|service| name_of(service))
            .collect();
        ensure(left.is_empty(), || {
            format!("leader Services are left over: {left:?}")
        })?;
        match served {
            Some(service) => {
                self.check_served(name, &fact, service)?;
                if is_clear {
                    self.check_followers(name, &fact, &all, service)?;
                }
                Ok(())
            }
            None => self.check_nothing(name, &all),
        }
    }

    /// Ours by the contract: controlled by the source, or with our labels and of no other source.
    fn is_ours(&self, service: &Value, name: &str, source: Option<&SourceFact>) -> bool {
        let meta = &service["metadata"];
        if is_foreign(service) || name_of(service) == name || !self.judge.made(service) {
            return false;
        }
        if let (Some(owner), Some(source)) = (owner(service), source)
            && owner["uid"] == *source.uid
        {
            return true;
        }
        let labels = &meta["labels"];
        let owners = meta["ownerReferences"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let is_marked =
            labels[SOURCE] == name && labels["app.kubernetes.io/managed-by"] == "zen-lead";
        let is_orphan_without_source = owners.is_empty() && source.is_none();
        is_marked
            && owners.iter().all(|owner| owner["name"] == name)
            && !is_orphan_without_source
            && service["spec"]["selector"].is_null()
    }

    fn wish(&self, name: &str, source: &SourceFact) -> Wish {
        let unclear = match source.enabled.as_deref() {
            Some("true") => false,
            None | Some("false") => return Wish::Nothing,
            Some(_) => true,
        };
        // No event asks for a headless Service without ports, the one case where that is fine.
        if source.selector.is_empty() || source.ports.is_empty() {
            return Wish::Nothing;
        }
        let wanted = source
            .setting("leader-service-name")
            .map_or_else(|| format!("{name}-leader"), str::to_owned);
        let taken = self.services.iter().any(|service| {
            name_of(service) == wanted && !self.is_ours(service, name, Some(source))
        });
        if unclear || taken || wanted == name || wanted.contains('_') {
            return Wish::Whatever;
        }
        Wish::Served(wanted)
    }

    fn check_nothing(&self, name: &str, services: &[&Value]) -> Result<(), String> {
        let names: Vec<&str> = services.iter().map(|service| name_of(service)).collect();
        ensure(names.is_empty(), || {
            format!("leader Services are left over: {names:?}")
        })?;
        // An orphaned slice whose Service a user deleted belongs to no source.
        let is_left = |slice: &&Value| {
            self.judge.made(slice)
                && slice["metadata"]["labels"][SOURCE] == name
                && self.owner_is_ours(slice)
        };
        let left: Vec<&str> = self.slices.iter().filter(is_left).map(name_of).collect();
        ensure(left.is_empty(), || {
            format!("slices are left over: {left:?}")
        })
    }

    /// Whether its owner is gone, or is ours: neither an orphan, nor without our labels, or with a
    /// selector, and left by a source that is gone, which is the garbage collector's.
    fn owner_is_ours(&self, slice: &Value) -> bool {
        let Some(owner) = owner(slice) else {
            return false;
        };
        let mut services = self.services.iter();
        let Some(service) = services.find(|service| owner["uid"] == uid(service)) else {
            return true;
        };
        let is_marked = service["metadata"]["labels"][SOURCE].is_string();
        let of = self::owner(service).map(|of| &of["uid"]);
        let has_source =
            of.is_some_and(|of| self.services.iter().any(|source| *of == *uid(source)));
        let is_marked = is_marked && service["spec"]["selector"].is_null();
        owner_count(service) > 0 && (is_marked || has_source)
    }

    fn check_served(&self, name: &str, source: &SourceFact, service: &Value) -> Result<(), String> {
        check_service(name, source, service)?;
        let of_service = |slice: &&Value| {
            let is_owned = owner(slice).is_some_and(|owner| owner["uid"] == uid(service));
            self.judge.made(slice)
                && slice["metadata"]["labels"][SERVICE] == name_of(service)
                && !is_for_followers(slice)
                && (is_owned || slice["metadata"]["labels"][SOURCE] == name)
        };
        let slices: Vec<&Value> = self.slices.iter().filter(of_service).collect();
        let mut families: Vec<String> = slices
            .iter()
            .map(|slice| text(&slice["addressType"]))
            .collect();
        families.sort();
        let mut wanted = source.families.clone();
        wanted.sort();
        ensure(families == wanted, || {
            format!("slices of {families:?} instead of {wanted:?}")
        })?;
        let is_left = |slice: &&Value| {
            self.judge.made(slice)
                && slice["metadata"]["labels"][SOURCE] == name
                && !is_for_followers(slice)
                && !of_service(slice)
                && self.owner_is_ours(slice)
        };
        let left: Vec<&str> = self.slices.iter().filter(is_left).map(name_of).collect();
        ensure(left.is_empty(), || {
            format!("slices are left over: {left:?}")
        })?;
        self.check_leader(source, service, &slices)
    }

    /// There is no leader, and no pod could lead.
    fn check_no_leader(
        &self,
        source: &SourceFact,
        service: &Value,
        slices: &[&Value],
    ) -> Result<(), String> {
        self.check_none_named(source)?;
        let eligible = self.pods.iter().find(|pod| pod.is_eligible(source));
        let eligible = eligible.filter(|_| source.follow().is_none());
        ensure(eligible.is_none() || source.is_paused(), || {
            format!(
                "no pod leads, and {} could",
                eligible.map_or("", |pod| &pod.name)
            )
        })?;
        let is_empty = slices
            .iter()
            .all(|slice| slice["endpoints"].as_array().is_none_or(Vec::is_empty));
        ensure(is_empty, || "an endpoint and no leader".into())?;
        let named = &service["metadata"]["annotations"]["zen-lead.io/leader-pod-name"];
        ensure(named.is_null(), || "an identity and no leader".into())
    }

    fn check_leader(
        &self,
        source: &SourceFact,
        service: &Value,
        slices: &[&Value],
    ) -> Result<(), String> {
        let annotation =
            |key: &str| service["metadata"]["annotations"][format!("zen-lead.io/{key}")].as_str();
        let first = source.families.first().map_or("IPv4", String::as_str);
        let leads = slices
            .iter()
            .find(|slice| slice["addressType"] == first)
            .and_then(|slice| slice["endpoints"][0]["targetRef"]["uid"].as_str());
        let Some(leads) = leads else {
            return self.check_no_leader(source, service, slices);
        };
        let Some(pod) = self.pods.iter().find(|pod| pod.uid == leads) else {
            return Err(format!("the leader {leads} does not exist"));
        };
        let who = &pod.name;
        // The guard keeps a leader that has an address, whether it is not Ready or resolves no port.
        let serves = pod.running && pod.ready && pod.is_reachable(source);
        // Until a value of `follow` can be read, the leader is held as during a pause.
        let is_unclear = source.follow() == Some(Follow::Unreadable);
        let is_kept = source.is_paused() || is_unclear || (self.judge.guards() && !serves);
        if is_kept {
            Self::check_kept(source, pod)?;
        } else {
            ensure(
                pod.matches(source) && pod.is_reachable(source) && pod.running && pod.ready,
                || format!("{who} must not lead"),
            )?;
        }
        let follows = source.follow().is_some();
        self.check_named(source, slices, pod, is_kept)?;
        if !follows {
            self.check_switchover(source, service, pod)?;
        }
        if let Some(better) = self
            .better(source, pod)
            .filter(|_| !source.is_paused() && !follows)
        {
            return Err(format!(
                "{who} is about to go, and {} could lead",
                better.name
            ));
        }
        // One that is about to go waits for a pod that is not, whatever the strategy says.
        if let Some(first) = self
            .first_choice(source)
            .filter(|first| first.uid != pod.uid && !self.is_last_resort(pod))
            .filter(|_| !follows && !is_kept && !was_handed_over(source, service, pod))
        {
            return Err(format!("{who} leads, and the strategy says {}", first.name));
        }
        let told = (
            annotation("leader-pod-name"),
            annotation("leader-pod-uid"),
            annotation("current-leader"),
        );
        ensure(told.0 == Some(who) && told.1 == Some(leads), || {
            format!("{who} leads, and the Service says {told:?}")
        })?;
        slices
            .iter()
            .try_for_each(|slice| check_slice(source, pod, service, slice))
    }
}

fn owner_count(object: &Value) -> usize {
    object["metadata"]["ownerReferences"]
        .as_array()
        .map_or(0, Vec::len)
}
