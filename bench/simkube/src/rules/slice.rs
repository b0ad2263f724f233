//! `EndpointSlices`: defaults and rules.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use serde_json::Value;

use super::{addresses, names};
use crate::api::violation::Violations;

const ENDPOINTS_MAX: usize = 1_000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;
const TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];

/// Fills in what a client may leave out.
pub(crate) fn default(slice: &mut EndpointSlice) {
    for port in slice.ports.iter_mut().flatten() {
        port.name.get_or_insert_default();
        port.protocol.get_or_insert_with(|| "TCP".into());
    }
    for endpoint in &mut slice.endpoints {
        // A struct in Go, not a pointer: it is always written.
        endpoint.conditions.get_or_insert_default();
    }
}

/// Lists are written even when empty, and then as `null`.
pub(crate) fn shape(value: &mut Value) {
    for field in ["endpoints", "ports"] {
        if value[field].as_array().is_none_or(Vec::is_empty) {
            value[field] = Value::Null;
        }
    }
}

/// Rules for a slice; `old` is the version before, if any. Since v1.37 (`minor`) some are checked
/// declaratively, which says less.
pub(crate) fn validate(
    slice: &EndpointSlice,
    old: Option<&EndpointSlice>,
    minor: u32,
) -> Violations {
    let mut bad = Violations::default();
    if slice.address_type.is_empty() {
        bad.required("addressType", "");
    } else if !TYPES.contains(&slice.address_type.as_str()) {
        bad.not_supported("addressType", &slice.address_type, &TYPES);
    }
    ports(slice.ports.as_deref().unwrap_or_default(), &mut bad);
    // Endpoints that were accepted once are not judged again by newer rules.
    if old.is_none_or(|o| o.endpoints != slice.endpoints) {
        endpoints(&slice.endpoints, &slice.address_type, minor, &mut bad);
    }
    if old.is_some_and(|o| o.address_type != slice.address_type) {
        let value = if minor < 37 {
            Value::from(slice.address_type.as_str())
        } else {
            Value::Null
        };
        bad.invalid("addressType", value, "field is immutable");
    }
    bad
}

/// Too many endpoints is the only error then: a list of a thousand errors would not help.
fn endpoints(all: &[Endpoint], kind: &str, minor: u32, bad: &mut Violations) {
    let empty = if minor < 37 {
        "must contain at least 1 address"
    } else {
        ""
    };
    if all.len() > ENDPOINTS_MAX {
        bad.too_many("endpoints", all.len(), ENDPOINTS_MAX);
        return;
    }
    for (at, endpoint) in all.iter().enumerate() {
        let path = format!("endpoints[{at}]");
        let list = format!("{path}.addresses");
        match endpoint.addresses.len() {
            0 => bad.required(list.as_str(), empty),
            n if n > ADDRESSES_MAX => bad.too_many(list.as_str(), n, ADDRESSES_MAX),
            _ => {}
        }
        for (i, text) in endpoint.addresses.iter().enumerate() {
            address(&list, i, text, kind, bad);
        }
        if let Some(node) = &endpoint.node_name {
            for error in names::dns1123_subdomain(node) {
                bad.invalid(format!("{path}.nodeName"), node.as_str(), error);
            }
        }
        if let Some(hostname) = &endpoint.hostname {
            for error in names::dns1123_label(hostname) {
                bad.invalid(format!("{path}.hostname"), hostname.as_str(), error);
            }
        }
    }
}

/// Legacy checks for IPv4, strict ones for IPv6: IPv6 addresses must be spelled canonically.
fn address(list: &str, at: usize, text: &str, kind: &str, bad: &mut Violations) {
    let path = format!("{list}[{at}]");
    if kind != "IPv4" && kind != "IPv6" {
        return;
    }
    let Some(ip) = addresses::parse(&path, text, bad) else {
        return;
    };
    if kind == "IPv6" && ip.to_string() != text {
        bad.invalid(
            path.as_str(),
            text,
            format!("must be in canonical form (\"{ip}\")"),
        );
        return;
    }
    if !addresses::is_family(ip, kind) {
        let article = format!("must be an {kind} address");
        bad.invalid(list, text, article);
    }
    addresses::endpoint(&path, text, ip, bad);
}

/// An unnamed port is named `""`, so a second one is a duplicate.
fn ports(all: &[EndpointPort], bad: &mut Violations) {
    if all.len() > PORTS_MAX {
        bad.too_many("ports", all.len(), PORTS_MAX);
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for (at, port) in all.iter().enumerate() {
        let path = format!("ports[{at}]");
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            for error in names::dns1123_label(name) {
                bad.invalid(format!("{path}.name"), name, error);
            }
        }
        if !seen.insert(name) {
            bad.duplicate(format!("{path}.name"), name);
        }
        let protocol = port.protocol.as_deref().unwrap_or_default();
        if !["SCTP", "TCP", "UDP"].contains(&protocol) {
            bad.not_supported(
                format!("{path}.protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            );
        }
        if let Some(app) = &port.app_protocol {
            for error in names::qualified_name(app) {
                bad.invalid(format!("{path}.appProtocol"), app.as_str(), error);
            }
        }
    }
}
