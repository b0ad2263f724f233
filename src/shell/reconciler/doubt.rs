//! A leader that a new writer does not know, or does not know to be Ready.
//!
//! A write is guarded by the version of its slice, so a replica whose slices are old overwrites nothing.
//! That does not help if its *pods* are old: its predecessor may have moved the traffic to a pod that it
//! has not heard of, and it would move it back to one that is gone. So in the first seconds of its tenure
//! it asks the server for the published pod, once, before it leaves it.

use std::sync::Arc;
use std::time::Duration;

use kube_client::Client;

use super::{Reconciler, ServiceState, Turn};
use crate::logic::elect::Reason;
use crate::logic::fsm::Step;
use crate::logic::model::{Key, Pod, Uid};
use crate::logic::time::Moment;
use crate::shell::api::{self, LIVE_PODS, ListError, Scope};

/// The time of a tenure within which news of the time before it may still be on their way.
const YOUNG: Duration = Duration::from_secs(10);

/// A failover waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A published pod that is about to be left.
struct Suspect {
    key: Key,
    uid: Uid,
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
        self: &Arc<Self>,
        service: &mut ServiceState,
        writes_since: Option<Moment>,
        turn: &Turn,
        step: &Step,
    ) -> bool {
        let snapshot = &turn.snapshot;
        let Some(leader) = step.machine.leader() else {
            return false;
        };
        let pod = snapshot.pod(&leader.uid);
        match &service.sight {
            Sight::Asked(uid) if *uid == leader.uid => return true,
            Sight::Answered(uid) if *uid == leader.uid => return false,
            // The watch has shown its end.
            Sight::Seen(uid) if *uid == leader.uid && pod.is_none() => return false,
            _ => {}
        }
        if pod.is_some() {
            service.sight = Sight::Seen(leader.uid.clone());
        }
        let is_young = writes_since.is_some_and(|since| turn.now.moment < since + YOUNG);
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
        if !is_left || !is_young || !turn.is_active {
            return false;
        }
        let suspect = Suspect {
            key: snapshot.key.sibling(Arc::clone(&leader.pod)),
            uid: leader.uid.clone(),
        };
        service.sight = Sight::Asked(leader.uid.clone());
        let (reconciler, source) = (Arc::clone(self), snapshot.key.clone());
        let _runs_alone = (self.outlets.spawn)(Box::pin(async move {
            reconciler.verify(source, suspect).await;
        }));
        true
    }

    /// Asks the server for a pod, and looks at the source again: what is known of the pod then is what
    /// counts, whether the server has answered or not. An answer concerns all sources that select the pod,
    /// since the watch will show nothing new to them.
    async fn verify(self: Arc<Self>, source: Key, suspect: Suspect) {
        let mut touched = match read(&self.outlets.client, &suspect.key).await {
            Ok(Some(known)) => self.store.put_pod(known, self.clock.now()),
            Ok(None) => Vec::new(),
            Err(why) => {
                tracing::warn!(service = %source, pod = %suspect.key, %why, "could not ask for a leader that is about to be left; going by what is known");
                Vec::new()
            }
        };
        touched.retain(|other| *other != source);
        let mut state = self.state.lock();
        if let Some(service) = state.services.get_mut(&source)
            && matches!(&service.sight, Sight::Asked(uid) if *uid == suspect.uid)
        {
            service.sight = Sight::Answered(suspect.uid);
        }
        touched.insert(0, source);
        for source in touched {
            self.reconcile(&mut state, &source, self.clock.moment().into());
        }
    }
}

/// The pod of that name, unless there is none or it has ended. By a list, since the right to get a single
/// pod is not asked for.
///
/// # Errors
/// What the server, or the connection to it, says instead.
async fn read(client: &Client, pod: &Key) -> Result<Option<Pod>, ListError> {
    let selector = format!("metadata.name={},{LIVE_PODS}", pod.name);
    let scope = Scope::Namespace(Arc::clone(&pod.namespace));
    let query = [("fieldSelector", &*selector)];
    let mut pods = api::list(client, &scope, &query, TIMEOUT).await?;
    Ok(pods.pop())
}
