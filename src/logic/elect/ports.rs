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

/// Resolves the ports of the source and the additional ports of the observed leader Services (`shown`).
///
/// A client connects to a port number. kube-proxy finds the endpoint by the name that the leader Service
/// has for that number. Therefore a renamed port is published under its old name too, with the target of
/// the new one. A port that the source no longer has keeps its target while a slice still carries it.
#[must_use]
pub fn resolve_beside<'a>(
    ports: &[Port],
    shown: impl Iterator<Item = &'a Port>,
    pod: &Pod,
    is_carried: impl Fn(&Port) -> bool,
) -> Vec<EndpointPort> {
    let mut resolved = resolve(ports, pod).0;
    for (at, old) in shown.enumerate() {
        let is_same = |port: &Port| (port.protocol, port.port) == (old.protocol, old.port);
        let has_name = |port: &Port| port.name == old.name && port.protocol == old.protocol;
        if ports
            .get(at)
            .is_some_and(|port| is_same(port) && has_name(port))
        {
            continue; // As nearly always.
        }
        let leads_to = match ports.iter().find(|port| is_same(port)) {
            Some(port) => port,
            None if ports.iter().any(has_name) || !is_carried(old) => continue,
            None => old,
        };
        let Some(number) = number(leads_to, &pod.ports) else {
            continue;
        };
        let port = Port {
            name: old.name.clone(),
            ..leads_to.clone()
        };
        let port = endpoint_port(&port, number);
        // A slice has each name once.
        match resolved.iter_mut().find(|known| known.name == port.name) {
            Some(known) => *known = port,
            None => resolved.push(port),
        }
    }
    resolved
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
