//! Port resolution against a model that reads the objects' JSON as the contract puts it.

use serde_json::Value;
use zen_lead::logic::elect::{resolve, resolve_without_pod};
use zen_lead::logic::model::{EndpointPort, Pod, Service};

use super::build;
use super::choices::Choices;
use super::judge::word;

/// One Service, one pod.
pub fn ports(data: &[u8]) {
    let mut c = Choices::of(data);
    let (service, pod) = (build::service(&mut c), build::pod(&mut c));
    let ours: Service = serde_json::from_value(service.clone()).expect("it is valid");
    let our_pod: Pod = serde_json::from_value(pod.clone()).expect("it is valid");
    let wanted = list(&service["spec"]["ports"]);
    let expected: Vec<_> = wanted.iter().map(|port| number(port, &pod)).collect();

    let (resolved, missing) = resolve(&ours.spec.ports, &our_pod);
    let left_out: Vec<_> = (0..wanted.len())
        .filter(|at| expected[*at].is_none())
        .collect();
    assert_eq!(missing, left_out, "{service} {pod}");
    let all = wanted.iter().zip(&expected);
    let model: Vec<_> = all
        .clone()
        .filter_map(|(port, number)| Some(published(port, (*number)?)))
        .collect();
    assert_eq!(shown(&resolved), model, "{service} {pod}");

    let numeric = all.filter(|(port, _)| !port["targetPort"].is_string());
    let model: Vec<_> = numeric
        .filter_map(|(port, number)| Some(published(port, (*number)?)))
        .collect();
    assert_eq!(
        shown(&resolve_without_pod(&ours.spec.ports)),
        model,
        "{service}"
    );
}

/// "number = numeric targetPort, or the named port looked up in the leader pod's containers and
/// restartable init containers with the same protocol".
fn number(port: &Value, pod: &Value) -> Option<u64> {
    let Some(name) = port["targetPort"].as_str() else {
        return port["targetPort"].as_u64().or(port["port"].as_u64());
    };
    let containers = list(&pod["spec"]["containers"]);
    let all = list(&pod["spec"]["initContainers"]);
    let restartable = all.into_iter().filter(|c| c["restartPolicy"] == "Always");
    let ports = containers
        .into_iter()
        .chain(restartable)
        .flat_map(|c| list(&c["ports"]));
    let mut fitting = ports
        .filter(|candidate| candidate["name"] == name && candidate["protocol"] == port["protocol"]);
    fitting.next()?["containerPort"].as_u64()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

type Published = (String, String, Option<u64>, Option<String>);

fn published(port: &Value, number: u64) -> Published {
    let text = |field: &str| port[field].as_str().map(str::to_owned);
    let protocol = text("protocol").unwrap_or_default();
    (
        text("name").unwrap_or_default(),
        protocol,
        Some(number),
        text("appProtocol"),
    )
}

fn shown(ports: &[EndpointPort]) -> Vec<Published> {
    let show = |port: &EndpointPort| {
        let name = port.name.as_deref().expect("always written").to_owned();
        let number = port.port.map(u64::from);
        (
            name,
            word(port.protocol).to_owned(),
            number,
            port.app_protocol.as_deref().map(str::to_owned),
        )
    };
    ports.iter().map(show).collect()
}
