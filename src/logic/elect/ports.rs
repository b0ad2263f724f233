//! Which ports of a Service a pod has.

use crate::logic::model::{EndpointPort, NamedPort, Pod, Port, TargetPort};

/// The ports of a Service as this pod has them, and the indices of those that it does not have.
#[must_use]
pub fn resolve(ports: &[Port], pod: &Pod) -> (Vec<EndpointPort>, Vec<usize>) {
    let mut resolved = Vec::with_capacity(ports.len());
    let mut missing = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        match number(port, &pod.ports) {
            Some(number) => resolved.push(endpoint_port(port, number)),
            None => missing.push(at),
        }
    }
    (resolved, missing)
}

/// The ports that need no pod to be resolved.
#[must_use]
pub fn resolve_without_pod(ports: &[Port]) -> Vec<EndpointPort> {
    ports
        .iter()
        .filter_map(|port| Some(endpoint_port(port, number(port, &[])?)))
        .collect()
}

fn endpoint_port(port: &Port, number: u16) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_else(|| "".into())),
        protocol: port.protocol,
        port: Some(number),
        app_protocol: port.app_protocol.clone(),
    }
}

/// Whether the pod resolves at least one port, or there is none to resolve.
pub(super) fn resolves_any(ports: &[Port], pod: &Pod) -> bool {
    ports.is_empty() || ports.iter().any(|port| number(port, &pod.ports).is_some())
}

fn number(port: &Port, named: &[NamedPort]) -> Option<u16> {
    match &port.target_port {
        None | Some(TargetPort::Number(0)) => Some(port.port),
        Some(TargetPort::Number(number)) => Some(*number),
        Some(TargetPort::Name(name)) => named
            .iter()
            .find(|candidate| candidate.name == *name && candidate.protocol == port.protocol)
            .map(|candidate| candidate.number),
    }
}
