//! A move of an application's own leader is followed at once, and by one change.

use std::collections::BTreeMap;

use serde_json::Value;
use simkube::Kind;
use tokio::time::Instant;

use super::Due;
use super::Stage;
use super::app::Move;
use crate::claims::{Follow, line};
use crate::event::{Event, NS, SOURCES};
use crate::facts::{PodFact, SourceFact, text};

/// After a move, the slice shows the pod within this time: less than any delay.
const AT_ONCE_MS: u64 = 100;
/// A move that passes through no pod with the label takes less than any delay, or is not looked at.
const SHORT_MS: u64 = 200;
/// Nothing else happened for so long before.
const STILL_MS: u64 = 1_500;

/// What is to be seen of a move.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    app: &'static str,
    to: String,
    /// By source: what its slice showed when the move began, and how often slices had moved.
    before: BTreeMap<&'static str, (String, u64)>,
    faults: u64,
    stirred: Instant,
}

impl Stage {
    /// Has electors carry out what happens to their application.
    pub(super) fn elect(&mut self, event: &Event) {
        let Event::Elector { app, act } = *event else {
            return;
        };
        let before = self.shown();
        let is_still = self.stirred.elapsed().as_millis() >= u128::from(STILL_MS);
        let is_calm = self.is_calm() && is_still;
        if let Some(Move { app, to, after_ms }) = self.electors.act(app, act)
            && is_calm
            && after_ms <= SHORT_MS
        {
            let expected = Expected {
                app,
                to,
                before,
                faults: self.faults,
                stirred: Instant::now(),
            };
            self.after(after_ms + AT_ONCE_MS, Due::Followed(expected));
        }
    }

    /// The slice of a source's first family.
    fn shown(&self) -> BTreeMap<&'static str, (String, u64)> {
        let shown = SOURCES.into_iter().filter_map(|name| {
            let (uid, slice) = self.judge.leads(name)?;
            Some((name, (uid, self.judge.moves(&slice))))
        });
        shown.collect()
    }

    /// If nothing else happened, each source that follows this application publishes the pod by now.
    pub(super) fn check_followed(&mut self, expected: &Expected) -> Result<(), String> {
        let is_alone = expected.faults == self.faults
            && expected.stirred == self.stirred
            && self.electors.moved() == Some(expected.stirred);
        if !is_alone || !self.is_calm() {
            return Ok(());
        }
        let pods = self.kube.list(Kind::Pod, NS);
        let pods: Vec<PodFact> = pods.iter().map(PodFact::of).collect();
        let Some(pod) = pods.iter().find(|pod| pod.uid == expected.to) else {
            return Ok(());
        };
        let now = self.shown();
        for (name, (before, moves)) in &expected.before {
            let Some(source) = self.kube.get(Kind::Service, NS, name) else {
                continue;
            };
            if !self.has_leader_service(name, &source) {
                continue;
            }
            let source = SourceFact::of(&source);
            if *before == expected.to || !self.must_follow(&source, expected.app, pod) {
                continue;
            }
            let Some((after, count)) = now.get(name) else {
                return Err(format!(
                    "source {name}: {} is named, and no pod leads",
                    pod.name
                ));
            };
            if *after != expected.to {
                return Err(format!(
                    "source {name}: {} was named {AT_ONCE_MS} ms ago, and does not lead",
                    pod.name
                ));
            }
            if *count != moves + 1 {
                return Err(format!(
                    "source {name}: its slice moved {} times for one move to {}",
                    count - moves,
                    pod.name
                ));
            }
            self.count("move followed at once".into());
        }
        Ok(())
    }

    /// Whether the usual name of the leader Service is not taken by an object that is not this source's.
    fn has_leader_service(&self, name: &str, source: &Value) -> bool {
        let leader = self.kube.get(Kind::Service, NS, &format!("{name}-leader"));
        leader.is_some_and(|leader| {
            let owners = leader["metadata"]["ownerReferences"].as_array();
            let mut owners = owners.into_iter().flatten();
            owners.any(|owner| owner["uid"] == source["metadata"]["uid"])
        })
    }

    /// Whether a source follows this application's leader, and nothing keeps the pod from leading.
    fn must_follow(&self, source: &SourceFact, app: &str, pod: &PodFact) -> bool {
        let is_named = match source.follow() {
            Some(Follow::Role) => pod.has_role() && self.has_sole_role(source, pod),
            // Another application's may be silent, and its leader stays.
            Some(Follow::Lease(lease)) if lease != format!("lock-{app}") => false,
            Some(Follow::Lease(lease)) => {
                let lease = self.kube.get(Kind::Lease, NS, &lease).unwrap_or_default();
                line(&text(&lease["spec"]["holderIdentity"]), pod).is_some()
                    && self.is_sole_match(source, &text(&lease["spec"]["holderIdentity"]), pod)
            }
            Some(Follow::Unreadable) | None => false,
        };
        let is_plain = [
            "min-ready-duration",
            "leader-service-type",
            "leader-service-name",
            "failover-min-delay",
        ]
        .iter()
        .all(|key| source.setting(key).is_none());
        is_named
            && is_plain
            && source.enabled.as_deref() == Some("true")
            && !source.deleting
            && !source.is_paused()
            && source
                .selector
                .get("app")
                .is_some_and(|selected| selected == app)
            && pod.is_eligible(source)
    }

    /// Whether no other pod has had the label since it was set there: the former leader may have it still.
    fn has_sole_role(&self, source: &SourceFact, pod: &PodFact) -> bool {
        let pods = self.kube.list(Kind::Pod, NS);
        let mut others = pods
            .iter()
            .map(PodFact::of)
            .filter(|other| other.uid != pod.uid);
        !others.any(|other| {
            other.has_role()
                && other.matches(source)
                && self.judge.got_role_after(&other.uid, &pod.uid)
        })
    }

    /// Whether the identity means no other pod.
    fn is_sole_match(&self, source: &SourceFact, holder: &str, pod: &PodFact) -> bool {
        let pods = self.kube.list(Kind::Pod, NS);
        let mut others = pods
            .iter()
            .map(PodFact::of)
            .filter(|other| other.uid != pod.uid);
        !others.any(|other| other.matches(source) && line(holder, &other).is_some())
    }
}
