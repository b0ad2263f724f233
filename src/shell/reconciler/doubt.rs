//! A leader that a new writer does not know, or does not know to be Ready.
//!
//! A write is guarded by the version of its slice, so a replica whose slices are old overwrites nothing.
//! That does not help if its *pods* are old: its predecessor may have moved the traffic to a pod that it
//! has not heard of, and it would move it back to one that is gone. So in the first seconds of its tenure
//! it asks the server for the published pod, once, before it leaves it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Reconciler, ServiceState};
use crate::logic::elect::Reason;
use crate::logic::fsm::{Cause, Step};
use crate::logic::model::{Key, Uid};
use crate::logic::snapshot::Snapshot;
use crate::logic::time::Moment;

/// The time of a tenure within which news of the time before it may still be on their way.
const YOUNG: Duration = Duration::from_secs(10);

/// A published pod that is about to be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its namespace and name.
    pub key: Key,
    /// Its identity.
    pub uid: Uid,
}

/// How much a process knows of the published pod.
#[derive(Default)]
pub(super) enum Sight {
    /// Nothing.
    #[default]
    Unseen,
    /// Its watch has shown it, so it will show its end as well: what the server answers may be older.
    Seen(Uid),
    /// The server is asked.
    Asked(Uid),
    /// The server has answered, or does not.
    Answered(Uid),
}

impl Reconciler {
    /// Whether a step has to wait because the server is asked for the pod that it leaves.
    pub(super) fn is_in_doubt(
        &self,
        cell: &mut ServiceState,
        snapshot: &Snapshot,
        step: &Step,
        now: Moment,
    ) -> bool {
        let Some(leader) = step.machine.leader() else {
            return false;
        };
        let pod = snapshot.pod(&leader.uid);
        match &cell.sight {
            Sight::Asked(uid) if *uid == leader.uid => return true,
            Sight::Answered(uid) if *uid == leader.uid => return false,
            // The watch has shown its end.
            Sight::Seen(uid) if *uid == leader.uid && pod.is_none() => return false,
            _ => {}
        }
        if pod.is_some() {
            cell.sight = Sight::Seen(leader.uid.clone());
        }
        let since = Moment(self.writes_since.load(Ordering::Relaxed));
        let attempt = step.machine.attempt.as_ref();
        let is_left = attempt.is_some_and(|attempt| {
            let from = attempt.from.as_ref().map(|(uid, _)| uid);
            let reasons = [
                Reason::Deleted,
                Reason::NotReady,
                Reason::NoneReady,
                Reason::Followed,
                Reason::Unnamed,
            ];
            from == Some(&leader.uid) && attempt.reason.is_some_and(|left| reasons.contains(&left))
        });
        if !is_left || now >= since + YOUNG || !self.outlet.is_active() {
            return false;
        }
        let suspect = Suspect {
            key: snapshot.key.sibling(Arc::clone(&leader.pod)),
            uid: leader.uid.clone(),
        };
        let is_asked = self.outlet.verify(&snapshot.key, suspect);
        let uid = leader.uid.clone();
        cell.sight = if is_asked {
            Sight::Asked(uid)
        } else {
            Sight::Answered(uid)
        };
        is_asked
    }

    /// The server has answered, or does not answer: what is known of the pod now is what counts.
    pub fn verified(&self, source: &Key, suspect: &Suspect) {
        if let Some(cell) = self.cells.get(source).map(|cell| Arc::clone(&cell)) {
            let mut cell = cell.lock();
            if matches!(&cell.sight, Sight::Asked(uid) if *uid == suspect.uid) {
                cell.sight = Sight::Answered(suspect.uid.clone());
            }
        }
        let cause = Cause {
            at: self.clock.moment(),
            pod_changed: None,
        };
        self.reconcile_all(vec![source.clone()], cause);
    }
}
