//! What the API server does to Services and slices: defaults, allocation, validation.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::world::{Refusal, World};

const ANNOTATIONS_MAX: usize = 256 * 1024;

pub(super) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().expect("a name").into()
}

/// Sets or removes a key of a string map; a map that gets empty is not there.
pub(crate) fn set_key(holder: &mut Value, map: &str, key: &str, value: Option<&str>) {
    if !holder[map].is_object() {
        holder[map] = json!({});
    }
    let entries = holder[map].as_object_mut().expect("an object");
    match value {
        Some(value) => drop(entries.insert(key.into(), value.into())),
        None => drop(entries.remove(key)),
    }
    if entries.is_empty() {
        holder.as_object_mut().expect("an object").remove(map);
    }
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Invalid(why.into()))
}

fn check_meta(object: &Value) -> Result<(), Refusal> {
    let annotations = object["metadata"]["annotations"].as_object();
    let size: usize = annotations.map_or(0, |entries| {
        let lengths = entries
            .iter()
            .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len));
        lengths.sum()
    });
    if size > ANNOTATIONS_MAX {
        return invalid("annotations too long");
    }
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if owners
        .iter()
        .filter(|owner| owner["controller"] == true)
        .count()
        > 1
    {
        return invalid("two controllers");
    }
    Ok(())
}

fn stamp(world: &mut World, object: &mut Value) {
    let wall = world.now().wall;
    let meta = &mut object["metadata"];
    meta["uid"] = world.next_uid().into();
    meta["resourceVersion"] = world.next_version().into();
    meta["creationTimestamp"] = format!("{wall:.0}").into();
}

/// The server keeps maps and lists that are empty as absent.
fn drop_empty(object: &mut Map<String, Value>) {
    object.retain(|_, value| {
        let is_empty = value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        !is_empty && !value.is_null()
    });
}

pub(super) fn new_service(world: &mut World, mut object: Value) -> Result<Value, Refusal> {
    stamp(world, &mut object);
    finish_service(world, None, object)
}

pub(super) fn updated_service(
    world: &mut World,
    before: &Value,
    mut object: Value,
) -> Result<Value, Refusal> {
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        if object["metadata"][field] != before["metadata"][field] {
            return invalid(format!("metadata.{field} is immutable"));
        }
    }
    object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    finish_service(world, Some(before), object)
}

fn finish_service(
    world: &mut World,
    before: Option<&Value>,
    mut object: Value,
) -> Result<Value, Refusal> {
    check_meta(&object)?;
    drop_empty(object["metadata"].as_object_mut().expect("metadata"));
    let name = name(&object);
    let spec = object["spec"].as_object_mut().expect("a spec");
    drop_empty(spec);
    spec.entry("type").or_insert("ClusterIP".into());
    spec.entry("sessionAffinity").or_insert("None".into());
    let spec = &mut object["spec"];
    let kind = spec["type"].as_str().expect("a type").to_owned();
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.as_object_mut().expect("a spec").remove(field);
        }
        return Ok(object);
    }
    if spec["clusterIP"].is_null() && spec["clusterIPs"].is_array() {
        spec["clusterIP"] = spec["clusterIPs"][0].clone();
    }
    let is_headless = spec["clusterIP"] == "None";
    if is_headless && kind != "ClusterIP" {
        return invalid("a headless Service is of type ClusterIP");
    }
    set_families(world, before, spec)?;
    set_addresses(world, before, &name, spec)?;
    set_ports(world, before, &kind, is_headless, spec)?;
    let is_balanced = kind == "LoadBalancer";
    if !is_balanced && !spec["loadBalancerSourceRanges"].is_null() {
        return invalid("loadBalancerSourceRanges without a load balancer");
    }
    let old_class = before.map_or(&Value::Null, |before| &before["spec"]["loadBalancerClass"]);
    let was_balanced = before.is_some_and(|before| before["spec"]["type"] == "LoadBalancer");
    if is_balanced && was_balanced && spec["loadBalancerClass"] != *old_class {
        return invalid("loadBalancerClass is immutable");
    }
    if !is_balanced && !spec["loadBalancerClass"].is_null() {
        return invalid("loadBalancerClass without a load balancer");
    }
    let spec = spec.as_object_mut().expect("a spec");
    drop_empty(spec);
    Ok(object)
}

fn set_families(world: &World, before: Option<&Value>, spec: &mut Value) -> Result<(), Refusal> {
    let mut families: Vec<Value> = spec["ipFamilies"].as_array().cloned().unwrap_or_default();
    if families.is_empty() {
        families.push(world.families[0].into());
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = if families.len() > 1 {
            "RequireDualStack".into()
        } else {
            "SingleStack".into()
        };
    }
    let is_single = spec["ipFamilyPolicy"] == "SingleStack";
    if is_single && families.len() > 1 {
        return invalid("two families with SingleStack");
    }
    if families
        .iter()
        .any(|family| !world.families.iter().any(|known| family == known))
    {
        return invalid("a family that the cluster does not have");
    }
    if !is_single && families.len() == 1 {
        let other = world.families.iter().find(|known| families[0] != **known);
        families.extend(other.map(|family| Value::from(*family)));
    }
    if let Some(before) = before.filter(|before| before["spec"]["ipFamilies"].is_array())
        && before["spec"]["ipFamilies"][0] != families[0]
    {
        return invalid("the primary family is immutable");
    }
    spec["ipFamilies"] = families.into();
    Ok(())
}

fn texts(list: &Value) -> Vec<String> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .filter_map(|entry| entry.as_str().map(str::to_owned))
        .collect()
}

fn set_addresses(
    world: &mut World,
    before: Option<&Value>,
    name: &str,
    spec: &mut Value,
) -> Result<(), Refusal> {
    let mut ips = texts(&spec["clusterIPs"]);
    if ips.is_empty() {
        ips.extend(spec["clusterIP"].as_str().map(str::to_owned));
    }
    let families = texts(&spec["ipFamilies"]);
    let first = before
        .map(|before| before["spec"]["clusterIP"].clone())
        .filter(Value::is_string);
    if let Some(first) = first
        && ips.first().map(|ip| Value::from(ip.as_str())) != Some(first)
    {
        return invalid("the first cluster address is immutable");
    }
    if ips.first().is_some_and(|ip| ip == "None") {
        if ips.len() > 1 {
            return invalid("None and an address");
        }
        spec["clusterIPs"] = json!(["None"]);
        return Ok(());
    }
    if ips.len() > families.len() {
        return invalid("more addresses than families");
    }
    let others: BTreeSet<String> = world
        .services
        .iter()
        .filter(|(other, _)| *other != name)
        .flat_map(|(_, object)| texts(&object["spec"]["clusterIPs"]))
        .collect();
    for (index, family) in families.iter().enumerate() {
        match ips.get(index) {
            Some(ip) if ip.contains(':') != (family == "IPv6") => {
                return invalid("an address of another family");
            }
            Some(ip) if others.contains(ip) => {
                return invalid("spec.clusterIPs: provided IP is already allocated");
            }
            Some(_) => {}
            None => {
                world.counter += 1;
                let number = world.counter;
                ips.push(match family.as_str() {
                    "IPv6" => format!("fd00:96::{number:x}"),
                    _ => format!("10.96.{}.{}", number / 250, number % 250 + 1),
                });
            }
        }
    }
    spec["clusterIP"] = ips[0].clone().into();
    spec["clusterIPs"] = json!(ips);
    Ok(())
}

fn set_ports(
    world: &mut World,
    before: Option<&Value>,
    kind: &str,
    is_headless: bool,
    spec: &mut Value,
) -> Result<(), Refusal> {
    let mut ports = spec["ports"].as_array().cloned().unwrap_or_default();
    if ports.is_empty() && !is_headless {
        return invalid("no ports");
    }
    let old_ports: Vec<Value> = before
        .and_then(|before| before["spec"]["ports"].as_array().cloned())
        .unwrap_or_default();
    let has_node_ports = matches!(kind, "NodePort" | "LoadBalancer");
    let count = ports.len();
    let mut seen = BTreeSet::new();
    let mut taken: BTreeSet<String> = ports
        .iter()
        .filter(|port| port["nodePort"].is_number())
        .map(|port| port["nodePort"].to_string())
        .collect();
    for port in &mut ports {
        let map = port.as_object_mut().expect("a port");
        map.entry("protocol").or_insert("TCP".into());
        let number = map["port"].clone();
        map.entry("targetPort").or_insert(number);
        if count > 1 && !map.contains_key("name") {
            return invalid("a port without a name");
        }
        if !seen.insert((
            port["name"].to_string(),
            port["port"].to_string(),
            port["protocol"].to_string(),
        )) {
            return invalid("a port twice");
        }
        if !has_node_ports {
            // The server drops those that a change of type has made void.
            let is_old = old_ports
                .iter()
                .any(|old| old["nodePort"] == port["nodePort"]);
            if port["nodePort"].is_number() && !is_old {
                return invalid("a node port without a type that has one");
            }
            port.as_object_mut().expect("a port").remove("nodePort");
        } else if !port["nodePort"].is_number() {
            let old = old_ports
                .iter()
                .find(|old| old["name"] == port["name"] && old["nodePort"].is_number());
            let kept = old
                .map(|old| old["nodePort"].clone())
                .filter(|node| !taken.contains(&node.to_string()));
            port["nodePort"] = kept.unwrap_or_else(|| {
                world.counter += 1;
                (30_000 + world.counter).into()
            });
            taken.insert(port["nodePort"].to_string());
        }
    }
    spec["ports"] = ports.into();
    Ok(())
}

pub(super) fn new_slice(world: &mut World, mut object: Value) -> Result<Value, Refusal> {
    stamp(world, &mut object);
    object["metadata"]["managedFields"] = json!([{"manager": "its creator"}]);
    finish_slice(object)
}

pub(super) fn updated_slice(before: &Value, object: Value) -> Result<Value, Refusal> {
    if object["addressType"] != before["addressType"] {
        return invalid("addressType is immutable");
    }
    for field in ["name", "namespace", "uid"] {
        if object["metadata"][field] != before["metadata"][field] {
            return invalid(format!("metadata.{field} is immutable"));
        }
    }
    let mut object = object;
    object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    if object["metadata"]["managedFields"] == json!([{}]) {
        object["metadata"]["managedFields"].take(); // a request to end the tracking
    }
    finish_slice(object)
}

fn finish_slice(mut object: Value) -> Result<Value, Refusal> {
    check_meta(&object)?;
    drop_empty(object["metadata"].as_object_mut().expect("metadata"));
    let wants_v6 = object["addressType"] == "IPv6";
    for endpoint in object["endpoints"].as_array().unwrap_or(&Vec::new()) {
        let addresses = endpoint["addresses"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if addresses.is_empty() {
            return invalid("an endpoint without addresses");
        }
        for address in addresses {
            let address: std::net::IpAddr = match address.as_str().unwrap_or_default().parse() {
                Ok(address) => address,
                Err(_) => return invalid("an address that is none"),
            };
            let is_refused =
                address.is_loopback() || address.is_unspecified() || address.is_multicast();
            if address.is_ipv6() != wants_v6 || is_refused {
                return invalid(format!("address {address}"));
            }
        }
    }
    for field in ["endpoints", "ports"] {
        // As the server writes lists that are empty.
        if object[field].as_array().is_none_or(Vec::is_empty) {
            object[field] = Value::Null;
        }
    }
    Ok(object)
}
