//! Decides who leads. Total and deterministic: the same pods in any order give the same verdict.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use super::model::{EndpointPort, Family, NamedPort, Pod, PodPhase, Port, TargetPort, Uid};
use super::settings::Strategy;
use super::time::Moment;
use crate::planted::{self, Bug};

/// How long a leader that was left for a disruption is not returned to: an eviction may be called
/// off, and the next one would bounce the leadership.
pub const SHUN: Duration = Duration::from_secs(150);

/// What an election goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Family in which a leader must have an address.
    pub family: Family,
    /// Ports of the Service; a headless one may have none.
    pub ports: &'a [Port],
    /// Keep a leader that is still eligible.
    pub sticky: bool,
    /// Order of the candidates.
    pub strategy: Strategy,
    /// Ready for at least this long before becoming leader.
    pub min_ready: Duration,
    /// How long a leader that turned not Ready is kept.
    pub failover_delay: Duration,
    /// Identity of the source, which `random` mixes in.
    pub service: &'a Uid,
}

/// Why a leader was left. The first that applies is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The pod is gone, re-created under its name, or has ended.
    Deleted,
    /// It does not match the selector any more.
    Unlabelled,
    /// It is about to be evicted or preempted.
    Disrupted,
    /// It is being deleted.
    Terminating,
    /// It has no address that may be published.
    NoIp,
    /// It is not Ready, or resolves no port of the Service any more.
    NotReady,
    /// It is not Ready, and nobody follows.
    NoneReady,
    /// It was handed over on request.
    Switchover,
    /// The strategy prefers another pod, and `sticky` is off.
    Strategy,
}

impl Reason {
    /// As metrics, events and logs spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Unlabelled => "unlabelled",
            Self::Disrupted => "disrupted",
            Self::Terminating => "terminating",
            Self::NoIp => "noIP",
            Self::NotReady => "notReady",
            Self::NoneReady => "noneReady",
            Self::Switchover => "switchover",
            Self::Strategy => "strategy",
        }
    }
}

/// The pods among which to choose, and who leads now.
#[derive(Clone, Copy, Debug)]
pub struct Ballot<'a> {
    /// Every pod that the selector matches, in any order.
    pub pods: &'a [Arc<Pod>],
    /// The leader so far.
    pub incumbent: Option<Incumbent<'a>>,
    /// Identity of the last leader, for when there is none now.
    pub last: Option<&'a Uid>,
    /// Pods that were left for a disruption, and until when they are not returned to.
    pub shunned: &'a [(Uid, Moment)],
}

/// The leader so far: its identity, and the pod if it still exists, whatever its labels.
#[derive(Clone, Copy, Debug)]
pub struct Incumbent<'a> {
    /// Identity of the leader.
    pub uid: &'a Uid,
    /// The pod of that identity.
    pub pod: Option<&'a Arc<Pod>>,
}

/// The outcome of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// Who leads now.
    pub leader: Option<Arc<Pod>>,
    /// Why the incumbent was left, if it was.
    pub left: Option<Reason>,
    /// How an incumbent that is kept stands.
    pub hold: Hold,
    /// When to look again even if nothing happens.
    pub deadline: Option<Moment>,
}

/// How a leader that is kept stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hold {
    /// It is eligible.
    #[default]
    Firm,
    /// It is not Ready since then, within `failover-min-delay`.
    Suspect(Moment),
    /// It terminates or is disrupted, and nobody better is eligible.
    Leaving,
}

/// Holds the election.
pub fn elect<'b>(rules: &Rules<'_>, ballot: &Ballot<'b>, now: Moment) -> Verdict {
    let is_shunned = |pod: &Pod| {
        ballot
            .shunned
            .iter()
            .any(|(uid, until)| *uid == pod.uid && now < *until)
    };
    let last_resort = |pod: &Pod| pod.disrupted || is_shunned(pod);
    let others = challengers(rules, ballot, now);
    let rank = |pod: &'b Arc<Pod>| rank(rules, pod, last_resort(pod));
    let best = others.iter().copied().min_by_key(|pod| rank(pod));
    let watch = || next_candidate(rules, ballot, now);
    // Who leads by a sticky choice, and is not about to go, is not challenged by time alone.
    let elected = |leader: Option<&Arc<Pod>>, left| Verdict {
        leader: leader.cloned(),
        left,
        hold: Hold::Firm,
        deadline: match leader {
            Some(pod) if rules.sticky && !pod.disrupted => None,
            _ => watch(),
        },
    };
    let kept = |pod: &Arc<Pod>, hold, deadline| Verdict {
        leader: Some(Arc::clone(pod)),
        left: None,
        hold,
        deadline,
    };

    let Some(incumbent) = ballot.incumbent else {
        // After a time without any leader a sticky Service returns to the last one, but not to
        // one that is about to go while another stays.
        let returning = others.iter().copied().find(|pod| {
            rules.sticky
                && ballot.last == Some(&pod.uid)
                && best.is_some_and(|best| last_resort(best) || !last_resort(pod))
        });
        return elected(returning.or(best), None);
    };
    match judge(rules, ballot, incumbent, now) {
        Standing::Lost(Reason::NotReady) if best.is_none() => {
            elected(None, Some(Reason::NoneReady))
        }
        Standing::Lost(reason) => elected(best, Some(reason)),
        // To leave one pod that is about to go for another such pod would gain nothing, unless
        // the first one already terminates.
        Standing::Yields(pod, reason) => {
            match best.filter(|best| pod.terminating || !last_resort(best)) {
                Some(best) => elected(Some(best), Some(reason)),
                None => kept(
                    pod,
                    Hold::Leaving,
                    earliest(watch(), suspect_until(rules, pod, now)),
                ),
            }
        }
        Standing::Waits(pod, until) => kept(pod, Hold::Suspect(pod.ready_since), Some(until)),
        Standing::Firm(pod) => match best
            .filter(|best| (!rules.sticky || planted::is(Bug::NotSticky)) && rank(best) < rank(pod))
        {
            Some(best) => elected(Some(best), Some(Reason::Strategy)),
            None => kept(pod, Hold::Firm, if rules.sticky { None } else { watch() }),
        },
    }
}

/// Every pod but the incumbent that may become leader now.
fn challengers<'b>(rules: &Rules<'_>, ballot: &Ballot<'b>, now: Moment) -> Vec<&'b Arc<Pod>> {
    let leads = |pod: &Pod| {
        ballot
            .incumbent
            .is_some_and(|incumbent| *incumbent.uid == pod.uid)
    };
    let is_ripe =
        |pod: &Pod| now >= pod.ready_since + rules.min_ready || planted::is(Bug::MinReadyIgnored);
    ballot
        .pods
        .iter()
        .filter(|pod| !leads(pod) && is_electable(rules, pod) && is_ripe(pod))
        .collect()
}

/// How the incumbent stands, before anybody else is looked at.
enum Standing<'b> {
    /// Eligible.
    Firm(&'b Arc<Pod>),
    /// not Ready, but kept until then.
    Waits(&'b Arc<Pod>, Moment),
    /// Still serves, and goes as soon as another can take over.
    Yields(&'b Arc<Pod>, Reason),
    /// Must not be published any more.
    Lost(Reason),
}

fn judge<'b>(
    rules: &Rules<'_>,
    ballot: &Ballot<'b>,
    incumbent: Incumbent<'b>,
    now: Moment,
) -> Standing<'b> {
    let Some(pod) = incumbent.pod.filter(|pod| !pod.ended()) else {
        return Standing::Lost(Reason::Deleted);
    };
    if !ballot.pods.iter().any(|candidate| candidate.uid == pod.uid) {
        return Standing::Lost(Reason::Unlabelled);
    }
    let reason = if pod.disrupted {
        Reason::Disrupted
    } else if pod.terminating {
        Reason::Terminating
    } else if pod.ips.of(rules.family).is_none() {
        Reason::NoIp
    } else {
        Reason::NotReady
    };
    let has_address = pod.ips.of(rules.family).is_some() || planted::is(Bug::DeadAddress);
    let can_be_reached = has_address && resolves_any(rules.ports, pod);
    if !can_be_reached {
        return Standing::Lost(reason);
    }
    let serves = pod.ready && pod.phase == PodPhase::Running;
    match suspect_until(rules, pod, now) {
        _ if serves && (pod.disrupted || pod.terminating) => Standing::Yields(pod, reason),
        _ if serves => Standing::Firm(pod),
        Some(_) if pod.disrupted => Standing::Yields(pod, reason),
        Some(until) => Standing::Waits(pod, until),
        None => Standing::Lost(reason),
    }
}

/// Until when a leader that turned not Ready is kept; `None` once that is over or never applied.
fn suspect_until(rules: &Rules<'_>, pod: &Pod, now: Moment) -> Option<Moment> {
    let until = pod.ready_since + rules.failover_delay;
    (!pod.ready && !pod.terminating && pod.phase == PodPhase::Running && now < until)
        .then_some(until)
}

/// Everything that makes a pod eligible, save the time it has been Ready.
fn is_electable(rules: &Rules<'_>, pod: &Pod) -> bool {
    pod.ready
        && pod.phase == PodPhase::Running
        && (!pod.terminating || planted::is(Bug::TerminatingElected))
        && pod.ips.of(rules.family).is_some()
        && resolves_any(rules.ports, pod)
}

/// When the next pod will have been Ready for long enough, or is no longer shunned.
fn next_candidate(rules: &Rules<'_>, ballot: &Ballot<'_>, now: Moment) -> Option<Moment> {
    let ripe = ballot
        .pods
        .iter()
        .filter(|pod| is_electable(rules, pod))
        .map(|pod| pod.ready_since + rules.min_ready);
    let forgiven = ballot.shunned.iter().map(|(_, until)| *until);
    ripe.chain(forgiven).filter(|at| now < *at).min()
}

fn earliest(a: Option<Moment>, b: Option<Moment>) -> Option<Moment> {
    a.into_iter().chain(b).min()
}

/// Lower is better. Names are unique in a namespace, so no two pods compare equal.
type Rank<'a> = (bool, Reverse<usize>, i128, u64, &'a str);

fn rank<'a>(rules: &Rules<'_>, pod: &'a Pod, last_resort: bool) -> Rank<'a> {
    let resolved = resolve(rules.ports, pod).0.len();
    let age = pod.created.as_nanosecond();
    let (by_time, by_hash) = match rules.strategy {
        Strategy::Oldest => (age, 0),
        Strategy::Newest => (-age, 0),
        Strategy::Random => (0, rendezvous(&pod.uid, rules.service)),
    };
    (last_resort, Reverse(resolved), by_time, by_hash, &pod.name)
}

/// Rendezvous hash (FNV-1a, then a finalizer that spreads close inputs): the pod with the lowest
/// value leads, and another pod's coming or going changes nothing for the rest.
fn rendezvous(pod: &Uid, service: &Uid) -> u64 {
    let (pod, service) = (pod.to_string(), service.to_string());
    let bytes = pod.bytes().chain([0]).chain(service.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The ports of a Service as this pod has them, and the indices of those that it does not have.
#[must_use]
pub fn resolve(ports: &[Port], pod: &Pod) -> (Vec<EndpointPort>, Vec<usize>) {
    let mut resolved = Vec::with_capacity(ports.len());
    let mut missing = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        match number(port, &pod.ports) {
            Some(number) => resolved.push(endpoint_port(port, number)),
            None => missing.push(at),
        }
    }
    (resolved, missing)
}

/// The ports that need no pod to be resolved.
#[must_use]
pub fn resolve_without_pod(ports: &[Port]) -> Vec<EndpointPort> {
    ports
        .iter()
        .filter_map(|port| Some(endpoint_port(port, number(port, &[])?)))
        .collect()
}

fn endpoint_port(port: &Port, number: u16) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_else(|| "".into())),
        protocol: port.protocol,
        port: Some(number),
        app_protocol: port.app_protocol.clone(),
    }
}

/// Whether the pod resolves at least one port, or there is none to resolve.
fn resolves_any(ports: &[Port], pod: &Pod) -> bool {
    ports.is_empty() || ports.iter().any(|port| number(port, &pod.ports).is_some())
}

fn number(port: &Port, named: &[NamedPort]) -> Option<u16> {
    match &port.target_port {
        None | Some(TargetPort::Number(0)) => Some(port.port),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => named
            .iter()
            .find(|candidate| candidate.name == *name && candidate.protocol == port.protocol)
            .map(|candidate| candidate.number),
    }
}

#[cfg(test)]
mod tests;
