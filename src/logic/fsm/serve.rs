//! A source that is served: finds its leader in the slices, holds the election, and says what should
//! exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::incumbent::Records;
use super::report::{Report, Switched};
use super::{Context, Machine, Phase};
use crate::logic::desired::{Goal, Record};
use crate::logic::elect::{self, Ballot, COOLDOWN, Candidate, Hold, Reason, Rules, Verdict};
use crate::logic::follow::{self, Claim};
use crate::logic::handover::CompletedSwitchover;
use crate::logic::model::{Pod, Service, Uid};
use crate::logic::nodes::Nodes;
use crate::logic::record;
use crate::logic::settings::Settings;
use crate::logic::snapshot::Snapshot;
use crate::logic::time::{Moment, Now};
use crate::logic::well_known::AVOIDED_NODES;
use crate::mutations::{self, Mutation};

impl Machine {
    pub(super) fn serve(
        &mut self,
        snapshot: &Snapshot,
        context: &Context<'_>,
        now: Now,
        source: &Arc<Service>,
        name: Arc<str>,
        report: &mut Report,
    ) -> Served {
        let is_first = matches!(self.phase, Phase::Unmanaged | Phase::Draining);
        if is_first {
            self.enter(Phase::Electing);
        }
        let families = source.families();
        let records = Records::of(snapshot, &name, families[0].into());
        self.recall(&records, is_first, context.writes, now);
        let asked = self.asked();
        self.forgive(snapshot, context.nodes, asked.awaited.as_ref());
        // Taken out for as long as the rules borrow them: a copy would cost every step its labels.
        let settings = std::mem::take(&mut self.settings);
        let follow = settings.follow.as_ref();
        let follow = follow.filter(|_| !mutations::is(Mutation::ElectionWhileFollowing));
        let claim = follow.map(|follow| follow::claim(follow, snapshot, now.moment));
        let rules = rules(&settings, source, context, &asked, claim.as_ref());
        let incumbent = self.incumbent(snapshot, &records, &rules, now.moment);
        let before = self.leader().cloned();
        self.observe(&records, incumbent.as_ref(), context.writes, now);
        let switched = self.settle(&records, incumbent.as_ref(), before.as_ref(), now);

        let led = incumbent.as_ref().map(|incumbent| &incumbent.uid);
        let verdict = match &claim {
            None => {
                self.following = None;
                elect::elect(&rules, &self.ballot(snapshot, led), now.moment)
            }
            Some(claim) => self.follow(snapshot, &records, &rules, claim, led, now.moment),
        };
        report.elected(snapshot, &rules, &verdict, incumbent.is_some());
        let chosen = self.choose_followers(snapshot, &rules, &verdict, led, report);
        self.attempt(&verdict, incumbent.as_ref(), context.cause);
        self.judge(&verdict, led, now);
        self.tell(snapshot, &rules, &verdict, &name, switched.as_ref());
        self.tell_of_claim(&rules, &verdict, now.moment);
        let named_by = named_by(&rules, &records, &verdict, led);
        self.settings = settings;

        let record = self.record(snapshot, context.nodes, &name, now);
        let mut deadline = verdict.deadline;
        let mut desired = self.desired(snapshot, context.mirror, source, name, verdict, families);
        desired.record = record;
        desired.named_by = named_by;
        let service = snapshot
            .own_service(&desired.name)
            .map(|service| &**service);
        let class = desired.load_balancer_class.as_ref();
        let patience = self.tell_of_balancer(source, service, class, now.moment);
        deadline = deadline.into_iter().chain(patience).min();
        let followers = self.followers_goal(snapshot, context.mirror, &desired, chosen);
        Served {
            goal: Goal::Serve(Box::new(desired)),
            followers,
            deadline,
            switched,
        }
    }

    /// Every pod of a source that is served, as an election held now would see it. The machine has
    /// taken its step.
    #[must_use]
    pub fn assess_candidates(
        &self,
        snapshot: &Snapshot,
        context: &Context<'_>,
        now: Now,
    ) -> Vec<Candidate> {
        let Some(source) = &snapshot.source else {
            return Vec::new();
        };
        let asked = self.asked();
        let follow = self.settings.follow.as_ref();
        let claim = follow.map(|follow| follow::claim(follow, snapshot, now.moment));
        let rules = rules(&self.settings, source, context, &asked, claim.as_ref());
        let incumbent = self.leader().map(|leader| &leader.uid);
        elect::assess_candidates(&rules, &self.ballot(snapshot, incumbent), now.moment)
    }

    pub(super) fn ballot<'b>(
        &'b self,
        snapshot: &'b Snapshot,
        incumbent: Option<&'b Uid>,
    ) -> Ballot<'b> {
        Ballot {
            pods: &snapshot.pods,
            incumbent: incumbent.map(|uid| elect::Incumbent {
                uid,
                pod: snapshot.pod(uid),
            }),
            last: self.last.as_ref(),
            shunned: &self.shunned,
        }
    }

    fn asked(&self) -> Asked {
        Asked {
            awaited: self.awaited().cloned(),
            handed: self.handled.as_ref().map(|handled| handled.uid.clone()),
        }
    }

    /// Takes from the verdict how the published leader stands, and what is to be remembered of one that
    /// is left for a disruption.
    fn judge(&mut self, verdict: &Verdict, incumbent: Option<&Uid>, now: Now) {
        if verdict.left == Some(Reason::Disrupted)
            && let Some(uid) = incumbent
            && !self.shunned.iter().any(|(shunned, _)| shunned == uid)
        {
            self.shunned.push((uid.clone(), now.moment + COOLDOWN));
        }
        let kept = verdict.leader.as_ref().map(|pod| &pod.uid);
        if let Phase::Serving(serving) = &mut self.phase
            && kept == Some(&serving.uid)
        {
            serving.hold = verdict.hold;
        }
    }

    /// Tells users of a change that the slices show, and of what stands in the way. The one Warning about
    /// an outage says both, so that its reason is what is true by then.
    fn tell(
        &mut self,
        snapshot: &Snapshot,
        rules: &Rules<'_>,
        verdict: &Verdict,
        name: &str,
        switched: Option<&Switched>,
    ) {
        let is_lost = switched.is_some_and(|switched| switched.to.is_none());
        if is_lost && verdict.leader.is_none() {
            self.explain(snapshot, rules, verdict, name, true);
        }
        if let Some(switched) = switched {
            self.announce(switched, name);
        }
        if !(is_lost && verdict.leader.is_none()) {
            self.explain(snapshot, rules, verdict, name, false);
        }
    }

    /// A request for a pod ends the time for which it is not returned to, unless it is about to go
    /// now.
    fn forgive(&mut self, snapshot: &Snapshot, nodes: &Nodes, asked: Option<&Arc<str>>) {
        let Some(asked) = asked.filter(|_| !self.shunned.is_empty()) else {
            return;
        };
        let goes = |pod: &Pod| pod.disrupted || nodes.leaves(pod.node.as_ref());
        let is_asked = |pod: &&Arc<Pod>| pod.name == *asked && !goes(pod);
        if let Some(pod) = snapshot.pods.iter().find(is_asked) {
            self.shunned.retain(|(uid, _)| *uid != pod.uid);
        }
    }

    /// What the leader Service has to say of pods and nodes.
    fn record(&self, snapshot: &Snapshot, nodes: &Nodes, name: &str, now: Now) -> Record {
        let service = snapshot.service(name);
        let recorded = service.and_then(|service| service.metadata.annotations.get(AVOIDED_NODES));
        let avoided_nodes = record::avoided(nodes, &snapshot.pods, now);
        Record {
            is_outdated: record::is_outdated(recorded, &avoided_nodes, &snapshot.pods),
            cooling_down: record::cooling_down(&self.shunned, &snapshot.pods, now),
            avoided_nodes,
        }
    }

    /// The pod that has been asked for and has not led yet.
    fn awaited(&self) -> Option<&Arc<str>> {
        let asked = self.settings.preferred.as_ref()?;
        let is_done = |handled: &CompletedSwitchover| handled.pod == *asked;
        let again = mutations::is(Mutation::SwitchoverRepeated);
        (again || !self.handled.as_ref().is_some_and(is_done)).then_some(asked)
    }

    /// The switchover on request that has been carried out once the desired leader is published. Written
    /// in the same patch as the endpoint.
    pub(super) fn handed_over(&self, verdict: &Verdict) -> Option<CompletedSwitchover> {
        let leader = verdict.leader.as_ref();
        let preferred = self.settings.preferred.as_deref();
        let arrived = leader
            .filter(|leader| verdict.hold == Hold::Firm && self.awaited() == Some(&leader.name));
        if let Some(leader) = arrived {
            return Some(CompletedSwitchover {
                pod: Arc::clone(&leader.name),
                uid: leader.uid.clone(),
            });
        }
        let uid = leader.map(|leader| &leader.uid);
        let stands = |handled: &&CompletedSwitchover| handled.stands(preferred, uid);
        self.handled.as_ref().filter(stands).cloned()
    }
}

/// The outcome of a step for a source that is served.
pub(super) struct Served {
    /// For the leader.
    pub(super) goal: Goal,
    /// For the followers.
    pub(super) followers: Goal,
    /// When to look again even if nothing happens.
    pub(super) deadline: Option<Moment>,
    /// A change of leader that the slices show.
    pub(super) switched: Option<Switched>,
}

impl Served {
    /// The outcome of a step without an election.
    pub(super) fn of(goal: Goal, followers: Goal) -> Self {
        Self {
            goal,
            followers,
            deadline: None,
            switched: None,
        }
    }
}

/// What was asked for by name. A copy, since the machine changes while the rules are in use.
struct Asked {
    /// A pod that has not led yet.
    awaited: Option<Arc<str>>,
    /// The pod that was handed over to.
    handed: Option<Uid>,
}

/// What is known of nodes where they do not count.
static NO_NODES: Nodes = Nodes {
    leaving: BTreeSet::new(),
    down: BTreeMap::new(),
};

/// What an election of this source goes by.
fn rules<'a>(
    settings: &Settings,
    source: &'a Service,
    context: &Context<'a>,
    asked: &'a Asked,
    claim: Option<&'a Claim<'a>>,
) -> Rules<'a> {
    Rules {
        family: source.families()[0],
        ports: &source.spec.ports,
        sticky: settings.sticky,
        strategy: settings.strategy,
        min_ready: settings.min_ready,
        failover_delay: settings.failover_delay(),
        service: &source.metadata.uid,
        others: context.others,
        preferred: asked.awaited.as_deref(),
        handed: asked.handed.as_ref(),
        paused: settings.paused,
        spent: context.spent,
        // The application knows better than a node's Lease whether its leader works.
        nodes: match claim {
            None => context.nodes,
            Some(_) => &NO_NODES,
        },
        claim,
    }
}

/// The value of `follow` by which the desired leader is published. One that stays keeps its record, so
/// that neither adding nor removing the annotation writes anything.
fn named_by(
    rules: &Rules<'_>,
    records: &Records<'_>,
    verdict: &Verdict,
    led: Option<&Uid>,
) -> Option<Arc<str>> {
    let leader = verdict.leader.as_ref()?;
    if led == Some(&leader.uid) {
        return records.named_by().cloned();
    }
    let claim = rules.claim?;
    Some(claim.follow.to_string().into())
}
