//! Any events, any fate of the writes, crashes anywhere; then peace, and what must be true then.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::config;
use super::event::{Event, Fate, any_fate, events, release};
use crate::logic::desired::Goal;
use crate::logic::elect;
use crate::logic::fsm::{self, Phase, Step};
use crate::logic::model::{Pod, PodPhase, Service, Uid};
use crate::logic::plan::{Action, Kind, Lane, Write};
use crate::logic::settings::{self, OptIn, Settings};
use crate::logic::snapshot::{Role, Snapshot};
use crate::logic::testkit::{Lab, Refusal, World, pod, source};
use crate::logic::well_known::{
    FOLLOWERS_SERVICE_NAME, LEADER_POD_UID, PAUSED, ROLE, SERVICE_NAME, SOURCE_SERVICE, STICKY,
};

/// A lab, how the cluster was a while ago, and the foreign objects in it.
struct Arena {
    lab: Lab,
    old: World,
}

fn is_foreign(object: &Value) -> bool {
    object["metadata"]["annotations"]["foreign"] == "yes"
}

fn foreign(world: &World) -> BTreeMap<(bool, String), Value> {
    let services = world
        .services
        .iter()
        .map(|(name, object)| ((true, name.clone()), object));
    let slices = world
        .slices
        .iter()
        .map(|(name, object)| ((false, name.clone()), object));
    services
        .chain(slices)
        .filter(|(_, object)| is_foreign(object))
        .map(|(key, object)| (key, object.clone()))
        .collect()
}

impl Arena {
    fn new() -> Self {
        let mut lab = Lab::new(source("s"), [pod("a").created(1), pod("b").created(2)]);
        lab.settle();
        Self {
            old: lab.world.clone(),
            lab,
        }
    }

    fn happen(&mut self, event: &Event) {
        event.happen(&mut self.lab.world);
        match event {
            Event::Wait(seconds) => self
                .lab
                .world
                .advance(Duration::from_secs(u64::from(*seconds))),
            Event::Crash => {
                self.lab.crash();
            }
            Event::Snapshot => self.old = self.lab.world.clone(),
            Event::Work(fates) => {
                let snapshot = self.lab.snapshot();
                let step = self.lab.peek_at(&snapshot);
                check_leader(&self.lab, &step, &snapshot);
                let writes = self.lab.look();
                check_order(&step, &snapshot, &writes);
                self.submit(&writes, fates, true);
            }
            Event::WorkOnOldNews(fates) => {
                // Facts lag, clocks do not.
                let mut old = self.old.clone();
                (old.seconds, old.micros) = (self.lab.world.seconds, self.lab.world.micros);
                let now = std::mem::replace(&mut self.lab.world, old);
                let writes = self.lab.look();
                self.lab.world = now;
                self.submit(&writes, fates, false);
            }
            _ => {}
        }
    }

    /// Sends the writes in some order; those on fresh facts must all be taken.
    fn submit(&mut self, writes: &[Write], fates: &[Fate], is_fresh: bool) {
        let others = foreign(&self.lab.world);
        let mut order: Vec<usize> = (0..writes.len()).collect();
        order.sort_by_key(|at| fates[at % fates.len()].order);
        for at in order {
            let write = &writes[at];
            if is_fresh {
                check_write(write, &self.lab.world);
            }
            if fates[at % fates.len()].is_lost {
                continue;
            }
            match self.lab.world.apply(write) {
                Ok(()) => {}
                // Another Service took the address; the shell lets the machine forget it.
                Err(Refusal::Invalid(why)) if why.contains("already allocated") => {
                    self.lab.machine.cluster_ips.clear();
                    self.lab.addresses.forget(&write.target.key);
                }
                Err(refusal) => assert!(
                    !is_fresh && !matches!(refusal, Refusal::Invalid(_)),
                    "{refusal:?} of {write:#?}"
                ),
            }
        }
        assert_eq!(
            foreign(&self.lab.world),
            others,
            "foreign objects stay as they are"
        );
    }

    /// No more faults: everything comes to rest.
    fn peace(&mut self) {
        for name in &["s", "s-leader", "main", "ro"] {
            release(&mut self.lab.world, name);
        }
        let all = Event::Work(vec![
            Fate {
                is_lost: false,
                order: 0
            };
            8
        ]);
        for _ in 0..12 {
            self.happen(&all);
        }
        self.lab.world.collect_garbage();
        for _ in 0..12 {
            self.happen(&all);
        }
        self.lab.settle().wait(Duration::from_mins(10));
        self.lab.forget();
        self.lab.settle();
        assert!(self.lab.writes.is_empty());
    }
}

/// Whether a pod may become leader (contract §3), told apart from the code under test.
fn is_eligible(pod: &Pod, source: &Service, settings: &Settings, world: &World) -> bool {
    let resolved = elect::resolve(&source.spec.ports, pod).0.len();
    pod.labels.satisfy(&source.spec.selector)
        && pod.phase == PodPhase::Running
        && pod.ready
        && !pod.terminating
        && !pod.of_job
        && pod.ips.of(source.families()[0]).is_some()
        && (resolved > 0 || source.spec.ports.is_empty())
        && world.now().moment.since(pod.ready_since) >= settings.min_ready
}

/// A leader that is new is eligible; one that a sticky Service leaves is not.
fn check_leader(lab: &Lab, step: &Step, snapshot: &Snapshot) {
    let Some(source) = &snapshot.source else {
        return;
    };
    let (Goal::Serve(_), machine) = (&step.goal, &step.machine) else {
        return;
    };
    let eligible = |pod: &Pod| is_eligible(pod, source, &machine.settings, &lab.world);
    let old = machine.leader().map(|leader| &leader.uid);
    let new = step.goal.leader().map(|leader| &leader.uid);
    if old == new {
        return;
    }
    // Where there is no slice any more: the pod that led, by the process, or by the leader Service.
    let is_on_record = |uid: &Uid| {
        let mut services = snapshot.own_services().iter();
        let uid = uid.to_string();
        services.any(|service| service.metadata.annotations.get(LEADER_POD_UID) == Some(&*uid))
    };
    let is_kept = |uid: &Uid| machine.kept.as_ref().is_some_and(|kept| kept.uid == *uid);
    let led = |uid| snapshot.own_slices().is_empty() && (is_on_record(uid) || is_kept(uid));
    assert!(
        !machine.settings.paused || new.is_none_or(led),
        "{new:?} while nothing may move"
    );
    if let Some(uid) = new.filter(|uid| !led(uid)) {
        let pod = snapshot.pod(uid).expect("a leader in sight");
        assert!(eligible(pod), "{pod:?} is not eligible");
        let is_worse = |other: &std::sync::Arc<Pod>| eligible(other) && !other.disrupted;
        let is_shunned = machine.shunned.iter().any(|_| true);
        assert!(
            !pod.disrupted || is_shunned || !snapshot.pods.iter().any(is_worse),
            "{pod:?} is disrupted"
        );
    }
    let patient = Settings {
        min_ready: Duration::ZERO,
        ..machine.settings.clone()
    };
    if let Some(pod) = old
        .filter(|_| machine.settings.sticky)
        .and_then(|uid| snapshot.pod(uid))
    {
        let is_asked = new
            .and_then(|uid| snapshot.pod(uid))
            .is_some_and(|new| machine.settings.preferred.as_ref() == Some(&new.name));
        let stays = !is_asked && is_eligible(pod, source, &patient, &lab.world) && !pod.disrupted;
        assert!(!stays, "{pod:?} was eligible and has been left");
    }
}

fn is_for_followers(object: &Value) -> bool {
    object["metadata"]["labels"][ROLE] == "followers"
}

/// What a write of the followers' slice may show: never the leader that the slices show; and a pod that is
/// to lead leaves it only when they show it. Such a write takes no place of a failover.
fn check_order(step: &Step, snapshot: &Snapshot, writes: &[Write]) {
    let Goal::Serve(desired) = &step.followers else {
        return;
    };
    let name = step.machine.name.as_deref().unwrap_or_default();
    let shown = fsm::published(snapshot, name).map(|target| &target.uid);
    let followers = desired.followers.as_ref().expect("it is their Service");
    let follows = |uid: &Uid| followers.pods.iter().any(|pod| pod.uid == *uid);
    assert!(!shown.is_some_and(follows), "the leader follows");
    let own = snapshot.own(Role::Followers);
    if let Some(next) = step.goal.leader().filter(|next| Some(&next.uid) != shown) {
        let slices = own.slices().iter();
        let before = slices.flat_map(|slice| &slice.endpoints).any(|endpoint| {
            let target = endpoint.target_ref.as_ref();
            target.is_some_and(|target| target.uid == next.uid)
        });
        let stays = follows(&next.uid) || next.terminating || !before;
        let pod = snapshot.pod(&next.uid).expect("a leader in sight");
        assert!(stays || !pod.ready, "{} leaves too soon", next.name);
    }
    let targets = own.slices().iter().map(|slice| slice.key());
    let targets: Vec<_> = targets.collect();
    let mut writes = writes
        .iter()
        .filter(|write| write.target.kind == Kind::Slice && targets.contains(&write.target.key));
    assert!(writes.all(|write| write.lane != Lane::Failover));
}

/// What is true of every single write.
fn check_write(write: &Write, world: &World) {
    let name = &*write.target.key.name;
    let object = match write.target.kind {
        Kind::Service => world.services.get(name),
        Kind::Slice => world.slices.get(name),
    };
    assert_ne!(
        (write.target.kind, name),
        (Kind::Service, "s"),
        "never the source"
    );
    assert!(
        !object.is_some_and(is_foreign),
        "{write:#?} targets a foreign object"
    );
    match &write.action {
        Action::Create(body) => {
            let body = body.to_value();
            let endpoints = body["endpoints"].as_array().map_or(0, Vec::len);
            let is_single = endpoints <= 1 || is_for_followers(&body);
            assert!(object.is_none() && is_single, "{write:#?}");
        }
        Action::Patch { ops, .. } => {
            let object = object.expect("an object to patch");
            assert!(
                object["metadata"]["deletionTimestamp"].is_null(),
                "{write:#?} is being deleted"
            );
            assert!(!ops.is_empty());
        }
        Action::Delete { .. } => {
            let object = object.expect("an object to delete");
            let uid = &object["metadata"]["uid"];
            let is_of = |slice: &&Value| {
                let owner = &slice["metadata"]["ownerReferences"][0];
                write.target.kind == Kind::Service && owner["uid"] == *uid && !is_foreign(slice)
            };
            let left: Vec<&Value> = world.slices.values().filter(is_of).collect();
            assert!(left.is_empty(), "traffic is withdrawn first: {left:#?}");
        }
    }
}

/// What must be true once nothing happens any more.
fn check_peace(lab: &Lab) {
    let snapshot = lab.snapshot();
    let ours = |object: &&Value| {
        object["metadata"]["labels"][SOURCE_SERVICE] == "s" && !is_foreign(object)
    };
    let services: Vec<&Value> = lab.world.services.values().filter(ours).collect();
    let slices: Vec<&Value> = lab.world.slices.values().filter(ours).collect();
    match &lab.machine.phase {
        Phase::Draining => panic!("still draining: {services:#?} {slices:#?}"),
        Phase::Unmanaged => {
            // Orphans of a source that is gone belong to no source.
            if snapshot.source.is_some() {
                assert!(
                    services.is_empty() && slices.is_empty(),
                    "{services:#?} {slices:#?}"
                );
            }
            let asks = snapshot
                .source
                .as_ref()
                .is_some_and(|s| settings::opt_in(s) == OptIn::Yes && !s.spec.selector.is_empty());
            let name = snapshot
                .source
                .as_ref()
                .and_then(|source| settings::requested_name(source).ok());
            let is_free = name.is_some_and(|name| snapshot.service(&name).is_none());
            assert!(!asks || !is_free, "opted in and not served");
        }
        Phase::Electing | Phase::Serving(_) => check_served(lab, &snapshot, &services, &slices),
    }
}

fn check_served(lab: &Lab, snapshot: &Snapshot, services: &[&Value], slices: &[&Value]) {
    let source = snapshot.source.as_ref().expect("a source");
    let settings = &lab.machine.settings;
    let eligible: Vec<_> = snapshot
        .pods
        .iter()
        .filter(|pod| is_eligible(pod, source, settings, &lab.world))
        .collect();
    let (followers, services): (Vec<&Value>, Vec<&Value>) =
        services.iter().partition(|object| is_for_followers(object));
    let (of_followers, slices): (Vec<&Value>, Vec<&Value>) =
        slices.iter().partition(|object| is_for_followers(object));
    check_followers(lab, snapshot, &followers, &of_followers);
    assert_eq!(services.len(), 1, "one leader Service: {services:#?}");
    assert_eq!(
        slices.len(),
        source.families().len(),
        "one slice per family: {slices:#?}"
    );
    let service = services[0];
    assert!(service["spec"]["selector"].is_null());
    for (map, key) in [("labels", "color"), ("annotations", "team")] {
        let lent = &lab.world.services["s"]["metadata"][map][key];
        // Nor from one that a typo keeps from being read again.
        if !lent.is_null() || !(lab.world.lost_memory || remembers(lab)) {
            assert_eq!(service["metadata"][map][key], *lent, "{map} {key}");
        }
    }
    let numbers = |ports: &Value| -> Vec<Value> {
        let ports = ports.as_array().cloned().unwrap_or_default();
        ports
            .into_iter()
            .map(|port| {
                Value::from(vec![
                    port["name"].clone(),
                    port["port"].clone(),
                    port["targetPort"].clone(),
                ])
            })
            .collect()
    };
    assert_eq!(
        numbers(&service["spec"]["ports"]),
        numbers(&lab.world.services["s"]["spec"]["ports"])
    );
    let leader = lab
        .machine
        .leader()
        .map(|leader| snapshot.pod(&leader.uid).expect("a leader that exists"));
    match leader {
        None => assert!(
            settings.paused || eligible.is_empty(),
            "{eligible:#?} could lead"
        ),
        Some(pod) if settings.paused => {
            let has_address = pod.ips.of(source.families()[0]).is_some();
            assert!(
                has_address && pod.labels.satisfy(&source.spec.selector),
                "{pod:?}"
            );
        }
        Some(pod) => {
            let is_fine = pod.ready && !pod.terminating && !pod.disrupted;
            let better = eligible
                .iter()
                .any(|other| other.uid != pod.uid && !other.disrupted);
            assert!(is_fine || !better, "{pod:?} could be replaced");
            assert!(
                pod.ready && pod.labels.satisfy(&source.spec.selector),
                "{pod:?}"
            );
        }
    }
    let uid = leader.map(|pod| pod.uid.to_string());
    assert_eq!(
        service["metadata"]["annotations"][LEADER_POD_UID].as_str(),
        uid.as_deref(),
        "the identity is told"
    );
    for slice in slices {
        check_slice(slice, service, source, leader.map(|pod| &**pod));
    }
}

/// At rest the followers Service shows exactly every eligible pod but the leader.
fn check_followers(lab: &Lab, snapshot: &Snapshot, services: &[&Value], slices: &[&Value]) {
    let source = snapshot.source.as_ref().expect("a source");
    let asked = settings::followers_name(source).ok().flatten();
    let is_free = |name: &str| {
        let own = snapshot.own(Role::Followers).service(name).is_some();
        Some(name) != lab.machine.name.as_deref() && (own || snapshot.service(name).is_none())
    };
    let name = &lab.machine.followers.name;
    if let Some(asked) = asked.as_ref().filter(|name| is_free(name)) {
        assert_eq!(name.as_ref(), Some(asked), "asked for and not served");
    }
    let Some(name) = name else {
        assert!(services.is_empty() && slices.is_empty(), "{services:#?}");
        return;
    };
    assert_eq!(services.len(), 1, "one followers Service: {services:#?}");
    assert_eq!(services[0]["metadata"]["name"], **name);
    let families = source.families();
    assert_eq!(slices.len(), families.len(), "one for each family");
    let patient = Settings {
        min_ready: Duration::ZERO,
        ..lab.machine.settings.clone()
    };
    let leader = lab.machine.leader().map(|leader| &leader.uid);
    let eligible = snapshot
        .pods
        .iter()
        .filter(|pod| Some(&pod.uid) != leader && is_eligible(pod, source, &patient, &lab.world));
    let eligible: Vec<_> = eligible.collect();
    let number = |pod: &Pod| {
        let ports = elect::resolve(&source.spec.ports, pod).0;
        let http = ports
            .iter()
            .find(|port| port.name.as_deref() == Some("http"));
        http.and_then(|port| port.port)
    };
    let votes = |number: u16| {
        eligible
            .iter()
            .filter(|pod| self::votes_for(pod, number))
            .count()
    };
    let usual = [8081, 8080].into_iter().max_by_key(|number| votes(*number));
    for slice in slices {
        assert_eq!(slice["metadata"]["labels"][SERVICE_NAME], **name);
        let family = families
            .iter()
            .find(|family| slice["addressType"] == family.to_string());
        let family = *family.expect("a family of the source");
        let wanted: Vec<String> = eligible
            .iter()
            .filter(|pod| number(pod).is_none_or(|number| Some(number) == usual))
            .filter(|pod| pod.ips.of(family).is_some())
            .map(|pod| pod.name.to_string())
            .collect();
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let shown: Vec<String> = endpoints
            .iter()
            .map(|endpoint| {
                endpoint["targetRef"]["name"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect();
        assert_eq!(shown, wanted, "the followers");
    }
}

fn votes_for(pod: &Pod, number: u16) -> bool {
    let mut ports = pod.ports.iter();
    ports.any(|port| &*port.name == "web" && port.number == number)
}

fn check_slice(slice: &Value, service: &Value, source: &Service, leader: Option<&Pod>) {
    assert_eq!(
        slice["metadata"]["labels"][SERVICE_NAME],
        service["metadata"]["name"]
    );
    let owner = &slice["metadata"]["ownerReferences"][0];
    assert_eq!(
        owner["uid"], service["metadata"]["uid"],
        "its owner is the leader Service"
    );
    let family = source
        .families()
        .into_iter()
        .find(|family| slice["addressType"] == family.to_string());
    let address = leader.and_then(|pod| pod.ips.of(family.expect("a family of the source")));
    let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
    let published: Vec<Value> = endpoints
        .iter()
        .map(|endpoint| endpoint["addresses"].clone())
        .collect();
    let wanted: Vec<Value> = address
        .iter()
        .map(|address| vec![address.to_string()].into())
        .collect();
    assert_eq!(published, wanted);
}

/// A value that only this process's memory makes valid may read otherwise after a crash.
fn remembers(lab: &Lab) -> bool {
    let source = lab.snapshot().source;
    source.is_some_and(|source| {
        let (settings, problems) =
            settings::read(&source.metadata.annotations, &Settings::default());
        settings::opt_in(&source) == OptIn::Unclear
            || (!problems.is_empty() && settings != lab.machine.settings)
            || settings::requested_name(&source).is_err()
            || settings::followers_name(&source).is_err()
    })
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn whatever_happens_peace_is_found_and_a_restart_changes_nothing(events in events(40)) {
        let mut arena = Arena::new();
        for event in &events { arena.happen(event); }
        arena.peace();
        check_peace(&arena.lab);
        let lab = &mut arena.lab;
        let objects = (lab.world.services.clone(), lab.world.slices.clone());
        if !remembers(lab) {
            lab.forget();
            lab.crash().settle();
            prop_assert_eq!(&lab.writes, &vec![]);
            prop_assert_eq!(objects, (lab.world.services.clone(), lab.world.slices.clone()));
        }
    }
}

/// Events after which the end is a function of the facts alone: no leader is held, and nothing is
/// remembered that only one process could know.
fn leaves_no_history(event: &Event) -> bool {
    use super::event::{ForeignEvent, OurEvent, PodEvent, SourceEvent};
    match event {
        Event::Annotate(key, value) => {
            let is_plain =
                !value.is_some_and(|value| matches!(value, "?" | "{" | "No" | "s" | "node-spread"));
            let is_contested = *key == FOLLOWERS_SERVICE_NAME
                && value.is_some_and(|value| matches!(value, "main" | "s-leader"));
            is_plain
                && !is_contested
                && !key.ends_with("-delay")
                && !key.ends_with("-duration")
                && ![STICKY, PAUSED].contains(key)
        }
        Event::Pod(_, PodEvent::Terminate | PodEvent::Disrupted(_))
        | Event::Source(SourceEvent::Finalize(_))
        | Event::Ours(_, OurEvent::Hold)
        | Event::Foreign(ForeignEvent::Service(_)) => false,
        _ => true,
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn crashes_and_lost_writes_in_any_order_come_to_the_same_end(
        events in events(24), fates in prop::collection::vec(prop::collection::vec(any_fate(), 8), 1..6),
    ) {
        let mut arena = Arena::new();
        arena.lab.world.annotate("s", STICKY, Some("false"));
        arena.lab.settle();
        let events: Vec<&Event> = events.iter().filter(|event| leaves_no_history(event)).collect();
        for event in &events {
            event.happen(&mut arena.lab.world);
        }
        let mut straight = Arena { lab: arena.lab.clone(), old: arena.old.clone() };
        straight.peace();
        for fates in fates {
            arena.happen(&Event::Work(fates));
            arena.happen(&Event::Crash);
        }
        arena.peace();
        prop_assert_eq!(straight.lab.objects(), arena.lab.objects());
        prop_assert_eq!(straight.lab.state(), arena.lab.state());
        prop_assert_eq!(straight.lab.endpoints("s-leader"), arena.lab.endpoints("s-leader"));
        check_peace(&arena.lab);
    }
}
