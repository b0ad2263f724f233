//! A pod of which a new writer is not sure, as the server has it now. By a list, since the right to get a
//! single pod is not asked for.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kube_client::Client;

use super::watches::LIVE_PODS;
use crate::logic::model::{Key, Pod};
use crate::shell::api::{self, ListError, Scope};
use crate::shell::clock::Clock;
use crate::shell::reconciler::{Reconciler, Suspect};
use crate::store::Store;

/// A failover waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A question to the server, and where its answer goes.
pub(super) struct Inquiry {
    pub(super) client: Client,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) reconciler: Weak<Reconciler>,
}

impl Inquiry {
    /// Asks for a pod, takes the answer into the store, and has the source looked at again.
    pub(super) async fn run(self, source: Key, pod: Suspect) {
        match read(&self.client, &pod.key).await {
            // The source is looked at in any case.
            Ok(Some(known)) => _ = self.store.put_pod(known, self.clock.now()),
            Ok(None) => {}
            Err(why) => {
                tracing::warn!(service = %source, pod = %pod.key, %why, "could not ask for a leader that is about to be left; going by what is known");
            }
        }
        if let Some(reconciler) = self.reconciler.upgrade() {
            reconciler.verified(&source, &pod);
        }
    }
}

/// The pod of that name, unless there is none or it has ended.
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
