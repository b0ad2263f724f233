//! Which pods lead, and those of them that have ended: why they are left is still to be told.

use std::sync::Arc;

use super::namespace::{Namespace, Touched};
use crate::logic::model::{Pod, PodPhase, Version};

impl Namespace {
    /// Remembers which pod a source has as leader, so that news of it arrive whatever its labels.
    pub(super) fn pin(&mut self, source: &Arc<str>, pod: Option<&Arc<str>>) {
        let before = self.pins.of(source);
        if before == pod {
            return;
        }
        let before = before.cloned();
        self.pins.point(source, pod);
        if let Some(left) = before.filter(|left| self.pins.sources(left).next().is_none())
            && self.pods.get(&left).is_some_and(|pod| pod.ended())
        {
            self.pods.remove(&left);
        }
    }

    /// Takes a pod out that the watch shows no more. Every deletion begins with a reading that has a
    /// deletionTimestamp; without one the pod reached a terminal phase, which the watch leaves out.
    pub(super) fn lose_pod(&mut self, name: &Arc<str>, version: &Version) -> Touched {
        let before = self.pods.get(name).cloned();
        let touched = self.remove_pod(name, Some(version));
        let is_lost = self.pods.get(name).is_none();
        let leads = self.pins.sources(name).next().is_some();
        if let Some(before) = before.filter(|pod| is_lost && leads && !pod.terminating) {
            self.pods.put(Arc::new(Pod {
                version: version.clone(),
                phase: PodPhase::Failed,
                ready: false,
                ..Pod::clone(&before)
            }));
        }
        touched
    }
}
