//! What users are told: each thing once, and again only after it has changed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::logic::event::Note;
use crate::logic::well_known::reason;

/// What a note is about. Of each topic there is one current state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// An annotation's value.
    Annotation,
    /// The source as such.
    Source,
    /// The name asked for.
    Name,
    /// A Service under that name that is not ours.
    Conflict,
    /// No pod can lead.
    NoLeader,
    /// Ports that the leader does not have.
    Ports,
    /// Slices that others attached.
    Strangers,
    /// An object of ours that is being deleted and cannot go.
    Stuck,
    /// A failover that the budget does not allow.
    Guard,
    /// Several pods that the application names.
    Ambiguous,
    /// A leader that the application has not named, and has not left either.
    NotFollowed,
    /// Pods whose rank cannot be read.
    Priority,
    /// A load balancer that cannot have the requested class.
    Balancer,
    /// Annotations that had to stay out.
    Oversize,
    /// A source that looks like a leader Service.
    Ignored,
    /// Services that look like leader Services of ours and were made by others.
    Copies,
    /// The name asked for on behalf of the followers.
    FollowersName,
    /// A Service under that name that is not ours.
    FollowersConflict,
    /// Ports that not all followers have alike.
    FollowersPorts,
    /// More followers than a slice holds.
    FollowersCount,
}

/// What has been said so far, and what is to be said now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    current: BTreeMap<Topic, Vec<String>>,
    /// Why there is no leader any more: said once the slices show it.
    outage: Option<Note>,
    pending: Vec<Note>,
}

impl Announced {
    /// Restates a topic: `None` when all is well. Says it if it differs from what was said last.
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
        note: impl FnMut(String) -> Note,
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

    /// States why there is no leader any more, to be said by [`Announced::end`] and not before.
    pub(super) fn hold(&mut self, reason: &'static str, text: String) {
        self.current.insert(Topic::NoLeader, vec![text.clone()]);
        self.outage = Some(Note::warning(reason, text));
    }

    /// No slice will show what is held: it has still to be said.
    pub(super) fn let_go(&mut self) {
        if self.outage.is_some() {
            self.forget(Topic::NoLeader);
        }
    }

    /// All is well with a topic.
    pub(super) fn forget(&mut self, topic: Topic) {
        self.current.remove(&topic);
        if topic == Topic::NoLeader {
            self.outage = None;
        }
    }

    /// The slices show that the leader is gone and none follows: the one event of an outage.
    pub(super) fn end(&mut self, former: &str, why: &str, took: Duration) {
        if let Some(mut outage) = self.outage.take() {
            let took = milliseconds(took);
            let head = format!("Leader changed from {former} to none ({why}, {took:.1} ms). ");
            outage.message.insert_str(0, &head);
            self.say(outage);
        }
    }

    /// There is nothing to state about the source any more, only about what is left of ours.
    pub(super) fn forget_source(&mut self) {
        let lasts = [Topic::Stuck, Topic::Copies, Topic::Ignored];
        self.current.retain(|topic, _| lasts.contains(topic));
        self.outage = None;
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

/// The event for a leader that has been published.
pub(super) fn announce(
    from: Option<&str>,
    to: &str,
    why: &str,
    took: Duration,
    service: &str,
) -> Note {
    let took = milliseconds(took);
    match from {
        None => Note::normal(
            reason::LEADER_ROUTING_AVAILABLE,
            format!("{service} routes to pod {to} ({took:.1} ms)"),
        ),
        Some(from) => Note::normal(
            reason::LEADER_CHANGED,
            format!(
                "Leader changed from {from} to {to} ({why}, {took:.1} ms). Routing available at {service}"
            ),
        ),
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}
