//! What the pods of one application have agreed on, and what they write.

use std::time::Duration;

use serde_json::{Value, json};
use simkube::{Kind, SimKube};
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::claims::ROLE;
use crate::event::{Elector, ElectorAct, Event, Habit, Identity, NODES, NS, PODS, create_pod};
use crate::facts::{PodFact, text};

/// A Lease without a duration is taken after this time.
const HELD: Duration = Duration::from_secs(10);
/// Between the two changes of a label that moves.
const GAPS_MS: [u64; 5] = [0, 50, 200, 200, 1_000];
/// By which a clock is wrong, in seconds.
const SKEWS_S: [i64; 4] = [-86_400, -3_600, 60, 86_400];

/// A move of the leadership, and how it can be seen.
pub(super) struct Move {
    pub(super) app: &'static str,
    /// Identity of the pod that leads from now on.
    pub(super) to: String,
    /// It is named for certain after so long, and by one change of the label within that time.
    pub(super) after_ms: u64,
}

/// An application.
pub(super) struct App {
    pub(super) of: Elector,
    /// Identity of the pod that leads, by their own knowledge.
    pub(super) leader: Option<String>,
    /// The last write of the Lease.
    pub(super) wrote: Option<Instant>,
    /// Its pods are silent until then.
    pub(super) muted: Option<Instant>,
}

impl App {
    fn lock(&self) -> String {
        format!("lock-{}", self.of.app)
    }

    /// The pods that work, in the order of their names.
    fn members(&self, kube: &SimKube) -> Vec<PodFact> {
        let pods = kube.list(Kind::Pod, NS);
        let facts = pods.iter().map(PodFact::of);
        let is_of = |pod: &PodFact| pod.labels.get("app").is_some_and(|app| app == self.of.app);
        facts.filter(|pod| is_of(pod) && pod.running).collect()
    }

    fn leads(&self, pod: &PodFact) -> bool {
        self.leader.as_ref() == Some(&pod.uid)
    }

    /// Another pod that could lead; one that is Ready before others.
    fn candidate(&self, members: &[PodFact], chance: &mut Chance) -> Option<PodFact> {
        let could = |pod: &&PodFact| !pod.terminating && !self.leads(pod);
        let others: Vec<&PodFact> = members.iter().filter(could).collect();
        let ready: Vec<&PodFact> = others.iter().copied().filter(|pod| pod.ready).collect();
        let of = if ready.is_empty() { others } else { ready };
        (!of.is_empty()).then(|| chance.pick(&of).clone())
    }

    /// One turn of electors that use a Lease.
    pub(super) fn hold_lease(
        &mut self,
        kube: &SimKube,
        chance: &mut Chance,
        clock: jiff::Timestamp,
    ) {
        let members = self.members(kube);
        if let Some(pod) = members.iter().find(|pod| self.leads(pod)) {
            match self.of.habit {
                Habit::Renews { releases: true } if pod.terminating => self.release(kube, clock),
                Habit::Once => {}
                _ => self.write(kube, &self.identity(pod), chance, clock),
            }
            return;
        }
        let lease = kube.get(Kind::Lease, NS, &self.lock());
        let is_released =
            lease.is_none_or(|lease| text(&lease["spec"]["holderIdentity"]).is_empty());
        let held = self
            .of
            .held_s
            .map_or(HELD, |s| Duration::from_secs(s.into()));
        let is_over = self.wrote.is_none_or(|at| at.elapsed() >= held);
        if is_released || is_over || self.of.habit == Habit::Once {
            let next = self.candidate(&members, chance);
            if let Some(pod) = &next {
                self.write(kube, &self.identity(pod), chance, clock);
            }
            self.leader = next.map(|pod| pod.uid);
        }
    }

    /// One turn of electors that use a label.
    pub(super) fn hold_label(&mut self, kube: &SimKube, chance: &mut Chance) {
        let members = self.members(kube);
        let leader = members.iter().find(|pod| self.leads(pod));
        if leader.is_some_and(|pod| !pod.terminating) {
            return;
        }
        let (leader, next) = (leader.cloned(), self.candidate(&members, chance));
        if let Some(pod) = next.or(leader) {
            self.hand_over(kube, &pod, chance);
        }
    }

    fn identity(&self, pod: &PodFact) -> String {
        let (name, ip) = (&pod.name, pod.ips.first());
        match (self.of.identity, ip) {
            (Identity::Uid, _) => pod.uid.clone(),
            (Identity::Host, _) => format!("{name}_{}", pod.uid.get(..8).unwrap_or_default()),
            (Identity::Domain, _) => format!("{name}.{NS}.svc"),
            (Identity::Ip, Some(ip)) => ip.clone(),
            (Identity::NameIp, Some(ip)) => format!("{name}_{ip}"),
            (Identity::Name | Identity::Ip | Identity::NameIp, _) => name.clone(),
        }
    }

    /// Writes the Lease, as its holder does.
    fn write(&mut self, kube: &SimKube, holder: &str, chance: &mut Chance, clock: jiff::Timestamp) {
        let skew_s = match self.of.habit {
            Habit::Skewed => chance.pick(&SKEWS_S) + i64::try_from(chance.below(600)).unwrap_or(0),
            _ => 0,
        };
        let held_s = if holder.is_empty() {
            Some(1)
        } else {
            self.of.held_s
        };
        self.put(
            kube,
            holder,
            held_s,
            clock + jiff::SignedDuration::from_secs(skew_s),
        );
    }

    fn put(&mut self, kube: &SimKube, holder: &str, held_s: Option<u8>, at: jiff::Timestamp) {
        let at = at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
        let spec = |lease: &Value| {
            let before = &lease["spec"];
            let moves = before["holderIdentity"] != *holder;
            let count = before["leaseTransitions"].as_u64().unwrap_or_default();
            let mut spec = json!({
                "holderIdentity": holder, "renewTime": at, "leaseTransitions": count + u64::from(moves),
            });
            if let Some(held_s) = held_s {
                spec["leaseDurationSeconds"] = held_s.into();
            }
            spec
        };
        let is_there = kube.edit(Kind::Lease, NS, &self.lock(), |lease| {
            lease["spec"] = spec(lease);
        });
        if is_there.is_err() {
            let lease = json!({"metadata": {"name": self.lock()}, "spec": spec(&Value::Null)});
            kube.create(Kind::Lease, NS, &lease);
        }
        self.wrote = Some(Instant::now());
    }

    fn release(&mut self, kube: &SimKube, clock: jiff::Timestamp) {
        self.put(kube, "", Some(1), clock);
        self.leader = None;
    }

    /// Another pod gets the label, in the way of this application. Says after how many milliseconds it
    /// has it.
    fn hand_over(&mut self, kube: &SimKube, pod: &PodFact, chance: &mut Chance) -> u64 {
        let gap_ms = chance.pick(&GAPS_MS);
        let mut bearers = self.members(kube);
        bearers.retain(|other| other.has_role() && other.uid != pod.uid);
        let (later, after_ms): (Vec<(PodFact, bool)>, u64) = match self.of.habit {
            Habit::SetsFirst => {
                give(kube, pod, true);
                (bearers.into_iter().map(|pod| (pod, false)).collect(), 0)
            }
            Habit::RemovesFirst => {
                for pod in &bearers {
                    give(kube, pod, false);
                }
                // Until the last of several has lost it, one of them may be the only one that has it.
                let is_one_move = bearers.len() < 2;
                let after_ms = if is_one_move { gap_ms } else { u64::MAX };
                (vec![(pod.clone(), true)], after_ms)
            }
            _ => {
                give(kube, pod, true);
                (Vec::new(), 0)
            }
        };
        let server = kube.clone();
        tokio::spawn(async move {
            sleep(Duration::from_millis(gap_ms)).await;
            for (pod, has) in &later {
                give(&server, pod, *has);
            }
        });
        self.leader = Some(pod.uid.clone());
        after_ms
    }

    pub(super) fn act(
        &mut self,
        kube: &SimKube,
        act: ElectorAct,
        chance: &mut Chance,
        clock: jiff::Timestamp,
    ) -> Option<Move> {
        let members = self.members(kube);
        let leader = members.iter().find(|pod| self.leads(pod));
        match act {
            ElectorAct::Move => return self.move_on(kube, &members, chance, clock),
            ElectorAct::Return => {
                let name = PODS
                    .into_iter()
                    .find(|name| leader.is_some_and(|pod| pod.name == *name));
                let ip = 10 + u8::try_from(chance.below(200)).unwrap_or_default();
                if let Some(name) = name {
                    Event::Recreate { name, ip }.happen(kube);
                }
            }
            ElectorAct::Arrive => arrive(kube, self.of.app, chance),
            ElectorAct::Drop if self.of.habit.has_lease() => {
                kube.delete(Kind::Lease, NS, &self.lock());
            }
            ElectorAct::Release if self.of.habit.has_lease() => self.release(kube, clock),
            ElectorAct::Stranger if self.of.habit.has_lease() => {
                let pod = chance.pick(&PODS);
                let holder = chance.pick(&["x_", "1", ""]);
                self.write(kube, &format!("{pod}{holder}x"), chance, clock);
                self.leader = None;
            }
            ElectorAct::Drop | ElectorAct::Release | ElectorAct::Stranger => {
                for pod in members.iter().filter(|pod| pod.has_role()) {
                    give(kube, pod, false);
                }
                self.leader = None;
            }
        }
        None
    }

    fn move_on(
        &mut self,
        kube: &SimKube,
        members: &[PodFact],
        chance: &mut Chance,
        clock: jiff::Timestamp,
    ) -> Option<Move> {
        let pod = self.candidate(members, chance)?;
        let after_ms = if self.of.habit.has_lease() {
            self.write(kube, &self.identity(&pod), chance, clock);
            self.leader = Some(pod.uid.clone());
            0
        } else {
            self.hand_over(kube, &pod, chance)
        };
        Some(Move {
            app: self.of.app,
            to: pod.uid,
            after_ms,
        })
    }
}

/// Sets the label on a pod, or removes it, if it is still that pod.
fn give(kube: &SimKube, pod: &PodFact, has: bool) {
    let now = kube
        .get(Kind::Pod, NS, &pod.name)
        .map(|now| PodFact::of(&now));
    if now.is_some_and(|now| now.uid == pod.uid && now.has_role() != has) {
        kube.label(Kind::Pod, NS, &pod.name, ROLE.0, has.then_some(ROLE.1));
    }
}

/// A pod comes that has the label already.
fn arrive(kube: &SimKube, app: &str, chance: &mut Chance) {
    let name = chance.pick(&PODS);
    kube.delete_pod(NS, name, 0);
    let ip = 10 + u8::try_from(chance.below(200)).unwrap_or_default();
    let node = chance.pick(&NODES);
    create_pod(kube, name, (app, true), node, (ip, false), true);
}
