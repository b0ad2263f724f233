//! The state machine of one source. Never awaits, logs, counts or reads a clock.
//!
//! ```text
//!                opted in                 a leader
//!  Unmanaged ───────────────► Electing ───────────► Serving ──┐ failover: one patch,
//!      ▲                       ▲   ▲  ◄───────────    │ ▲     │ never an empty moment
//!      │ all gone    opted in  │   │  nobody left     │ └─────┘
//!      └──────── Draining ─────┘   │                  │
//!                   ▲  ▲  leaving  │                  │
//!                   │  └───────────┘                  │
//!                   └─────────────────────────────────┘ leaving
//! ```
//!
//! A step is level-triggered: it looks at a snapshot of the facts, whatever happened in between,
//! and says what should exist. A lost, doubled or reordered event does no harm, and a restart
//! rebuilds the state from the cluster: the slice says who leads, the labels say what is ours.

mod intent;
mod notes;
mod report;

use std::sync::Arc;
use std::time::Duration;

pub use notes::{Note, Said, Topic};
pub use report::{Report, Switched};

use super::contract::{LAST_LEADER_POD_UID, LAST_SWITCH_TIME, LEADER_POD_UID, reason};
use super::desired::{self, Desired, Goal};
use super::elect::{self, Ballot, Hold, Incumbent, Reason, Rules, SHUN, Verdict};
use super::mirror::Mirror;
use super::model::{Labels, Service, Uid};
use super::settings::{Exposure, Settings};
use super::time::{Moment, Now};
use super::view::View;
use intent::Intent;

/// Where a source stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not opted in, refused, or gone; nothing of ours exists.
    #[default]
    Unmanaged,
    /// Opted in, and nobody can lead; the slices are empty.
    Electing,
    /// Exactly one leader is published.
    Serving(Serving),
    /// The source leaves: traffic is withdrawn, then the objects go.
    Draining,
}

/// A published leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Identity of the leader.
    pub uid: Uid,
    /// Name of the leader.
    pub pod: Arc<str>,
    /// Since when it leads, by our own clock.
    pub since: Moment,
    /// How it stands.
    pub hold: Hold,
}

impl Phase {
    /// The name of the state, as metrics and logs spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unmanaged => "Unmanaged",
            Self::Electing => "Electing",
            Self::Serving(_) => "Serving",
            Self::Draining => "Draining",
        }
    }

    /// Whether the machine may go straight from here to `next`. Staying is no edge.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        matches!(
            (self, next),
            (Self::Unmanaged | Self::Draining, Self::Electing)
                | (
                    Self::Electing | Self::Serving(_),
                    Self::Serving(_) | Self::Draining
                )
                | (Self::Serving(_), Self::Electing)
                | (Self::Draining, Self::Unmanaged)
        )
    }
}

/// The state of one source and what it remembers. Everything in it can be lost: a restart rebuilds
/// what matters from the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Where it stands.
    pub phase: Phase,
    /// The last valid settings.
    pub settings: Settings,
    /// The name it is served under.
    pub name: Option<Arc<str>>,
    /// Identity of the last leader, kept while there is none.
    pub last: Option<Uid>,
    /// Pods left for a disruption, and until when they are not returned to.
    pub shunned: Vec<(Uid, Moment)>,
    /// A switch that is decided and not yet seen in a slice.
    pub pending: Option<Switch>,
    /// When the leadership last changed hands, by the wall clock.
    pub switched: Option<jiff::Timestamp>,
    /// Cluster addresses of the leader Service, to be asked for again if it is deleted.
    pub cluster_ips: Vec<Arc<str>>,
    /// What users have been told.
    pub said: Said,
}

/// A change of leader on its way to the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// Name of the leader that is published until then.
    pub from: Option<Arc<str>>,
    /// Identity of that leader.
    pub from_uid: Option<Uid>,
    /// Why it was left; `None` for a first election or a recovery.
    pub reason: Option<Reason>,
    /// When the news that caused it arrived.
    pub at: Moment,
    /// When the pod itself changed, if a pod did.
    pub trigger: Option<jiff::Timestamp>,
}

/// What a step goes by beside the facts.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Which labels and annotations are mirrored.
    pub mirror: &'a Mirror,
    /// Whether the namespace has no room for a Service that is not served yet.
    pub is_over_limit: bool,
    /// What made us look.
    pub cause: Cause,
}

/// What made us look at a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// When the news arrived.
    pub at: Moment,
    /// When the pod changed, if the news is about a pod.
    pub pod_changed: Option<jiff::Timestamp>,
}

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The machine afterwards.
    pub machine: Machine,
    /// What should exist.
    pub goal: Goal,
    /// What users are to be told.
    pub notes: Vec<Note>,
    /// A switch that is now in the slices.
    pub switched: Option<Switched>,
    /// Figures for the metrics.
    pub report: Report,
    /// When to look again even if nothing happens.
    pub deadline: Option<Moment>,
}

impl Machine {
    /// Looks at the facts and moves on.
    pub fn step(mut self, view: &View, context: &Context<'_>, now: Now) -> Step {
        self.shunned.retain(|(_, until)| now.moment < *until);
        let mut report = Report::of(view);
        let (goal, deadline) = match intent::read(&mut self, view, context) {
            Intent::Serve { source, name } => match self.must_rebuild(view, &source, &name) {
                true => (self.leave(view), None),
                false => self.serve(view, context, now, &source, name, &mut report),
            },
            Intent::Leave | Intent::Refuse => (self.leave(view), None),
            Intent::Orphan => {
                self.reset();
                (Goal::Untouched, None)
            }
        };
        self.tell_what_is_stuck(view, &goal);
        let switched = self.confirm(view, &goal, now);
        report.state = self.phase.name();
        Step {
            notes: self.said.take(),
            machine: self,
            goal,
            switched,
            report,
            deadline,
        }
    }

    /// The leader, if there is one.
    #[must_use]
    pub fn leader(&self) -> Option<&Serving> {
        match &self.phase {
            Phase::Serving(serving) => Some(serving),
            Phase::Unmanaged | Phase::Electing | Phase::Draining => None,
        }
    }

    fn enter(&mut self, next: Phase) {
        debug_assert!(
            self.phase.may_become(&next),
            "illegal edge from {} to {}",
            self.phase.name(),
            next.name()
        );
        self.phase = next;
    }

    /// Forgets everything but what users were told.
    fn reset(&mut self) {
        let said = std::mem::take(&mut self.said);
        *self = Self {
            said,
            ..Self::default()
        };
    }

    /// The source leaves, or what is published has to be taken down before it can be made anew.
    fn leave(&mut self, view: &View) -> Goal {
        let nothing_is_left = view.own_services().is_empty() && view.own_slices().is_empty();
        if nothing_is_left {
            // Nothing of ours exists, whatever was planned: that is what Unmanaged means.
            let settings = self.settings.clone();
            self.reset();
            self.settings = settings;
            return Goal::Untouched;
        }
        if self.phase == Phase::Unmanaged {
            self.enter(Phase::Electing);
        }
        if self.phase != Phase::Draining {
            self.enter(Phase::Draining);
        }
        self.pending = None;
        Goal::Withdraw
    }

    /// Whether the leader Service stands under the right name and yet has to be deleted first: the
    /// cluster address is immutable, so is the primary family, and the slices that a selector made
    /// go only with the Service that had it.
    fn must_rebuild(&self, view: &View, source: &Service, name: &str) -> bool {
        let Some(service) = view
            .service(name)
            .filter(|service| view.owns_service(service))
        else {
            return false;
        };
        if service.metadata.deletion_timestamp.is_some() && self.phase != Phase::Draining {
            return false;
        }
        let has_selector = !service.spec.selector.is_empty();
        let was_born = view
            .strangers
            .iter()
            .any(|stranger| stranger.was_born_of(service));
        service.is_headless() != (self.settings.exposure == Exposure::Headless)
            || service.families().first() != source.families().first()
            || (was_born && !has_selector)
    }

    fn serve(
        &mut self,
        view: &View,
        context: &Context<'_>,
        now: Now,
        source: &Arc<Service>,
        name: Arc<str>,
        report: &mut Report,
    ) -> (Goal, Option<Moment>) {
        let published = match self.phase {
            Phase::Unmanaged | Phase::Draining => {
                self.enter(Phase::Electing);
                self.adopt(view, &name, now)
            }
            Phase::Electing | Phase::Serving(_) => None,
        };
        if let Some(service) = view.service(&name).filter(|service| !service.is_headless()) {
            self.cluster_ips.clone_from(&service.spec.cluster_ips);
        }
        let settings = self.settings.clone();
        let families = source.families();
        let rules = Rules {
            family: families[0],
            ports: &source.spec.ports,
            sticky: settings.sticky,
            strategy: settings.strategy,
            min_ready: settings.min_ready,
            failover_delay: settings.failover_delay,
            service: &source.metadata.uid,
        };
        let incumbent = self.leader().map(|leader| leader.uid.clone()).or(published);
        let ballot = Ballot {
            pods: &view.pods,
            incumbent: incumbent.as_ref().map(|uid| Incumbent {
                uid,
                pod: view.pod(uid),
            }),
            last: self.last.as_ref(),
            shunned: &self.shunned,
        };
        let verdict = elect::elect(&rules, &ballot, now.moment);
        report.elected(&rules, &verdict, incumbent.is_some());
        let deadline = verdict.deadline;
        self.apply(&verdict, incumbent, context.cause, now);
        self.explain(view, &rules, &verdict, &name);
        self.name = Some(Arc::clone(&name));
        let desired = self.desired(view, context.mirror, source, name, verdict, families);
        (Goal::Serve(Box::new(desired)), deadline)
    }

    /// Finds out who leads according to the cluster: the slice says it. Restores what the leader
    /// Service remembers for us.
    fn adopt(&mut self, view: &View, name: &str, now: Now) -> Option<Uid> {
        let slices = view.own_slices();
        let named = slices
            .iter()
            .find(|slice| &*slice.metadata.name == name && slice.leader().is_some());
        let leader = named.or_else(|| slices.iter().find(|slice| slice.leader().is_some()));
        let leader = leader.and_then(|slice| slice.leader()).cloned();
        let remembered: Labels = view
            .own_services()
            .first()
            .map(|service| service.metadata.annotations.clone())
            .unwrap_or_default();
        let switched = remembered
            .get(LAST_SWITCH_TIME)
            .and_then(|text| text.parse().ok());
        self.last = self
            .last
            .take()
            .or_else(|| remembered.get(LAST_LEADER_POD_UID).map(Uid::from));
        self.switched = switched;
        let leader = leader?;
        let is_recorded = remembered.get(LEADER_POD_UID) == Some(&*leader.uid.0);
        let since = switched
            .filter(|_| is_recorded)
            .map_or(now.moment, |at| now.moment_of(at));
        if !is_recorded {
            // The crash came between the slice and the annotations.
            self.switched = Some(now.wall);
        }
        self.last = Some(leader.uid.clone());
        self.enter(Phase::Serving(Serving {
            uid: leader.uid.clone(),
            pod: Arc::clone(&leader.name),
            since,
            hold: Hold::Firm,
        }));
        Some(leader.uid)
    }

    /// Takes the verdict into the state, and remembers a switch until a slice shows it.
    fn apply(&mut self, verdict: &Verdict, incumbent: Option<Uid>, cause: Cause, now: Now) {
        let from = self.leader().map(|leader| Arc::clone(&leader.pod));
        let next = verdict.leader.as_ref().map(|pod| (&pod.uid, &pod.name));
        let stays = next.map(|(uid, _)| uid) == incumbent.as_ref();
        if !stays {
            // A switch that was never published is not told: what counts is who is published.
            let before = self.pending.take();
            let (from, from_uid) = before.map_or((from, incumbent.clone()), |before| {
                (before.from, before.from_uid)
            });
            if from_uid.as_ref() != next.map(|(uid, _)| uid) {
                let reason = verdict.left.filter(|_| from_uid.is_some());
                self.pending = Some(Switch {
                    from,
                    from_uid,
                    reason,
                    at: cause.at,
                    trigger: cause.pod_changed,
                });
            }
            self.switched = Some(now.wall);
        }
        if verdict.left == Some(Reason::Disrupted) {
            self.shunned
                .extend(incumbent.map(|uid| (uid, now.moment + SHUN)));
        }
        match next {
            Some((uid, pod)) => {
                self.last = Some(uid.clone());
                let since = self
                    .leader()
                    .filter(|_| stays)
                    .map_or(now.moment, |leader| leader.since);
                let serving = Serving {
                    uid: uid.clone(),
                    pod: Arc::clone(pod),
                    since,
                    hold: verdict.hold,
                };
                self.enter(Phase::Serving(serving));
            }
            None if self.phase != Phase::Electing => self.enter(Phase::Electing),
            None => {}
        }
    }

    /// Says why nobody leads, or which ports the leader lacks.
    fn explain(&mut self, view: &View, rules: &Rules<'_>, verdict: &Verdict, name: &str) {
        let Some(leader) = &verdict.leader else {
            self.said.forget(Topic::Ports);
            let (event, text) = report::why_nobody_leads(view, rules, name);
            if verdict.left.is_some() {
                // The event of the failover says it.
                self.said.imply(Topic::NoLeader, text);
            } else {
                self.said.set(Topic::NoLeader, Some(text), |text| {
                    Note::warning(event, text)
                });
            }
            return;
        };
        self.said.forget(Topic::NoLeader);
        let missing = elect::resolve(rules.ports, leader).1;
        let texts = missing
            .iter()
            .map(|at| report::unresolved(&rules.ports[*at], leader))
            .collect();
        self.said.set_all(Topic::Ports, texts, |text| {
            Note::warning(reason::PORT_RESOLUTION_FAILED, text)
        });
    }

    fn desired(
        &mut self,
        view: &View,
        mirror: &Mirror,
        source: &Service,
        name: Arc<str>,
        verdict: Verdict,
        families: Vec<super::model::Family>,
    ) -> Desired {
        let exposure = self.settings.exposure;
        let meta = &source.metadata;
        let is_balanced = exposure == Exposure::LoadBalancer;
        let lent = mirror.annotations(&meta.annotations);
        let asked = self.settings.leader_annotations.entries().iter().cloned();
        // What is asked for by name wins over what merely happens to be there.
        let annotations = lent.entries().iter().cloned().chain(asked).collect();
        let (annotations, dropped) = desired::within_limit(annotations);
        let text = (!dropped.is_empty()).then(|| {
            format!(
                "Annotations would exceed 256 KiB on Service {name}; left out: {}",
                dropped.join(", ")
            )
        });
        self.said.set(Topic::Oversize, text, |text| {
            Note::warning(reason::INVALID_ANNOTATION, text)
        });
        self.tell_of_strangers(view, &name);
        Desired {
            source: view.key.clone(),
            source_uid: meta.uid.clone(),
            exposure,
            ports: source
                .spec
                .ports
                .iter()
                .cloned()
                .map(|port| super::model::Port {
                    node_port: None,
                    ..port
                })
                .collect(),
            families,
            family_policy: source.spec.ip_family_policy.clone(),
            source_ranges: if is_balanced {
                source.spec.load_balancer_source_ranges.clone()
            } else {
                Vec::new()
            },
            load_balancer_class: source
                .spec
                .load_balancer_class
                .clone()
                .filter(|_| is_balanced),
            labels: mirror.labels(&meta.labels),
            annotations,
            source_labels: meta.labels.clone(),
            source_annotations: meta.annotations.clone(),
            cluster_ips: if exposure == Exposure::Headless {
                Vec::new()
            } else {
                self.cluster_ips.clone()
            },
            leader: verdict.leader.map(|pod| desired::Leader {
                ports: elect::resolve(&source.spec.ports, &pod).0,
                uid: pod.uid.clone(),
                name: Arc::clone(&pod.name),
                node: pod.node.clone(),
                ips: pod.ips,
                terminating: pod.terminating,
            }),
            last_leader: self.last.clone(),
            switched: self.switched,
            trigger: self.pending.as_ref().and_then(|switch| switch.trigger),
            name,
        }
    }

    fn tell_of_strangers(&mut self, view: &View, name: &str) {
        let texts = view
            .strangers
            .iter()
            .filter(|stranger| &*stranger.service == name)
            .map(|stranger| {
                format!(
                    "EndpointSlice {} of {} is attached to Service {name} as well and may add endpoints; \
                     it is not ours and is left alone",
                    stranger.name, stranger.manager
                )
            })
            .collect();
        self.said.set_all(Topic::Strangers, texts, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
    }

    /// Objects of ours that are being deleted block their name until their finalizers are done.
    fn tell_what_is_stuck(&mut self, view: &View, goal: &Goal) {
        if *goal == Goal::Untouched {
            return self.said.forget(Topic::Stuck);
        }
        let services = view
            .own_services()
            .into_iter()
            .map(|service| ("Service", &service.metadata));
        let slices = view
            .own_slices()
            .into_iter()
            .map(|slice| ("EndpointSlice", &slice.metadata));
        let texts = services
            .chain(slices)
            .filter(|(_, meta)| meta.deletion_timestamp.is_some() && !meta.finalizers.is_empty())
            .map(|(kind, meta)| {
                format!(
                    "{kind} {} is being deleted and waits for its finalizers: {}",
                    meta.name,
                    meta.finalizers.join(", ")
                )
            })
            .collect();
        self.said.set_all(Topic::Stuck, texts, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
    }

    /// Reports a pending switch once a slice of ours shows it.
    fn confirm(&mut self, view: &View, goal: &Goal, now: Now) -> Option<Switched> {
        let Goal::Serve(desired) = goal else {
            return None;
        };
        let pending = self.pending.as_ref()?;
        let to = self.leader().map(|leader| (&leader.uid, &leader.pod));
        let slices = view.own_slices();
        let shows = |slice: &super::model::Slice| {
            slice.leader().map(|leader| &leader.uid) == to.map(|(uid, _)| uid)
        };
        let primary = super::model::AddressType::from(desired.families[0]);
        let is_published = slices.iter().any(|slice| {
            slice.address_type == primary
                && view
                    .slice_names(&desired.name)
                    .contains(&slice.metadata.name)
                && shows(slice)
        });
        if !is_published {
            return None;
        }
        let took: Duration = now.moment.since(pending.at);
        let switched = Switched {
            from: pending.from.clone(),
            to: to.map(|(_, pod)| Arc::clone(pod)),
            reason: pending.reason,
            took,
        };
        let why = switched.reason.map_or("", Reason::as_str);
        if switched.from.is_some() || switched.to.is_some() {
            let note = notes::announce(
                switched.from.as_deref(),
                switched.to.as_deref(),
                why,
                took,
                &desired.name,
            );
            self.said.say(note);
        }
        self.pending = None;
        Some(switched)
    }
}
