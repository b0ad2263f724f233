//! The load balancer of a leader Service: its source ranges and its class.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::announced::Topic;
use crate::logic::event::Note;
use crate::logic::model::{Service, ServiceType};
use crate::logic::settings::LeaderServiceType;
use crate::logic::time::Moment;
use crate::logic::well_known::{LOAD_BALANCER_CLEANUP, reason};

/// Time after which a Warning reports that the former load balancer still exists.
const PATIENCE: Duration = Duration::from_mins(1);

impl Machine {
    /// The source ranges of the load balancer, and whether they are those of the source: it has some if
    /// it is a load balancer with a restriction itself.
    pub(super) fn source_ranges(&self, source: &Service) -> (Vec<Arc<str>>, bool) {
        let own = &source.spec.load_balancer_source_ranges;
        match self.settings.exposure {
            LeaderServiceType::LoadBalancer if own.is_empty() => {
                (self.settings.source_ranges.clone(), false)
            }
            LeaderServiceType::LoadBalancer => (own.clone(), true),
            LeaderServiceType::ClusterIP
            | LeaderServiceType::Headless
            | LeaderServiceType::NodePort => (Vec::new(), false),
        }
    }

    /// The class of the load balancer: that of the source. To change it, the leader Service has to leave
    /// the type, which removes the load balancer. If a policy then sets another class than the requested
    /// one, the present class is kept, so that the load balancer is not removed repeatedly.
    pub(super) fn balancer_class(
        &mut self,
        source: &Service,
        service: Option<&Service>,
    ) -> Option<Arc<str>> {
        let is_balanced = self.settings.exposure == LeaderServiceType::LoadBalancer;
        let class = source.spec.load_balancer_class.as_ref();
        let wanted = class.filter(|_| is_balanced)?;
        let present = service.filter(|service| service.spec.kind == ServiceType::LoadBalancer);
        let Some(present) = present else {
            self.asked_class = Some(Arc::clone(wanted));
            return Some(Arc::clone(wanted));
        };
        let is_forced = present.spec.load_balancer_class.as_ref() != Some(wanted)
            && self.asked_class.as_ref() == Some(wanted);
        if is_forced {
            present.spec.load_balancer_class.clone()
        } else {
            Some(Arc::clone(wanted))
        }
    }

    /// Says what stands in the way of the class that the source names, and when to look again.
    pub(super) fn tell_of_balancer(
        &mut self,
        source: &Service,
        service: Option<&Service>,
        wanted: Option<&Arc<str>>,
        now: Moment,
    ) -> Option<Moment> {
        let asked = source.spec.load_balancer_class.as_ref();
        let present = service.filter(|_| wanted.is_some() || asked.is_some());
        let is_waiting = |service: &&Service| {
            wanted.is_some()
                && service.spec.kind != ServiceType::LoadBalancer
                && service.has_former_balancer()
        };
        let waiting = present.filter(is_waiting);
        if waiting.is_none() {
            self.unbalanced_since = None;
        }
        let mut until = None;
        let text = if let Some(service) = waiting {
            let since = *self.unbalanced_since.get_or_insert(now);
            until = Some(since + PATIENCE).filter(|until| now < *until);
            until.is_none().then(|| still_there(service, wanted))
        } else {
            let is_balanced = self.settings.exposure == LeaderServiceType::LoadBalancer;
            let forced = present.filter(|_| is_balanced && wanted != asked);
            forced.map(|service| {
                format!(
                    "Service {} has the load balancer class {:?} although {:?} is asked for; \
                     something else sets it",
                    service.metadata.name,
                    wanted.map_or("", |class| class),
                    asked.map_or("", |class| class),
                )
            })
        };
        self.said.set(Topic::Balancer, text, |text| {
            Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
        });
        until
    }
}

fn still_there(service: &Service, class: Option<&Arc<str>>) -> String {
    format!(
        "Service {} waits to become a load balancer of the class {:?}: the former one is still there \
         (status.loadBalancer or the finalizer {LOAD_BALANCER_CLEANUP}); expected the controller of \
         the former class to take it down",
        service.metadata.name,
        class.map_or("", |class| class),
    )
}
