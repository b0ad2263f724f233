//! Which replica writes, and what changes with it.

use std::sync::Arc;

use super::task_set::TaskSet;
use super::{Clients, Controller, Env};
use crate::config::Config;
use crate::logic::claim::LeaseParams;
use crate::logic::model::Key;
use crate::mutations::{self, Mutation};
use crate::shell::lease::{Elector, WritePermit};

/// The participant of the election. A restarted process belongs to the same pod as the former one, but
/// has an identity of its own.
pub(super) fn elector(config: &Config, clients: &Clients, around: &Env) -> (Elector, Key) {
    let lease = &config.lease;
    let key = Key::new(&*lease.namespace, &*lease.name);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "32 bits of a number in [0, 1)"
    )]
    let random = || ((around.jitter)() * f64::from(u32::MAX)) as u32;
    let pod = lease.pod_uid.as_ref();
    let pod = pod.map(|uid| format!("{}_{uid}", lease.identity));
    let name = pod.as_ref().unwrap_or(&lease.identity);
    let terms = LeaseParams {
        lease: key.clone(),
        identity: format!("{name}_{:08x}{:08x}", random(), random()).into(),
        pod: pod.map(Into::into),
        duration: lease.duration,
        renew_deadline: lease.renew_deadline,
        retry_period: lease.retry_period,
    };
    let (client, clock) = (clients.lease.clone(), around.clock.clone());
    let elector = Elector::new(client, terms, clock, Arc::clone(&around.jitter));
    (elector, key)
}

/// To be asked right before something is sent.
pub(super) fn asking(tenure: &WritePermit) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let tenure = tenure.clone();
    Arc::new(move || tenure.is_active() || mutations::is(Mutation::StandbyWrites))
}

impl Controller {
    /// Has this replica take part in the election, and say what comes of it.
    pub(super) fn take_part(&self, parts: &mut TaskSet) {
        let elector = self.elector.clone();
        let reconciler = Arc::clone(&self.reconciler);
        let changed = move |change| reconciler.on_lease(change);
        let alive = self.alive("lease");
        parts.spawn("lease", async move {
            elector.run(changed, alive).await;
        });
    }

    /// Whether this replica writes, to be asked again and again.
    pub(super) fn is_active(&self) -> Arc<dyn Fn() -> bool + Send + Sync> {
        asking(&self.elector.tenure())
    }
}
