//! The followers Service of a source: its name, the pods that it shows, and what users are told of it.
//!
//! The leader's slice is written first. So the pod that is to lead stays among the followers until a slice
//! shows it as leader, and the pod that is to be left joins them only then.

use std::sync::Arc;

use super::announced::Topic;
use super::desired::{fitting, shown_ports};
use super::rebuild::is_of_another_kind;
use super::report::{Report, lacks, port_name};
use super::{Context, Machine, Released, release_others};
use crate::logic::desired::{self, Desired, Followers, Goal, Record};
use crate::logic::elect::{self, Rules, Verdict};
use crate::logic::event::Note;
use crate::logic::followers::{self, FOLLOWERS_MAX, Selection};
use crate::logic::mirror::Mirror;
use crate::logic::model::{AddressType, Labels, Pod, Service, Slice, Uid};
use crate::logic::settings::{self, LeaderServiceType};
use crate::logic::snapshot::{Role, Snapshot};
use crate::logic::time::Moment;
use crate::logic::well_known::{SERVICE_NAME, reason};
use crate::mutations::{self, Mutation};

/// What a machine remembers of the followers Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// The name that it is served under; none if there is not to be one.
    pub name: Option<Arc<str>>,
    /// Its cluster addresses, to be asked for again if it is deleted.
    pub cluster_ips: Vec<Arc<str>>,
}

/// The followers to publish, before it is known whether their Service can stay.
pub(super) struct Chosen(Option<Selection>);

impl Machine {
    /// Reads which name the followers Service is to have, and what it is known by. `leader` is the name of
    /// the leader Service.
    pub(super) fn post(
        &mut self,
        snapshot: &Snapshot,
        source: &Service,
        leader: &str,
        context: &Context<'_>,
        released: &mut Vec<Released>,
        now: Moment,
    ) {
        let Some(name) = self.followers_name(snapshot, source, leader) else {
            // What is left is for `followers` to withdraw.
            return self.release_followers(snapshot, released);
        };
        release_others(snapshot.own(Role::Followers).services(), &name, released);
        if self.followers.name.as_ref() != Some(&name) {
            self.followers.cluster_ips.clear();
            let old = self.followers.name.replace(Arc::clone(&name));
            if let Some(old) = old {
                self.remember_name(&old);
            }
        }
        let service = snapshot.own(Role::Followers).service(&name);
        let service = service.filter(|service| !service.is_headless());
        let known = &mut self.followers.cluster_ips;
        if let Some(service) = service.filter(|service| !service.spec.cluster_ips.is_empty()) {
            known.clone_from(&service.spec.cluster_ips);
        } else if known.is_empty() && snapshot.service(&name).is_none() {
            let key = snapshot.key.sibling(name);
            *known = context.addresses.of(&key, &snapshot.key.name, now).to_vec();
        }
    }

    /// There is to be no followers Service: its cluster addresses are kept for ten minutes.
    pub(super) fn release_followers(&mut self, snapshot: &Snapshot, released: &mut Vec<Released>) {
        let Post { name, cluster_ips } = std::mem::take(&mut self.followers);
        if let Some(name) = name {
            self.remember_name(&name);
            if !cluster_ips.is_empty() {
                released.push((name, cluster_ips));
            }
        }
        release_others(snapshot.own(Role::Followers).services(), "", released);
    }

    /// The name to serve followers under: the one asked for, unless it is invalid or taken; then the one
    /// that they are served under already, if any.
    fn followers_name(
        &mut self,
        snapshot: &Snapshot,
        source: &Service,
        leader: &str,
    ) -> Option<Arc<str>> {
        let own = snapshot.own(Role::Followers);
        let mut conflict = None;
        let asked = settings::followers_name(source).and_then(|asked| {
            let name = asked.as_deref().unwrap_or_default();
            if name == leader || snapshot.own_service(name).is_some() {
                return Err(format!(
                    "{name} is the leader Service of {}; the followers Service needs another name, by \
                     zen-lead.io/followers-service-name",
                    snapshot.key.name
                ));
            }
            Ok(asked)
        });
        let name = match asked {
            Ok(None) => None,
            Ok(Some(name)) => {
                let is_stranger = own.service(&name).is_none();
                if snapshot.service(&name).is_some() && is_stranger {
                    conflict = Some(format!(
                        "Service {name} exists and is not the followers Service of {}; it is left alone. \
                         Remove it, or choose another name by zen-lead.io/followers-service-name",
                        snapshot.key.name
                    ));
                } else if let Some(other) = snapshot.name_holder(&name).filter(|_| is_stranger) {
                    conflict = Some(format!(
                        "Service {name} belongs to {other}; choose another name by \
                         zen-lead.io/followers-service-name"
                    ));
                }
                match conflict {
                    Some(_) => self.current_followers(snapshot),
                    None => Some(name),
                }
            }
            Err(why) => {
                let name = self.current_followers(snapshot);
                self.said.set(Topic::FollowersName, Some(why), |text| {
                    Note::warning(reason::INVALID_LEADER_SERVICE_NAME, text)
                });
                self.said.forget(Topic::FollowersConflict);
                return name;
            }
        };
        self.said.forget(Topic::FollowersName);
        self.said.set(Topic::FollowersConflict, conflict, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
        name
    }

    /// The name under which followers are served already: the one the machine knows, though a user may
    /// have deleted that Service meanwhile; after a restart one that exists.
    fn current_followers(&self, snapshot: &Snapshot) -> Option<Arc<str>> {
        let own = snapshot.own(Role::Followers);
        let is_ours = |name: &str| own.service(name).is_some() || snapshot.service(name).is_none();
        let known = self.followers.name.as_ref().filter(|name| is_ours(name));
        known.cloned().or_else(|| {
            let services = own.services().iter();
            let best = services.min_by_key(|service| service.metadata.deletion_timestamp.is_some());
            best.map(|service| Arc::clone(&service.metadata.name))
        })
    }

    /// Chooses the followers: every eligible pod but the leader that the slices show, and but the one
    /// that is to lead, unless it is still shown as a follower.
    pub(super) fn choose_followers(
        &mut self,
        snapshot: &Snapshot,
        rules: &Rules<'_>,
        verdict: &Verdict,
        shown: Option<&Uid>,
        report: &mut Report,
    ) -> Chosen {
        let Some(name) = self.followers.name.clone() else {
            for topic in [Topic::FollowersPorts, Topic::FollowersCount] {
                self.said.forget(topic);
            }
            return Chosen(None);
        };
        let own = snapshot.own(Role::Followers);
        let slices = || own.slices().iter();
        let is_followed = |uid: &Uid| {
            let endpoints = slices().flat_map(|slice| &slice.endpoints);
            let mut targets = endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref());
            targets.any(|target| target.uid == *uid)
        };
        let next = verdict.leader.as_ref().map(|pod| &pod.uid);
        let is_ahead = mutations::is(Mutation::FollowersFirst);
        let next = next.filter(|uid| Some(*uid) == shown || !is_followed(uid) || is_ahead);
        let shown = shown.filter(|_| !is_ahead);
        let may_follow = |pod: &&Arc<Pod>| {
            let leads = [shown, next].contains(&Some(&pod.uid))
                && !mutations::is(Mutation::LeaderAmongFollowers);
            !leads && elect::may_follow(rules, pod)
        };
        let eligible = snapshot.pods.iter().filter(may_follow).cloned().collect();
        let choice = followers::choose(eligible, |pod| shown_ports(own, rules.ports, pod));
        let is_primary = |slice: &&Arc<Slice>| {
            slice.address_type == AddressType::from(rules.family)
                && slice.metadata.labels.get(SERVICE_NAME) == Some(&name)
        };
        let published = slices()
            .filter(is_primary)
            .map(|slice| slice.endpoints.len());
        report.followers = Some(published.sum());
        self.tell_of_followers(snapshot, rules, &choice, &name, report);
        Chosen(Some(choice))
    }

    fn tell_of_followers(
        &mut self,
        snapshot: &Snapshot,
        rules: &Rules<'_>,
        choice: &Selection,
        name: &str,
        report: &mut Report,
    ) {
        let odd = choice.odd.iter().map(|odd| {
            let (port, pod) = (&odd.port.0, &odd.pod.name);
            let text = format!(
                "Pod {pod} is left out of Service {name}: it has {} for port {port}, and most followers \
                 have {}; all endpoints of a slice share its ports",
                odd.number, odd.usual
            );
            (Arc::clone(port), text)
        });
        let partial = choice.partial.iter().filter_map(|((port, protocol), pod)| {
            let is_it = |known: &&crate::logic::model::Port| {
                known.name.as_deref().unwrap_or_default() == &**port && known.protocol == *protocol
            };
            let known = rules.ports.iter().find(is_it)?;
            let text = format!(
                "Port {} is left out of Service {name}: {}",
                port_name(known),
                lacks(known, pod)
            );
            Some((port_name(known), text))
        });
        let told: Vec<(Arc<str>, String)> = odd.chain(partial).collect();
        let texts = told.iter().map(|(_, text)| text.clone()).collect();
        self.said.set_all(Topic::FollowersPorts, texts, |text| {
            let port = told.iter().find(|(_, known)| *known == text);
            report
                .follower_ports
                .extend(port.map(|(port, _)| Arc::clone(port)));
            Note::warning(reason::PORT_RESOLUTION_FAILED, text)
        });
        let text = (choice.fitting > FOLLOWERS_MAX).then(|| {
            format!(
                "Service {name} has {} followers of {}, and an EndpointSlice holds {FOLLOWERS_MAX}: the \
                 others are left out, in the order of their names",
                choice.fitting, snapshot.key.name
            )
        });
        self.said.set(Topic::FollowersCount, text, |text| {
            Note::warning(reason::INVALID_SERVICE, text)
        });
    }

    /// What should become of the followers Service, given the leader Service as it should be.
    pub(super) fn followers_goal(
        &self,
        snapshot: &Snapshot,
        mirror: &Mirror,
        leader: &Desired,
        chosen: Chosen,
    ) -> Goal {
        let (Some(name), Chosen(Some(choice))) = (&self.followers.name, chosen) else {
            return without_followers(snapshot);
        };
        if self.must_rebuild_followers(snapshot) {
            return Goal::Withdraw;
        }
        let desired = self.desired_followers(snapshot, mirror, leader, name, choice.followers);
        Goal::Serve(Box::new(desired))
    }

    /// What should become of it while the leader Service is taken down to be made again.
    pub(super) fn followers_meanwhile(&self, snapshot: &Snapshot) -> Goal {
        if self.followers.name.is_none() || self.must_rebuild_followers(snapshot) {
            without_followers(snapshot)
        } else {
            Goal::Untouched
        }
    }

    fn must_rebuild_followers(&self, snapshot: &Snapshot) -> bool {
        let name = self.followers.name.as_deref().unwrap_or_default();
        let service = snapshot.own(Role::Followers).service(name);
        let (Some(service), Some(source)) = (service, &snapshot.source) else {
            return false;
        };
        is_of_another_kind(snapshot, source, service, self.settings.exposure)
    }

    fn desired_followers(
        &self,
        snapshot: &Snapshot,
        mirror: &Mirror,
        leader: &Desired,
        name: &Arc<str>,
        followers: Followers,
    ) -> Desired {
        let exposure = match leader.exposure {
            LeaderServiceType::Headless => LeaderServiceType::Headless,
            LeaderServiceType::ClusterIP
            | LeaderServiceType::NodePort
            | LeaderServiceType::LoadBalancer => LeaderServiceType::ClusterIP,
        };
        let lent = mirror.annotations(&leader.source_annotations);
        let labels = leader.labels.iter().map(|(key, _)| key);
        let service = snapshot.own(Role::Followers).service(name);
        let foreign = service.map_or(0, |service| foreign(service, &lent));
        let (annotations, _) = desired::within_limit(&lent, &Labels::default(), labels, foreign);
        Desired {
            name: Arc::clone(name),
            exposure,
            source_ranges: Vec::new(),
            is_range_lent: false,
            is_source_balanced: false,
            load_balancer_class: None,
            asked_labels: Labels::default(),
            annotations,
            asked_annotations: Labels::default(),
            cluster_ips: match exposure {
                LeaderServiceType::Headless => Vec::new(),
                _ => fitting(&self.followers.cluster_ips, &leader.families),
            },
            followers: Some(followers),
            leader: None,
            last_leader: None,
            handled: None,
            switched: None,
            record: Record::default(),
            trigger: None,
            ..leader.clone()
        }
    }
}

/// The room that a user's annotations take on our Service.
fn foreign(service: &Service, lent: &Labels) -> usize {
    let annotations = service.metadata.annotations.iter();
    annotations
        .filter(|(key, _)| lent.get(key).is_none())
        .map(|(key, value)| key.len() + value.len())
        .sum()
}

/// There is to be no followers Service.
pub(super) fn without_followers(snapshot: &Snapshot) -> Goal {
    if snapshot.own(Role::Followers).is_empty() {
        Goal::Untouched
    } else {
        Goal::Withdraw
    }
}
