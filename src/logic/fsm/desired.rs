//! What should exist for a source that is served, from its own fields and the verdict.

use std::sync::Arc;

use super::Machine;
use super::announced::Topic;
use crate::logic::desired::{self, Desired, Record};
use crate::logic::elect::{self, Verdict};
use crate::logic::event::Note;
use crate::logic::mirror::{Mirror, Mirrored};
use crate::logic::model::{EndpointPort, Family, Labels, Pod, Port, Service, ServiceType};
use crate::logic::settings::LeaderServiceType;
use crate::logic::snapshot::{Owned, Role, Snapshot};
use crate::logic::well_known::{PREFIX, reason};

impl Machine {
    pub(super) fn desired(
        &mut self,
        snapshot: &Snapshot,
        mirror: &Mirror,
        source: &Service,
        name: Arc<str>,
        verdict: Verdict,
        families: Vec<Family>,
    ) -> Desired {
        let exposure = self.settings.exposure;
        let meta = &source.metadata;
        let service = snapshot.own_service(&name).map(|service| &**service);
        let (source_ranges, is_range_lent) = self.source_ranges(source);
        let load_balancer_class = self.balancer_class(source, service);
        let annotations = self.annotations(snapshot, mirror, source, &name);
        self.tell_of_strangers(snapshot, &name);
        self.tell_of_priorities(snapshot);
        let handled = self.handed_over(&verdict);
        let leader = verdict.leader.as_ref().map(|pod| pod.uid.clone());
        let last_leader = leader.or_else(|| self.last.clone());
        Desired {
            source: snapshot.key.clone(),
            source_uid: meta.uid.clone(),
            exposure,
            ports: source.spec.ports.iter().map(without_node_port).collect(),
            family_policy: source.spec.ip_family_policy.clone(),
            source_ranges,
            is_range_lent,
            is_source_balanced: source.spec.kind == ServiceType::LoadBalancer,
            load_balancer_class,
            labels: mirror.labels(&meta.labels),
            asked_labels: self.settings.leader_labels.clone(),
            asked_annotations: asked_of(&annotations, &self.settings.leader_annotations),
            annotations,
            source_labels: meta.labels.clone(),
            source_annotations: meta.annotations.clone(),
            cluster_ips: match exposure {
                LeaderServiceType::Headless => Vec::new(),
                _ => fitting(&self.cluster_ips, &families),
            },
            families,
            followers: None,
            leader: verdict.leader.map(|pod| desired::Leader {
                ports: shown_ports(snapshot.own(Role::Leader), &source.spec.ports, &pod),
                uid: pod.uid.clone(),
                name: Arc::clone(&pod.name),
                node: pod.node.clone(),
                ips: pod.ips,
                terminating: pod.terminating,
                serving: pod.ready || !pod.terminating,
            }),
            last_leader,
            handled,
            switched: self.switched,
            record: Record::default(),
            named_by: None,
            trigger: self.attempt.as_ref().and_then(|attempt| attempt.trigger),
            name,
        }
    }

    /// The annotations that the source lends or asks for, within the server's limit.
    fn annotations(
        &mut self,
        snapshot: &Snapshot,
        mirror: &Mirror,
        source: &Service,
        name: &str,
    ) -> Labels {
        let lent = mirror.annotations(&source.metadata.annotations);
        let asked = &self.settings.leader_annotations;
        let lent_labels = mirror.labels(&source.metadata.labels);
        let labels = lent_labels.iter().chain(self.settings.leader_labels.iter());
        let labels = labels.map(|(key, _)| key);
        let service = snapshot.own_service(name);
        // What users set there themselves takes room as well.
        let foreign = service.map_or(0, |service| {
            let mirrored = Mirrored::read(service).unwrap_or_else(|| {
                let meta = &source.metadata;
                Mirrored::guess(service, &meta.labels, &meta.annotations)
            });
            let annotations = service.metadata.annotations.iter();
            annotations
                .filter(|(key, _)| !key.starts_with(PREFIX) && !mirrored.annotations.contains(*key))
                .map(|(key, value)| key.len() + value.len())
                .sum()
        });
        let (annotations, dropped) = desired::within_limit(&lent, asked, labels, foreign);
        let text = (!dropped.is_empty()).then(|| {
            format!(
                "Annotations would exceed 256 KiB on Service {name}; left out: {}",
                dropped.join(", ")
            )
        });
        self.said.set(Topic::Oversize, text, |text| {
            Note::warning(reason::INVALID_ANNOTATION, text)
        });
        annotations
    }
}

/// The ports under which clients come: those of the source, and those that our Services of that role have
/// until they are written, which may be never.
pub(super) fn shown_ports(own: &Owned, ports: &[Port], pod: &Pod) -> Vec<EndpointPort> {
    let services = own.services().iter();
    let shown = services.flat_map(|service| &service.spec.ports);
    elect::resolve_beside(ports, shown, pod, |port| {
        let slices = own.slices();
        let name = port.name.as_deref().unwrap_or_default();
        let is_same = |carried: &EndpointPort| {
            carried.name.as_deref().unwrap_or_default() == name && carried.protocol == port.protocol
        };
        // Where no slice is left that could tell, traffic is not cut either.
        slices.is_empty() || slices.iter().any(|slice| slice.ports.iter().any(is_same))
    })
}

/// Those annotations whose keys are asked for.
fn asked_of(annotations: &Labels, asked: &Labels) -> Labels {
    let entries = annotations.entries().iter();
    let chosen = entries.filter(|(key, _)| asked.get(key).is_some());
    chosen.cloned().collect()
}

fn without_node_port(port: &Port) -> Port {
    Port {
        node_port: None,
        ..port.clone()
    }
}

/// The addresses that may be asked for again: those that stand in the families' order.
pub(super) fn fitting(cluster_ips: &[Arc<str>], families: &[Family]) -> Vec<Arc<str>> {
    let family = |ip: &str| {
        if ip.contains(':') {
            Family::IPv6
        } else {
            Family::IPv4
        }
    };
    let pairs = cluster_ips.iter().zip(families);
    pairs
        .take_while(|(ip, wanted)| family(ip) == **wanted)
        .map(|(ip, _)| Arc::clone(ip))
        .collect()
}
