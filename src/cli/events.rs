//! What the controller has said: the Events that the commands go by. A user who may not read them
//! gets the output without them.

use jiff::SignedDuration;
use serde_json::Value;

use super::client::Cluster;
use super::report::Judged;
use super::status;
use crate::logic::event::COMPONENT;
use crate::logic::model::Key;
use crate::logic::well_known::reason;
use crate::shell::api::{self, Scope};

/// So far the clocks of the machines that wrote an Event and a pod's condition may be apart.
const CLOCKS_APART: SignedDuration = SignedDuration::from_secs(5);

/// How the Event of a change begins, whether another pod follows or none.
pub(super) const CHANGED: &str = "Leader changed from ";

/// The latest Events about leaders.
pub(super) struct EventLog {
    /// That a leader was left, and why.
    changes: Vec<EventRow>,
    /// That one is kept although it is not Ready. The budgets are in the controller's memory alone.
    guards: Vec<EventRow>,
    /// That the API server refuses a write, or does not answer it.
    refusals: Vec<EventRow>,
}

struct EventRow {
    source: Key,
    reason: String,
    /// RFC 3339 in UTC, which sorts as text.
    at: String,
    message: String,
}

impl EventLog {
    pub(super) async fn of(cluster: &Cluster, scopes: &[Scope]) -> Self {
        let mut changes = Vec::new();
        for scope in scopes {
            changes.extend(list(cluster, scope).await);
        }
        let is_guard = |event: &mut EventRow| event.reason == reason::FAILOVER_BUDGET_EXCEEDED;
        let guards = changes.extract_if(.., is_guard).collect();
        let is_refusal = |event: &mut EventRow| event.reason == reason::WRITE_REFUSED;
        let refusals = changes.extract_if(.., is_refusal).collect();
        changes.retain(|event| event.message.contains(CHANGED));
        Self {
            changes,
            guards,
            refusals,
        }
    }

    /// Adds to what the facts show.
    pub(super) fn complete(&self, mut judged: Judged) -> Judged {
        let change = last(&self.changes, &judged.snapshot.key);
        judged.report.last_reason = change.and_then(|change| status::reason_of(&change.message));
        judged.report.guarded = self.is_guarded(&judged).unwrap_or_default();
        if let Some(pending) = judged.report.pending.as_mut()
            && judged.report.guarded
        {
            pending.push_str("; the storm guard holds it back, see the Event ");
            pending.push_str(reason::FAILOVER_BUDGET_EXCEEDED);
        } else if let Some(pending) = judged.report.pending.as_mut()
            && let Some(refusal) = self.refusal(&judged.snapshot.key)
        {
            pending.push_str("; the controller reports: ");
            pending.push_str(&refusal.message);
            judged.report.refused = true;
        }
        judged
    }

    /// What the controller has said of its writes since the leader changed.
    fn refusal(&self, source: &Key) -> Option<&EventRow> {
        let changed = last(&self.changes, source).map(|change| &*change.at);
        last(&self.refusals, source).filter(|refusal| changed <= Some(&*refusal.at))
    }

    /// Whether the failover that is due is held back: the controller has said so of this leader
    /// since it turned not Ready.
    fn is_guarded(&self, judged: &Judged) -> Option<bool> {
        judged.report.pending.as_ref()?;
        let leader = judged.report.leader.as_ref()?;
        let event = last(&self.guards, &judged.snapshot.key)?;
        let rest = event.message.strip_prefix("Leader ")?;
        let is_of_leader = rest
            .strip_prefix(&*leader.pod)?
            .starts_with(" is not Ready");
        let said: jiff::Timestamp = event.at.parse().ok()?;
        let turned = judged.snapshot.pod(&leader.uid)?.ready_transition?;
        Some(is_of_leader && turned.duration_since(said) <= CLOCKS_APART)
    }
}

fn last<'a>(events: &'a [EventRow], source: &Key) -> Option<&'a EventRow> {
    let about = events.iter().filter(|event| event.source == *source);
    // Of two in the same second the later one listed counts.
    about.max_by(|a, b| a.at.cmp(&b.at))
}

async fn list(cluster: &Cluster, scope: &Scope) -> Vec<EventRow> {
    let path = match scope.namespace() {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/events"),
        None => "/api/v1/events".into(),
    };
    let selector = format!("reportingComponent={COMPONENT}");
    let uri = api::with_query(path, &[("fieldSelector", &selector)]);
    let list = cluster.get(uri).await.ok().flatten().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let events = list["items"].as_array().into_iter().flatten();
    let read = events.map(|event| {
        let about = &event["involvedObject"];
        EventRow {
            source: Key::new(text(&about["namespace"]), text(&about["name"])),
            reason: text(&event["reason"]),
            at: text(&event["lastTimestamp"]),
            message: text(&event["message"]),
        }
    });
    read.collect()
}
