//! Tables over single elections: which pod leads, and why the former leader was replaced.

use super::*;
use crate::logic::budget::{BudgetScope, Spent};
use crate::logic::model::Protocol::{Tcp, Udp};
use crate::logic::model::TargetPort;
use crate::logic::nodes::Nodes;
use crate::logic::spread::LeadersPerNode;
use crate::logic::testkit::{PodSpec, World, pod, source};

/// One election among these pods at second 1000; `leader` names the incumbent.
struct ElectionCase {
    pods: Vec<PodSpec>,
    leader: Option<&'static str>,
    last: Option<&'static str>,
    shunned: Option<&'static str>,
    strategy: Strategy,
    sticky: bool,
    delay: u64,
    min_ready: u64,
    preferred: Option<&'static str>,
    handed: Option<&'static str>,
    paused: bool,
    /// Until when the budget for failovers is used up.
    spent: Option<i64>,
    /// Nodes that are about to go.
    leaving: &'static [&'static str],
    /// Nodes that are down, and since which second.
    down: &'static [(&'static str, i64)],
    /// Nodes, each with how many other Services it leads.
    led: &'static [(&'static str, usize)],
}

fn among(pods: impl IntoIterator<Item = PodSpec>) -> ElectionCase {
    ElectionCase {
        pods: pods.into_iter().collect(),
        leader: None,
        last: None,
        shunned: None,
        strategy: Strategy::Oldest,
        sticky: true,
        delay: 0,
        min_ready: 0,
        preferred: None,
        handed: None,
        paused: false,
        spent: None,
        leaving: &[],
        down: &[],
        led: &[],
    }
}

fn led_by(leader: &'static str, pods: impl IntoIterator<Item = PodSpec>) -> ElectionCase {
    ElectionCase {
        leader: Some(leader),
        ..among(pods)
    }
}

impl ElectionCase {
    /// `b (notReady)`, `a, leaving`, `none`, each with `until` the deadline.
    fn outcome(&self) -> String {
        self.held(|rules, ballot, now| describe(&elect(rules, ballot, now)))
    }

    /// `a, b, c: NotReady`: the candidates in order, each with its obstacle.
    fn scrutiny(&self) -> String {
        let word = |one: &Candidate| {
            let last = if one.is_last_resort { "?" } else { "" };
            let obstacle = one.obstacle.map(|what| format!(": {what:?}"));
            format!("{}{last}{}", one.pod.name, obstacle.unwrap_or_default())
        };
        self.held(|rules, ballot, now| {
            let all = assess_candidates(rules, ballot, now);
            all.iter().map(word).collect::<Vec<_>>().join(", ")
        })
    }

    fn held(&self, look: impl Fn(&Rules<'_>, &Ballot<'_>, Moment) -> String) -> String {
        let mut world = World::new();
        world.create_service(source("s")).expect("a source");
        for spec in &self.pods {
            let uid = format!("uid-{}", spec.name);
            world.put_pod(PodSpec {
                uid,
                ..spec.clone()
            });
        }
        let everyone = world.snapshot(&crate::logic::testkit::Lab::key(), self.leader);
        let service = everyone.source.as_ref().expect("a source");
        let uid = |name: &str| Uid::from(&*format!("uid-{name}"));
        let leader = self.leader.map(uid);
        let last = self.last.map(uid);
        let shunned: Vec<_> = self
            .shunned
            .map(|name| (uid(name), Moment(1_100_000_000)))
            .into_iter()
            .collect();
        let mut spread = LeadersPerNode::default();
        for (node, count) in self.led {
            (0..*count).for_each(|_| spread.moved(None, Some(&(*node).into())));
        }
        let nodes = Nodes {
            leaving: self.leaving.iter().map(|node| (*node).into()).collect(),
            down: self
                .down
                .iter()
                .map(|(node, since)| ((*node).into(), Moment(since * 1_000_000)))
                .collect(),
        };
        let handed = self.handed.map(uid);
        let rules = Rules {
            family: Family::IPv4,
            ports: &service.spec.ports,
            sticky: self.sticky,
            strategy: self.strategy,
            min_ready: Duration::from_secs(self.min_ready),
            failover_delay: Duration::from_secs(self.delay),
            service: &service.metadata.uid,
            others: Others {
                spread: &spread,
                own: None,
            },
            preferred: self.preferred,
            handed: handed.as_ref(),
            paused: self.paused,
            spent: self.spent.map(|seconds| Spent {
                until: Moment(seconds * 1_000_000),
                scope: BudgetScope::Service,
            }),
            nodes: &nodes,
            claim: None,
        };
        let ballot = Ballot {
            pods: &everyone.pods,
            incumbent: leader.as_ref().map(|uid| Incumbent {
                uid,
                pod: everyone.pod(uid),
            }),
            last: last.as_ref(),
            shunned: &shunned,
        };
        look(&rules, &ballot, world.now().moment)
    }
}

fn describe(verdict: &Verdict) -> String {
    let name = verdict.leader.as_ref().map_or("none", |pod| &*pod.name);
    let hold = match verdict.hold {
        Hold::Firm => "",
        Hold::Suspect(_) => ", suspect",
        Hold::Leaving => ", leaving",
        Hold::Paused => ", paused",
        Hold::Guarded(_) => ", guarded",
    };
    let left = verdict
        .left
        .map(|reason| format!(" ({})", reason.as_str()))
        .unwrap_or_default();
    let until = verdict
        .deadline
        .map(|at| format!(" until {}", at.0 / 1_000_000))
        .unwrap_or_default();
    format!("{name}{hold}{left}{until}")
}

fn check(sentence: &str, election: &ElectionCase, expected: &str) {
    assert_eq!(election.outcome(), expected, "{sentence}");
}

fn a() -> PodSpec {
    pod("a").created(1)
}

fn b() -> PodSpec {
    pod("b").created(2)
}

#[test]
#[rustfmt::skip]
fn first_elections() {
    check("no leader among no pods", &among([]), "none");
    check("the oldest leads", &among([b(), a()]), "a");
    check("the newest leads", &ElectionCase { strategy: Strategy::Newest, ..among([a(), b()]) }, "b");
    check("of the same age the name decides", &among([pod("y").created(1), pod("x").created(1)]), "x");
    check("for the newest too", &ElectionCase { strategy: Strategy::Newest, ..among([pod("y").created(1), pod("x").created(1)]) }, "x");
    check("a pod that is not Ready cannot lead", &among([a().not_ready()]), "none");
    check("nor one that terminates", &among([a().terminating()]), "none");
    check("nor one without an address", &among([a().ips(&[])]), "none");
    check("nor one with an address of the other family only", &among([a().ips(&["fd00::1"])]), "none");
    check("nor one with an address of the node", &among([a().ips(&["127.0.0.1"])]), "none");
    check("nor one that resolves no port", &among([a().ports(&[("other", 1)])]), "none");
    check("nor one that does not run", &among([PodSpec { phase: "Pending", ..a() }]), "none");
    check("nor one of other labels", &among([a().labelled("app", "other")]), "none");
    check("a disrupted pod leads if no other can", &among([a().disrupted(), b().not_ready()]), "a");
    check("and only then", &among([a().disrupted(), b()]), "b");
    check("a Job's pod never leads", &among([a().of_job(), b()]), "b");
    check("not even alone", &among([a().of_job()]), "none");
    check("one has to be Ready for long enough", &ElectionCase { min_ready: 600, ..among([a()]) }, "none until 1100");
    check("exactly long enough is enough", &ElectionCase { min_ready: 500, ..among([a()]) }, "a");
    check("the last one returns before the oldest", &ElectionCase { last: Some("b"), ..among([a(), b()]) }, "b");
    check("not without sticky", &ElectionCase { last: Some("b"), sticky: false, ..among([a(), b()]) }, "a");
    check("not if it is disrupted while another is not", &ElectionCase { last: Some("b"), ..among([a(), b().disrupted()]) }, "a");
    check("though it does if both are", &ElectionCase { last: Some("b"), ..among([a().disrupted(), b().disrupted()]) }, "b");
    check("not if it was left for a disruption just now", &ElectionCase { last: Some("b"), shunned: Some("b"), ..among([a(), b()]) }, "a");
}

#[test]
#[rustfmt::skip]
fn reasons_in_their_order() {
    let gone = || b().not_ready().ips(&[]).terminating().disrupted();
    check("gone", &led_by("b", [a()]), "a (deleted)");
    check("ended", &led_by("b", [a(), PodSpec { phase: "Succeeded", ..b() }]), "a (notReady)");
    check("ended, and no pod follows", &led_by("b", [a().not_ready(), PodSpec { phase: "Failed", ..b() }]), "none (noneReady)");
    check("ended and disrupted, as by an eviction", &led_by("b", [a(), PodSpec { phase: "Failed", ..b().disrupted() }]), "a (disrupted)");
    check("ended while it was being deleted", &led_by("b", [a(), PodSpec { phase: "Failed", ..gone() }]), "a (deleted)");
    check("ended before unlabelled", &led_by("b", [a(), PodSpec { phase: "Failed", ..b().labelled("x", "y") }]), "a (notReady)");
    check("a Job's pod is none of the Service's", &led_by("b", [a(), gone().of_job()]), "a (unlabelled)");
    check("unlabelled before disrupted", &led_by("b", [a(), gone().labelled("x", "y")]), "a (unlabelled)");
    check("disrupted before terminating", &led_by("b", [a(), gone()]), "a (disrupted)");
    check("terminating before noIP", &led_by("b", [a(), b().not_ready().ips(&[]).terminating()]), "a (terminating)");
    check("noIP before notReady", &led_by("b", [a(), b().not_ready().ips(&[])]), "a (noIP)");
    check("notReady", &led_by("b", [a(), b().not_ready()]), "a (notReady)");
    check("noneReady when no pod follows", &led_by("b", [a().not_ready(), b().not_ready()]), "none (noneReady)");
    check("which replaces no other reason", &led_by("b", [a().not_ready()]), "none (deleted)");
    check("resolving no port any more is notReady", &led_by("b", [a(), b().ports(&[])]), "a (notReady)");
    check("the strategy, without sticky", &ElectionCase { sticky: false, ..led_by("b", [a(), b()]) }, "a (strategy)");
}

#[test]
#[rustfmt::skip]
fn leaders_that_are_kept() {
    check("a sticky one", &led_by("b", [a(), b()]), "b");
    check("the strategy's first choice", &ElectionCase { sticky: false, ..led_by("a", [a(), b()]) }, "a");
    check("within its delay", &ElectionCase { delay: 600, ..led_by("b", [a(), b().not_ready()]) }, "b, suspect until 1100");
    check("not after it", &ElectionCase { delay: 500, ..led_by("b", [a(), b().not_ready()]) }, "a (notReady)");
    check("a delay helps no pod without an address", &ElectionCase { delay: 600, ..led_by("b", [a(), b().not_ready().ips(&[])]) }, "a (noIP)");
    check("nor one that terminates", &ElectionCase { delay: 600, ..led_by("b", [a(), b().not_ready().terminating()]) }, "a (terminating)");
    check("terminating, while no other can", &led_by("b", [a().not_ready(), b().terminating()]), "b, leaving");
    check("disrupted, while no other can", &led_by("b", [a().not_ready(), b().disrupted()]), "b, leaving");
    check("disrupted, while others are disrupted too", &led_by("b", [a().disrupted(), b().disrupted()]), "b, leaving");
    check("disrupted, while the other was just left for that", &ElectionCase { shunned: Some("a"), ..led_by("b", [a(), b().disrupted()]) }, "b, leaving until 1100");
    check("terminating is worse than disrupted", &led_by("b", [a().disrupted(), b().terminating()]), "a (terminating)");
    check("terminating waits for one that is Ready for long enough", &ElectionCase { min_ready: 600, ..led_by("b", [a(), b().terminating()]) }, "b, leaving until 1100");
    check("disrupted and not Ready, within its delay", &ElectionCase { delay: 600, ..led_by("b", [a().not_ready(), b().not_ready().disrupted()]) }, "b, leaving until 1100");
    check("disrupted and not Ready, and another can", &ElectionCase { delay: 600, ..led_by("b", [a(), b().not_ready().disrupted()]) }, "a (disrupted)");
    check("terminating and not serving goes at once", &led_by("b", [a().not_ready(), b().not_ready().terminating()]), "none (terminating)");
}

#[test]
fn random_is_stable_and_spreads() {
    let pods = || ["a", "b", "c", "d", "e"].map(pod);
    let leader = |service: &str, without: &str| {
        let mut world = World::new();
        world.create_service(source("s")).expect("a source");
        for spec in pods().into_iter().filter(|pod| pod.name != without) {
            let uid = format!("uid-{}", spec.name);
            world.put_pod(PodSpec { uid, ..spec });
        }
        let snapshot = world.snapshot(&crate::logic::testkit::Lab::key(), None);
        let rules = Rules {
            family: Family::IPv4,
            ports: &[],
            sticky: true,
            strategy: Strategy::Random,
            min_ready: Duration::ZERO,
            failover_delay: Duration::ZERO,
            service: &service.into(),
            others: Others {
                spread: &LeadersPerNode::default(),
                own: None,
            },
            preferred: None,
            handed: None,
            paused: false,
            spent: None,
            nodes: &Nodes::default(),
            claim: None,
        };
        let ballot = Ballot {
            pods: &snapshot.pods,
            incumbent: None,
            last: None,
            shunned: &[],
        };
        let verdict = elect(&rules, &ballot, world.now().moment);
        verdict.leader.expect("a leader").name.to_string()
    };
    let mut counts = std::collections::BTreeMap::new();
    for number in 0..100 {
        let service = format!("service-{number}");
        let first = leader(&service, "");
        assert_eq!(first, leader(&service, ""), "stable");
        let other = if first == "a" { "b" } else { "a" };
        assert_eq!(
            first,
            leader(&service, other),
            "another's going changes nothing"
        );
        *counts.entry(first).or_insert(0) += 1;
    }
    assert!(
        counts.len() == 5 && counts.values().all(|count| *count >= 8),
        "{counts:?}"
    );
}

#[test]
fn ports_are_looked_up_by_name_and_protocol() {
    let mut world = World::new();
    world.put_pod(pod("a").ports(&[("web", 8080), ("dns", 53)]));
    let key = crate::logic::testkit::Lab::key();
    world.create_service(source("s")).expect("a source");
    let snapshot = world.snapshot(&key, None);
    let port = |target: Option<TargetPort>, protocol| Port {
        name: None,
        protocol,
        app_protocol: None,
        port: 80,
        target_port: target,
        node_port: None,
    };
    for (target, protocol, expected) in [
        (None, Tcp, Some(80)),
        (Some(TargetPort::Number(0)), Tcp, Some(80)),
        (Some(TargetPort::Number(9)), Udp, Some(9)),
        (Some(TargetPort::Name("web".into())), Tcp, Some(8080)),
        (Some(TargetPort::Name("web".into())), Udp, None),
        (Some(TargetPort::Name("wab".into())), Tcp, None),
    ] {
        let ports = [port(target, protocol)];
        let (resolved, missing) = resolve(&ports, &snapshot.pods[0]);
        assert_eq!(resolved.first().and_then(|port| port.port), expected);
        assert_eq!(missing.len(), usize::from(expected.is_none()));
        assert!(
            resolved.iter().all(|port| port.name.as_deref() == Some("")),
            "as the native controller writes it"
        );
    }
    assert_eq!(resolve(&[], &snapshot.pods[0]).0, []);
}

#[test]
#[rustfmt::skip]
fn ranks_of_pods_and_nodes() {
    let ranked = |pods: [PodSpec; 2]| ElectionCase { strategy: Strategy::Priority, ..among(pods) };
    check("the highest priority leads", &ranked([a(), b().priority("1")]), "b");
    check("below nothing is below nothing", &ranked([a().priority("-1"), b()]), "b");
    check("numbers are numbers, not words", &ranked([a().priority("9"), b().priority("10")]), "b");
    check("of the same priority the oldest leads", &ranked([b().priority("3"), a().priority("3")]), "a");
    check("what is no integer counts as 0", &ranked([a().priority("high"), b().priority("-1")]), "a");
    check("nor does it count more", &ranked([a(), b().priority("1.5")]), "a");
    check("a disrupted pod comes last all the same", &ranked([a(), b().priority("1").disrupted()]), "a");
    check("more resolved ports come first all the same", &ranked([a(), b().priority("1").ports(&[])]), "a");
    check("a sticky leader is kept", &ElectionCase { strategy: Strategy::Priority, ..led_by("a", [a(), b().priority("1")]) }, "a");
    check("without sticky it is not", &ElectionCase { strategy: Strategy::Priority, sticky: false, ..led_by("a", [a(), b().priority("1")]) }, "b (strategy)");
    let spread = |led, pods: [PodSpec; 2]| ElectionCase { strategy: Strategy::NodeSpread, led, ..among(pods) };
    let (x, y) = (a().node("x"), b().node("y"));
    check("the node that leads the fewest leads one more", &spread(&[("x", 2), ("y", 1)], [x.clone(), y.clone()]), "b");
    check("one that leads none before all", &spread(&[("x", 1)], [x.clone(), y.clone()]), "b");
    check("of nodes that lead as many the oldest pod leads", &spread(&[("x", 1), ("y", 1)], [y.clone(), x.clone()]), "a");
    check("and on one node", &spread(&[("x", 1)], [b().node("x"), x.clone()]), "a");
    check("a leader stays though its node leads more", &ElectionCase { strategy: Strategy::NodeSpread, led: &[("x", 9)], ..led_by("a", [x, y]) }, "a");
}

#[test]
#[rustfmt::skip]
fn switchovers() {
    let to = |preferred, election| ElectionCase { preferred: Some(preferred), ..election };
    let c = || pod("c").created(3);
    check("the pod that is asked for leads at once", &to("c", among([a(), b(), c()])), "c");
    check("it takes over from one that is fine", &to("c", led_by("a", [a(), b(), c()])), "c (switchover)");
    check("without sticky too", &to("c", ElectionCase { sticky: false, ..led_by("a", [a(), b(), c()]) }), "c (switchover)");
    check("not before it is Ready", &to("c", led_by("a", [a(), c().not_ready()])), "a");
    check("nor before it has been for long enough", &to("c", ElectionCase { min_ready: 600, ..led_by("a", [a(), c()]) }), "a until 1100");
    check("nor while it terminates", &to("c", led_by("a", [a(), c().terminating()])), "a");
    check("nor without an address", &to("c", led_by("a", [a(), c().ips(&[])])), "a");
    check("nor if it does not match", &to("c", led_by("a", [a(), c().labelled("app", "other")])), "a");
    check("nor if there is none", &to("d", led_by("a", [a(), c()])), "a");
    check("nor while it is about to go", &to("c", led_by("a", [a(), c().disrupted()])), "a");
    check("nor while it was left for that just now", &to("c", ElectionCase { shunned: Some("c"), ..led_by("a", [a(), c()]) }), "a until 1100");
    check("though it follows one that is lost, if no other can", &to("c", led_by("a", [a().not_ready(), c().disrupted()])), "c (notReady)");
    check("it follows one that failed, also before an older pod", &to("c", led_by("a", [a().not_ready(), b(), c()])), "c (notReady)");
    check("and one that terminates", &to("c", led_by("a", [a().terminating(), b(), c()])), "c (terminating)");
    check("a delay does not keep it waiting", &to("c", ElectionCase { delay: 600, ..led_by("a", [a().not_ready(), b(), c()]) }), "c (switchover)");
    check("within a delay, its own time is looked out for", &to("c", ElectionCase { delay: 700, min_ready: 550, ..led_by("a", [a().not_ready(), c()]) }), "a, suspect until 1050");
    check("until it can, the others carry on", &to("c", led_by("a", [a().not_ready(), b(), c().not_ready()])), "b (notReady)");
    check("it comes before the last one", &to("c", ElectionCase { last: Some("b"), ..among([a(), b(), c()]) }), "c");
    check("one that leads already stays", &to("a", led_by("a", [a(), b()])), "a");
    check("against the strategy as well", &to("b", ElectionCase { sticky: false, ..led_by("b", [a(), b()]) }), "b");
    check("what was handed over is not taken back by the strategy", &ElectionCase { sticky: false, handed: Some("b"), ..led_by("b", [a(), b()]) }, "b");
    check("but by its failure", &ElectionCase { sticky: false, handed: Some("b"), ..led_by("b", [a(), b().not_ready()]) }, "a (notReady)");
}

#[test]
#[rustfmt::skip]
fn pauses() {
    let paused = |election| ElectionCase { paused: true, ..election };
    check("one that is fine stays", &paused(led_by("b", [a(), b()])), "b");
    check("against the strategy", &paused(ElectionCase { sticky: false, ..led_by("b", [a(), b()]) }), "b");
    check("against a switchover", &paused(ElectionCase { preferred: Some("a"), ..led_by("b", [a(), b()]) }), "b");
    check("one that is not Ready stays", &paused(led_by("b", [a(), b().not_ready()])), "b, paused");
    check("whatever its delay", &paused(ElectionCase { delay: 600, ..led_by("b", [a(), b().not_ready()]) }), "b, paused");
    check("one that terminates stays", &paused(led_by("b", [a(), b().terminating()])), "b, paused");
    check("even one that serves no more", &paused(led_by("b", [a(), b().terminating().not_ready()])), "b, paused");
    check("one that is disrupted stays", &paused(led_by("b", [a(), b().disrupted()])), "b, paused");
    check("one that resolves no port stays", &paused(led_by("b", [a(), b().ports(&[])])), "b, paused");
    check("one that is gone goes, and no pod follows", &paused(led_by("b", [a()])), "none (deleted)");
    check("so does one that has ended", &paused(led_by("b", [a(), PodSpec { phase: "Failed", ..b() }])), "none (notReady)");
    check("and one that matches no more", &paused(led_by("b", [a(), b().labelled("x", "y")])), "none (unlabelled)");
    check("and one without an address", &paused(led_by("b", [a(), b().ips(&[])])), "none (noIP)");
    check("or without one in the Service's family", &paused(led_by("b", [a(), b().ips(&["fd00::1"])])), "none (noIP)");
    check("terminating says why it went", &paused(led_by("b", [a(), b().terminating().ips(&[])])), "none (terminating)");
    check("no pod is elected", &paused(among([a(), b()])), "none");
    check("nor does the last one return", &paused(ElectionCase { last: Some("a"), ..among([a(), b()]) }), "none");
    check("nor the one that is asked for come", &paused(ElectionCase { preferred: Some("a"), ..among([a(), b()]) }), "none");
}

#[test]
#[rustfmt::skip]
fn budgets_that_are_used_up() {
    let spent = |election| ElectionCase { spent: Some(1_060), ..election };
    let gone = || b().not_ready();
    check("a leader that is not Ready is kept until there is something in it again", &spent(led_by("b", [a(), gone()])), "b, guarded until 1060");
    check("also if no pod could follow: an empty slice is no better", &spent(led_by("b", [a().not_ready(), gone()])), "b, guarded until 1060");
    check("a delay comes first", &ElectionCase { delay: 510, ..spent(led_by("b", [a(), gone()])) }, "b, suspect until 1010");
    check("one that is gone goes", &spent(led_by("b", [a()])), "a (deleted)");
    check("one that ended goes", &spent(led_by("b", [a(), PodSpec { phase: "Failed", ..gone() }])), "a (notReady)");
    check("one that matches no more goes", &spent(led_by("b", [a(), gone().labelled("x", "y")])), "a (unlabelled)");
    check("one without an address goes", &spent(led_by("b", [a(), gone().ips(&[])])), "a (noIP)");
    check("even if no pod follows", &spent(led_by("b", [a().not_ready(), gone().ips(&[])])), "none (noIP)");
    check("one that terminates goes", &spent(led_by("b", [a(), gone().terminating()])), "a (terminating)");
    check("one that is disrupted goes", &spent(led_by("b", [a(), gone().disrupted()])), "a (disrupted)");
    check("one that terminates and serves hands over", &spent(led_by("b", [a(), b().terminating()])), "a (terminating)");
    check("a first election needs no budget", &spent(among([a(), b()])), "a");
    check("nor does the strategy", &ElectionCase { sticky: false, ..spent(led_by("b", [a(), b()])) }, "a (strategy)");
    check("nor a switchover, from a leader that is fine", &ElectionCase { preferred: Some("a"), ..spent(led_by("b", [a(), b()])) }, "a (switchover)");
    check("nor from one that is kept", &ElectionCase { preferred: Some("a"), ..spent(led_by("b", [a(), gone()])) }, "a (switchover)");
    check("which is looked out for meanwhile", &ElectionCase { preferred: Some("a"), min_ready: 510, ..spent(led_by("b", [a(), gone()])) }, "b, guarded until 1010");
}

#[test]
#[rustfmt::skip]
fn nodes_that_leave_or_fail() {
    let (a, b) = (|| a().node("x"), || b().node("y"));
    let leaving = |nodes, election| ElectionCase { leaving: nodes, ..election };
    check("a leader on a node that leaves hands over while it serves", &leaving(&["y"], led_by("b", [a(), b()])), "a (disrupted)");
    check("not to a pod on such a node", &leaving(&["x", "y"], led_by("b", [a(), b()])), "b, leaving");
    check("nor on the same one", &leaving(&["y"], led_by("b", [a().node("y"), b()])), "b, leaving");
    check("nor to one that is disrupted", &leaving(&["y"], led_by("b", [a().disrupted(), b()])), "b, leaving");
    check("nor before it is Ready for long enough", &leaving(&["y"], ElectionCase { min_ready: 600, ..led_by("b", [a(), b()]) }), "b, leaving until 1100");
    check("the leader does not flap back to it", &leaving(&["x"], led_by("b", [a(), b()])), "b");
    check("not even without sticky", &leaving(&["x"], ElectionCase { sticky: false, ..led_by("b", [a(), b()]) }), "b");
    check("nor on request", &leaving(&["x"], ElectionCase { preferred: Some("a"), ..led_by("b", [a(), b()]) }), "b");
    check("a pod on it leads if no other can", &leaving(&["x"], among([a(), b().not_ready()])), "a");
    check("and only then", &leaving(&["x"], among([a(), b()])), "b");
    check("a pause holds it", &leaving(&["y"], ElectionCase { paused: true, ..led_by("b", [a(), b()]) }), "b, paused");
    check("not Ready is not Ready, wherever", &leaving(&["y"], led_by("b", [a(), b().not_ready()])), "a (notReady)");

    let down = |nodes, election| ElectionCase { down: nodes, ..election };
    check("a leader on a node that is down is left, though it looks Ready", &down(&[("y", 990)], led_by("b", [a(), b()])), "a (notReady)");
    check("its patience counts from then", &down(&[("y", 990)], ElectionCase { delay: 30, ..led_by("b", [a(), b()]) }), "b, suspect until 1020");
    check("and ends", &down(&[("y", 970)], ElectionCase { delay: 30, ..led_by("b", [a(), b()]) }), "a (notReady)");
    check("it stays if no other can: perhaps it lives", &down(&[("y", 990)], led_by("b", [a().not_ready(), b()])), "b, leaving");
    check("nor is a pod on a node that is down one that can", &down(&[("x", 990), ("y", 990)], led_by("b", [a(), b()])), "b, leaving");
    check("not even without a leader", &down(&[("x", 990)], among([a(), b().not_ready()])), "none");
    check("a pod about to go is better than one that is down", &down(&[("y", 990)], led_by("b", [a().disrupted(), b()])), "a (notReady)");
    check("terminating is the better reason", &down(&[("y", 990)], led_by("b", [a(), b().terminating()])), "a (terminating)");
    check("the budget counts", &down(&[("y", 990)], ElectionCase { spent: Some(1_060), ..led_by("b", [a(), b()]) }), "b, guarded until 1060");
    check("a pause holds it as well", &down(&[("y", 990)], ElectionCase { paused: true, ..led_by("b", [a(), b()]) }), "b, paused");
}

#[test]
fn every_pod_is_told_what_keeps_it() {
    let not_running = PodSpec {
        phase: "Pending",
        ..pod("p")
    };
    let pods = [
        a().terminating().not_ready(),
        b().not_ready(),
        pod("c").ips(&[]),
        pod("d").ports(&[("other", 1)]),
        not_running,
        pod("q").created(9).disrupted(),
        pod("r").created(8),
        pod("s").created(7).ready_at(999),
    ];
    let election = ElectionCase {
        min_ready: 10,
        ..among(pods)
    };
    assert_eq!(
        election.scrutiny(),
        "r, q?, a: Terminating, b: NotReady, c: NoAddress, d: NoPort, p: NotRunning, \
         s: Unripe(Moment(1009000000))"
    );
}

/// The pod that stands first is the one that follows, whatever the order goes by.
#[test]
fn the_order_is_the_elections_own() {
    let pods = || {
        [
            a().priority("1").node("full"),
            b().priority("7").node("full"),
            pod("c").created(3).disrupted(),
            pod("d").created(4).node("free"),
        ]
    };
    for (strategy, order) in [
        (Strategy::Oldest, "a, b, d, c?"),
        (Strategy::Newest, "d, b, a, c?"),
        (Strategy::Priority, "b, a, d, c?"),
        (Strategy::NodeSpread, "d, a, b, c?"),
    ] {
        let election = ElectionCase {
            strategy,
            led: &[("full", 2)],
            ..among(pods())
        };
        assert_eq!(election.scrutiny(), order, "{strategy:?}");
        let first = order.split(',').next().expect("a first pod");
        assert_eq!(election.outcome(), first, "{strategy:?}");
    }
}
