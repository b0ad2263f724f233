//! What users are told: each thing once, and again only after it has changed.

use std::collections::BTreeMap;

use crate::logic::contract::reason;
use crate::logic::event::Note;

/// What a note is about. Of each topic there is one current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// An annotation's value.
    Annotation,
    /// The source as such.
    Source,
    /// The name asked for.
    Name,
    /// Somebody else's Service under that name.
    Conflict,
    /// Nobody can lead.
    NoLeader,
    /// Ports that the leader does not have.
    Ports,
    /// Slices that others attached.
    Strangers,
    /// An object of ours that is being deleted and cannot go.
    Stuck,
    /// A failover that the budget does not allow.
    Guard,
    /// Pods whose rank cannot be read.
    Priority,
    /// Annotations that had to stay out.
    Oversize,
}

/// What has been said so far, and what is to be said now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    current: BTreeMap<Topic, Vec<String>>,
    pending: Vec<Note>,
}

impl Said {
    /// States a topic anew: `None` when all is well. Says it if it differs from what was said last.
    pub(super) fn set(
        &mut self,
        topic: Topic,
        text: Option<String>,
        note: impl Fn(String) -> Note,
    ) {
        self.set_all(topic, text.into_iter().collect(), note);
    }

    /// The same for a topic with several parts; says those that are new.
    pub(super) fn set_all(
        &mut self,
        topic: Topic,
        texts: Vec<String>,
        note: impl Fn(String) -> Note,
    ) {
        let before = self.current.remove(&topic).unwrap_or_default();
        self.pending.extend(
            texts
                .iter()
                .filter(|text| !before.contains(text))
                .cloned()
                .map(note),
        );
        if !texts.is_empty() {
            self.current.insert(topic, texts);
        }
    }

    /// States a topic without saying it, because something else says it already.
    pub(super) fn imply(&mut self, topic: Topic, text: String) {
        self.current.insert(topic, vec![text]);
    }

    /// All is well with a topic.
    pub(super) fn forget(&mut self, topic: Topic) {
        self.current.remove(&topic);
    }

    /// There is nothing to state about the source any more, only about what is left of ours.
    pub(super) fn forget_source(&mut self) {
        self.current.retain(|topic, _| *topic == Topic::Stuck);
    }

    /// Says something that happens rather than lasts.
    pub(super) fn say(&mut self, note: Note) {
        self.pending.push(note);
    }

    /// What is to be told now.
    pub(super) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.pending)
    }
}

/// The event for a switch that has been published.
pub(super) fn announce(
    from: Option<&str>,
    to: Option<&str>,
    why: &str,
    took: std::time::Duration,
    service: &str,
) -> Note {
    let took = took.as_secs_f64() * 1_000.0;
    match (from, to) {
        (None, Some(to)) => Note::normal(
            reason::LEADER_ROUTING_AVAILABLE,
            format!("{service} routes to pod {to} ({took:.1} ms)"),
        ),
        (from, Some(to)) => Note::normal(
            reason::LEADER_CHANGED,
            format!(
                "Leader changed from {} to {to} ({why}, {took:.1} ms). Routing available at {service}",
                from.unwrap_or("none")
            ),
        ),
        (from, None) => Note::normal(
            reason::LEADER_CHANGED,
            format!(
                "Leader changed from {} to none ({why}, {took:.1} ms). No pod is eligible, {service} has no endpoint",
                from.unwrap_or("none")
            ),
        ),
    }
}
