//! The same requests to simkube and to a real API server: every answer must be the same.
//!
//! Needs `SIMKUBE_REAL_KUBECONFIG`, a kubeconfig of a dual-stack control plane without controllers
//! (`scripts/control-plane up`); without it there is nothing to compare with and the test passes.
//! What has to differ (uids, versions, times, addresses) is replaced by the order of its appearance.

mod leases;
mod nodes;

use std::collections::BTreeMap;

use http::Method;
use kube_client::Client;
use kube_client::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use simkube::{Options, SimKube};

use crate::http::{Answer, JSON_PATCH, Lab, MERGE_PATCH};

/// One request. `{ns}` in path and body is the namespace of the run, `{rv}` and `{uid}` are those
/// of the last object answered.
struct Step {
    method: Method,
    path: String,
    content_type: &'static str,
    body: Value,
}

fn step(method: Method, path: &str, content_type: &'static str, body: Value) -> Step {
    Step {
        method,
        path: path.into(),
        content_type,
        body,
    }
}

fn base(kind: &str) -> String {
    match kind {
        "slices" => "/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices".into(),
        "leases" => "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases".into(),
        "nodes" => "/api/v1/nodes".into(),
        other => format!("/api/v1/namespaces/{{ns}}/{other}"),
    }
}

fn post(kind: &str, body: Value) -> Step {
    step(Method::POST, &base(kind), "application/json", body)
}

fn get(kind: &str, rest: &str) -> Step {
    step(
        Method::GET,
        &format!("{}{rest}", base(kind)),
        "application/json",
        Value::Null,
    )
}

fn put(kind: &str, name: &str, body: Value) -> Step {
    step(
        Method::PUT,
        &format!("{}/{name}", base(kind)),
        "application/json",
        body,
    )
}

fn patch(kind: &str, name: &str, body: Value) -> Step {
    let content_type = if body.is_array() {
        JSON_PATCH
    } else {
        MERGE_PATCH
    };
    step(
        Method::PATCH,
        &format!("{}/{name}", base(kind)),
        content_type,
        body,
    )
}

fn delete(kind: &str, name: &str, options: Value) -> Step {
    step(
        Method::DELETE,
        &format!("{}/{name}", base(kind)),
        "application/json",
        options,
    )
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at its callers")]
fn service(name: &str, spec: Value) -> Step {
    post(
        "services",
        json!({"metadata": {"name": name}, "spec": spec}),
    )
}

fn slice(name: &str, rest: Value) -> Step {
    let mut body = rest;
    body["metadata"] = json!({"name": name});
    post("slices", body)
}

/// Replaces what has to differ.
#[derive(Default)]
struct Names {
    seen: BTreeMap<String, String>,
}

impl Names {
    fn token(&mut self, class: &str, raw: &str) -> String {
        let next = format!(
            "<{class}{}>",
            self.seen
                .values()
                .filter(|t| t[1..].starts_with(class))
                .count()
        );
        self.seen
            .entry(format!("{class}/{raw}"))
            .or_insert(next)
            .clone()
    }

    fn value(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.remove("managedFields");
                for (key, value) in map.iter_mut() {
                    self.value(key, value);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(key, item)),
            Value::String(text) => match key {
                "uid" => *text = self.token("uid", text),
                "resourceVersion" => *text = "<rv>".into(),
                "continue" => *text = "<token>".into(),
                "creationTimestamp" | "deletionTimestamp" | "lastTransitionTime" => {
                    *text = "<time>".into();
                }
                "clusterIP" | "clusterIPs" if text != "None" => *text = self.token("ip", text),
                "message" => *text = self.message(text),
                _ => {}
            },
            Value::Number(number) if matches!(key, "nodePort" | "healthCheckNodePort") => {
                *value = self.token("port", &number.to_string()).into();
            }
            _ => {}
        }
    }

    /// Values in the text, word by word; versions where one is known to stand; no diff of Go structs.
    fn message(&self, text: &str) -> String {
        let text = text.split("\n@@").next().unwrap_or_default();
        // Which JSON type was found where, in the words of Go's decoder and with its structs' names.
        let text = match text.split_once(" cannot be handled as a ") {
            Some((head, tail)) if is_decoder(tail) => &format!("{head} <cannot be decoded>"),
            _ => text,
        };
        // The whole patched object follows, in the order of Go's fields.
        let whole = ["patch: Invalid value: ", "Invalid value: \"{\\\"apiVersion"];
        let text = whole
            .iter()
            .filter_map(|at| text.split_once(at))
            .map(|(head, _)| head)
            .next()
            .map_or_else(|| text.to_owned(), |head| format!("{head}<an object>"));
        let mut out = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_alphanumeric() || ".:-".contains(c) {
                word.push(c);
                continue;
            }
            let known = ["uid", "ip"]
                .iter()
                .find_map(|class| self.seen.get(&format!("{class}/{word}")));
            let is_version = out.ends_with("in record (") && word.parse::<u64>().is_ok();
            let shown = if is_version {
                "<rv>"
            } else {
                known.map_or(word.as_str(), String::as_str)
            };
            out.push_str(shown);
            out.push(c);
            word.clear();
        }
        out.pop();
        out
    }
}

fn is_decoder(text: &str) -> bool {
    [
        "json: cannot unmarshal",
        "invalid type: ",
        "invalid value: ",
    ]
    .iter()
    .any(|words| text.contains(words))
}

async fn run(lab: &Lab, namespace: &str, steps: &[Step]) -> Vec<String> {
    let mut names = Names::default();
    let (mut rv, mut uid) = (String::new(), String::new());
    let mut transcript = Vec::new();
    for step in steps {
        let fill = |text: &str| {
            text.replace("{ns}", namespace)
                .replace("{rv}", &rv)
                .replace("{uid}", &uid)
        };
        let path = fill(&step.path);
        let body = if step.body.is_null() {
            String::new()
        } else {
            fill(&step.body.to_string())
        };
        let answer: Answer = lab
            .try_send(
                step.method.clone(),
                &path,
                step.content_type,
                body.clone().into_bytes(),
            )
            .await
            .unwrap();
        let meta = &answer.body["metadata"];
        if let (Some(version), Some(id)) = (meta["resourceVersion"].as_str(), meta["uid"].as_str())
        {
            (rv, uid) = (version.to_owned(), id.to_owned());
        }
        let mut value = answer.body.clone();
        // The order of lists and whole bodies of success is compared, volatile values are not.
        names.value("", &mut value);
        let asked: String = step.body.to_string().chars().take(300).collect();
        transcript.push(format!(
            "{} {path} {asked}\n  => {} {value}",
            step.method, answer.code
        ));
    }
    transcript
}

fn services() -> Vec<Step> {
    let port = json!([{"port": 80}]);
    let mut steps = vec![
        service("a", json!({"ports": port})),
        service("a", json!({"ports": port})),
        service("1a", json!({"ports": port})),
        service("A", json!({"ports": port})),
        service("a.b", json!({"ports": port})),
        service(&"a".repeat(64), json!({"ports": port})),
        service(
            "np",
            json!({"type": "NodePort", "ports": [{"name": "x", "port": 1}, {"name": "y", "port": 2}]}),
        ),
        service(
            "lb",
            json!({"type": "LoadBalancer", "ports": port, "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
        ),
        service(
            "local",
            json!({"type": "LoadBalancer", "ports": port, "externalTrafficPolicy": "Local"}),
        ),
        service(
            "ext",
            json!({"type": "ExternalName", "externalName": "a.example.com"}),
        ),
        service("h", json!({"clusterIP": "None", "selector": {"a": "b"}})),
        service("h2", json!({"clusterIP": "None"})),
        service(
            "h3",
            json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}),
        ),
        service(
            "p",
            json!({"ports": port, "ipFamilyPolicy": "PreferDualStack"}),
        ),
        service(
            "r",
            json!({"ports": port, "ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
        ),
        service("six", json!({"ports": port, "ipFamilies": ["IPv6"]})),
        service("aff", json!({"ports": port, "sessionAffinity": "ClientIP"})),
        service(
            "dns",
            json!({"type": "NodePort", "ports": [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]}),
        ),
    ];
    for spec in [
        json!({}),
        json!({"ports": [{"port": 0}]}),
        json!({"ports": [{"port": 1}, {"port": 2}]}),
        json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
        json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]}),
        json!({"ports": [{"port": 1, "protocol": "ICMP"}]}),
        json!({"ports": [{"port": 1, "targetPort": "Bad_"}]}),
        json!({"ports": [{"port": 1, "targetPort": 0}]}),
        json!({"ports": [{"port": 1, "appProtocol": "a b"}]}),
        json!({"ports": [{"port": 1, "nodePort": 30000}]}),
        json!({"ports": port, "type": "Odd"}),
        json!({"ports": port, "sessionAffinity": "Odd"}),
        json!({"ports": port, "type": "NodePort", "clusterIP": "None"}),
        json!({"ports": port, "type": "LoadBalancer", "clusterIP": "None"}),
        json!({"ports": port, "clusterIP": "nonsense"}),
        json!({"ports": port, "clusterIP": "192.0.2.1"}),
        json!({"ports": port, "clusterIPs": ["10.96.200.9"]}),
        json!({"ports": port, "clusterIP": "10.96.200.9", "clusterIPs": ["10.96.200.8"]}),
        json!({"ports": port, "ipFamilies": ["IPv4", "IPv4"]}),
        json!({"ports": port, "ipFamilies": ["IPv5"]}),
        json!({"ports": port, "ipFamilies": ["IPv4", "IPv6"]}),
        json!({"ports": port, "ipFamilyPolicy": "Odd"}),
        json!({"ports": port, "loadBalancerClass": "a/b"}),
        json!({"ports": port, "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
        json!({"ports": port, "externalTrafficPolicy": "Local"}),
        json!({"ports": port, "internalTrafficPolicy": "Odd"}),
        json!({"ports": port, "trafficDistribution": "Odd"}),
        json!({"ports": port, "allocateLoadBalancerNodePorts": false}),
        json!({"ports": port, "selector": {"a": "b c"}}),
        json!({"ports": port, "type": "LoadBalancer", "loadBalancerSourceRanges": ["junk"]}),
        json!({"ports": port, "type": "NodePort", "externalTrafficPolicy": "Odd"}),
        json!({"type": "ExternalName"}),
        json!({"type": "ExternalName", "externalName": "A_B"}),
        json!({"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.200.9"}),
        json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}),
    ] {
        steps.push(service("bad", spec));
    }
    steps.extend(service_changes());
    steps
}

fn service_changes() -> Vec<Step> {
    let to = |name: &str, spec: Value| patch("services", name, json!({"spec": spec}));
    vec![
        to("a", json!({"type": "NodePort"})),
        to("a", json!({"type": "LoadBalancer"})),
        to("a", json!({"type": "ClusterIP"})),
        to("a", json!({"clusterIP": "10.96.200.77"})),
        to("a", json!({"clusterIP": "None", "clusterIPs": ["None"]})),
        to("a", json!({"clusterIP": null})),
        to("a", json!({"clusterIP": null, "clusterIPs": null})),
        to("a", json!({"ipFamilyPolicy": "RequireDualStack"})),
        to("a", json!({"ipFamilies": ["IPv6", "IPv4"]})),
        to("a", json!({"ipFamilies": ["IPv4"]})),
        to("a", json!({"ipFamilyPolicy": "SingleStack"})),
        to("a", json!({"ipFamilyPolicy": "PreferDualStack"})),
        to("a", json!({"ipFamilyPolicy": "SingleStack"})),
        to("a", json!({"ipFamilies": ["IPv6"]})),
        to("a", json!({"selector": {"x": "y"}})),
        to("a", json!({"selector": null})),
        to(
            "a",
            json!({"type": "ExternalName", "externalName": "x.example.com"}),
        ),
        to("a", json!({"type": "ClusterIP"})),
        to("h", json!({"ports": [{"port": 1}]})),
        to(
            "h",
            json!({"clusterIP": "10.96.200.78", "clusterIPs": ["10.96.200.78"]}),
        ),
        to("h2", json!({"selector": {"a": "b"}})),
        to("lb", json!({"loadBalancerClass": "example.com/x"})),
        to(
            "lb",
            json!({"type": "ClusterIP", "loadBalancerSourceRanges": null}),
        ),
        to("local", json!({"type": "ClusterIP"})),
        patch(
            "services",
            "a",
            json!({"metadata": {"labels": {"k": "no spaces please"}}}),
        ),
        patch(
            "services",
            "a",
            json!({"metadata": {"labels": {"k": "v".repeat(64)}}}),
        ),
        patch(
            "services",
            "a",
            json!({"metadata": {"labels": {"k".repeat(64): "v"}}}),
        ),
        patch(
            "services",
            "a",
            json!({"metadata": {"labels": {format!("{}/k", "p".repeat(254)): "v"}}}),
        ),
        patch(
            "services",
            "a",
            json!({"metadata": {"annotations": {"k": "x".repeat(300_000)}}}),
        ),
        patch(
            "services",
            "a",
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "x", "uid": ""}]}}),
        ),
        patch(
            "services",
            "a",
            json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]),
        ),
        patch(
            "services",
            "a",
            json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}]),
        ),
        patch(
            "services",
            "a/status",
            json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
        ),
        put(
            "services",
            "a",
            json!({"metadata": {"name": "z"}, "spec": {"ports": [{"port": 80}]}}),
        ),
        put(
            "services",
            "a",
            json!({"metadata": {"name": "a", "uid": "other"}, "spec": {"ports": [{"port": 80}]}}),
        ),
        put(
            "services",
            "a",
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 81}]}}),
        ),
        put(
            "services",
            "a",
            json!({"metadata": {"name": "a", "resourceVersion": "1"}, "spec": {"ports": [{"port": 81}]}}),
        ),
        put(
            "services",
            "fresh",
            json!({"metadata": {"name": "fresh"}, "spec": {"ports": [{"port": 81}]}}),
        ),
        get("services", "?fieldSelector=metadata.name%3Da"),
        get("services", "?fieldSelector=spec.odd%3Da"),
        get("services", "?labelSelector=a%20b"),
        get("services", "?limit=2"),
        get("services", "?limit=2&labelSelector=nobody"),
        get(
            "services",
            "?limit=100&fieldSelector=spec.type%3DLoadBalancer",
        ),
        get(
            "services",
            "?labelSelector=!x,y%20notin%20(z),k!%3Dv&fieldSelector=metadata.name%3Dnp",
        ),
        get("services", "?resourceVersion=x"),
        get("services", "?resourceVersion=1&resourceVersionMatch=Odd"),
        get("services", "/missing"),
        delete("services", "missing", Value::Null),
        delete("services", "a", json!({"preconditions": {"uid": "other"}})),
        delete("services", "a", Value::Null),
    ]
}

fn slices() -> Vec<Step> {
    let with = |kind: &str, addresses: Value| json!({"addressType": kind, "endpoints": [{"addresses": addresses}]});
    let mut steps = vec![
        slice(
            "a",
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]}),
        ),
        get("slices", "/a"),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/endpoints", "value": [{"addresses": ["10.0.0.1"], "nodeName": "n", "targetRef": {"kind": "Pod", "name": "p", "namespace": "{ns}", "uid": "u"}, "conditions": {"ready": true, "serving": true, "terminating": false}}]}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "{rv}"}, {"op": "replace", "path": "/endpoints", "value": []}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}, {"op": "replace", "path": "/endpoints", "value": []}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "test", "path": "/addressType", "value": "IPv6"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "remove", "path": "/metadata/labels/x"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/addressType", "value": "IPv6"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]),
        ),
        patch(
            "slices",
            "a",
            json!([{"op": "replace", "path": "/metadata/uid", "value": "b"}]),
        ),
        patch(
            "slices",
            "a",
            json!({"metadata": {"finalizers": ["example.com/x"]}}),
        ),
        delete("slices", "a", json!({"preconditions": {"uid": "other"}})),
        delete(
            "slices",
            "a",
            json!({"preconditions": {"resourceVersion": "1"}}),
        ),
        delete("slices", "a", json!({"preconditions": {"uid": "{uid}"}})),
        get("slices", "/a"),
        patch(
            "slices",
            "a",
            json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}),
        ),
        patch("slices", "a", json!({"metadata": {"finalizers": null}})),
        get("slices", "/a"),
        slice("bg", json!({"addressType": "IPv4", "endpoints": []})),
        delete("slices", "bg", json!({"propagationPolicy": "Orphan"})),
        get("slices", "/bg"),
        delete("slices", "bg", json!({"propagationPolicy": "Sideways"})),
        delete("slices", "bg", json!({"propagationPolicy": "Background"})),
        put(
            "slices",
            "none",
            json!({"metadata": {"name": "none"}, "addressType": "IPv4", "endpoints": []}),
        ),
    ];
    for body in [
        json!({"endpoints": []}),
        json!({"addressType": "IPv5", "endpoints": []}),
        with("IPv4", json!([])),
        with("IPv4", json!(["nonsense"])),
        with("IPv4", json!(["fd00::1"])),
        with("IPv6", json!(["10.0.0.1"])),
        with("IPv6", json!(["FD00::1"])),
        with("IPv4", json!(["127.0.0.1"])),
        with("IPv6", json!(["::1"])),
        with("IPv4", json!(["169.254.1.1"])),
        with("IPv6", json!(["fe80::1"])),
        with("IPv4", json!(["0.0.0.0"])),
        with("IPv4", json!(["224.0.0.5"])),
        with("IPv6", json!(["ff02::1"])),
        with("IPv4", json!(vec!["10.0.0.1"; 101])),
        json!({"addressType": "IPv4", "endpoints": vec![json!({"addresses": ["10.0.0.1"]}); 1_001]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1}, {"port": 2}]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "protocol": "X"}]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "name": "A_"}]}),
        json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "name": "a".repeat(64)}]}),
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "A"}]}),
    ] {
        steps.push(slice("bad", body));
    }
    steps
}

fn others() -> Vec<Step> {
    let event = |message: &str| {
        json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Service", "namespace": "{ns}", "name": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c",
            "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal", "message": message,
        })
    };
    let pod = json!({"nodeName": "n", "containers": [{"name": "a", "image": "i"}]});
    vec![
        post(
            "leases",
            json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.123456Z"}}),
        ),
        put(
            "leases",
            "l",
            json!({"metadata": {"name": "l"}, "spec": {}}),
        ),
        put(
            "leases",
            "l",
            json!({"metadata": {"name": "l", "resourceVersion": "{rv}"}, "spec": {"holderIdentity": "b"}}),
        ),
        put(
            "leases",
            "l",
            json!({"metadata": {"name": "l", "resourceVersion": "1"}, "spec": {"holderIdentity": "b"}}),
        ),
        put(
            "leases",
            "new",
            json!({"metadata": {"name": "new"}, "spec": {"leaseDurationSeconds": 5}}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "x"}, "spec": {"leaseDurationSeconds": 0}}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "x"}, "spec": {"leaseTransitions": -1}}),
        ),
        post(
            "leases",
            json!({"metadata": {"name": "x", "namespace": "elsewhere"}, "spec": {}}),
        ),
        post("leases", json!({"kind": "Pod", "metadata": {"name": "x"}})),
        post(
            "leases",
            json!({"metadata": {"name": "x", "resourceVersion": "5"}, "spec": {}}),
        ),
        post("leases", json!({"spec": {}})),
        post("events", event(&"x".repeat(1_025))),
        post("events", event("fine")),
        post(
            "events",
            json!({"metadata": {"name": "old"}, "involvedObject": {"namespace": "{ns}"}, "message": "m"}),
        ),
        post(
            "events",
            json!({"metadata": {"name": "astray"}, "involvedObject": {"namespace": "elsewhere"}}),
        ),
        patch(
            "events",
            "e",
            json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
        ),
        step(
            Method::POST,
            "/api/v1/namespaces/nowhere/services",
            "application/json",
            json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}}),
        ),
        step(
            Method::DELETE,
            "/api/v1/namespaces/{ns}/services/x/nonsense",
            "application/json",
            Value::Null,
        ),
        step(
            Method::POST,
            "/api/v1/services",
            "application/json",
            json!({"metadata": {"name": "a"}}),
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?watch=1&sendInitialEvents=true",
            "application/json",
            Value::Null,
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?watch=1&resourceVersionMatch=NotOlderThan",
            "application/json",
            Value::Null,
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?resourceVersionMatch=Exact",
            "application/json",
            Value::Null,
        ),
        step(
            Method::GET,
            "/api/v1/namespaces/{ns}/pods?sendInitialEvents=true",
            "application/json",
            Value::Null,
        ),
        step(
            Method::PATCH,
            "/api/v1/namespaces/{ns}/pods/p",
            "text/plain",
            json!({}),
        ),
        get("pods", "?fieldSelector=spec.odd%3Da"),
        get("leases", "?fieldSelector=spec.odd%3Da"),
        post(
            "pods",
            json!({"metadata": {"name": "p"}, "spec": {"containers": []}}),
        ),
        post("pods", json!({"metadata": {"name": "p"}, "spec": pod})),
    ]
}

/// A namespace that goes while something in it is held.
fn farewell() -> Vec<Step> {
    let here = |method: Method| {
        step(
            method,
            "/api/v1/namespaces/{ns}",
            "application/json",
            Value::Null,
        )
    };
    vec![
        post(
            "leases",
            json!({"metadata": {"name": "held", "finalizers": ["example.com/x"]}, "spec": {}}),
        ),
        here(Method::GET),
        here(Method::DELETE),
        here(Method::DELETE),
        service("late", json!({"ports": [{"port": 80}]})),
        post(
            "leases",
            json!({"metadata": {"generateName": "late-"}, "spec": {}}),
        ),
        patch(
            "leases",
            "held",
            json!({"metadata": {"labels": {"a": "b"}}}),
        ),
    ]
}

/// Pods are compared by what matters: their whole default spec is none of a controller's business.
fn pods() -> Vec<Step> {
    vec![
        patch(
            "pods",
            "p/status",
            json!({"status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}),
        ),
        patch("pods", "p", json!({"spec": {"nodeName": "other"}})),
        delete("pods", "p", Value::Null),
        delete("pods", "p", json!({"gracePeriodSeconds": 60})),
        delete("pods", "p", json!({"gracePeriodSeconds": 10})),
        delete("pods", "p", json!({"gracePeriodSeconds": 0})),
        get("pods", "/p"),
    ]
}

/// A watch, what is done while it runs, and the event (type and name) that ends the comparison.
struct Scene {
    watch: String,
    steps: Vec<Step>,
    last: (&'static str, &'static str),
}

fn scenes() -> Vec<Scene> {
    let stream =
        "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let label = |name: &str, text: Value| {
        patch(
            "slices",
            name,
            json!({"metadata": {"labels": {"on": text}}}),
        )
    };
    let made = |name: &str| {
        post(
            "slices",
            json!({"metadata": {"name": name, "labels": {"on": "x"}}, "addressType": "IPv4", "endpoints": []}),
        )
    };
    let pod = |name: &str| {
        post(
            "pods",
            json!({"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": [{"name": "a", "image": "i"}]}}),
        )
    };
    let phase = |name: &str, phase: &str| {
        patch(
            "pods",
            &format!("{name}/status"),
            json!({"status": {"phase": phase}}),
        )
    };
    vec![
        Scene {
            watch: format!("{}?{stream}&labelSelector=on", base("slices")),
            steps: vec![
                made("w"),
                label("w", "y".into()),
                label("w", "y".into()),
                label("w", Value::Null),
                patch(
                    "slices",
                    "w",
                    json!({"metadata": {"annotations": {"unseen": "1"}}}),
                ),
                label("w", "z".into()),
                patch(
                    "slices",
                    "w",
                    json!({"metadata": {"finalizers": ["example.com/x"]}}),
                ),
                delete("slices", "w", Value::Null),
                patch("slices", "w", json!({"metadata": {"finalizers": null}})),
                made("v"),
                delete("slices", "v", Value::Null),
                made("last"),
            ],
            last: ("ADDED", "last"),
        },
        Scene {
            watch: format!(
                "{}?{stream}&fieldSelector=metadata.name%3Dwatched",
                base("leases")
            ),
            steps: leases::watched(),
            last: ("DELETED", "watched"),
        },
        Scene {
            watch: format!(
                "{}?{stream}&labelSelector=zone%3Dwatched-{{ns}}",
                base("nodes")
            ),
            steps: nodes::watched(),
            last: ("DELETED", "{ns}-last"),
        },
        Scene {
            watch: format!(
                "{}?{stream}&fieldSelector=status.phase!%3DSucceeded,status.phase!%3DFailed",
                base("pods")
            ),
            steps: vec![
                pod("run"),
                phase("run", "Running"),
                delete("pods", "run", Value::Null),
                delete("pods", "run", json!({"gracePeriodSeconds": 0})),
                pod("fail"),
                phase("fail", "Running"),
                phase("fail", "Failed"),
                delete("pods", "fail", Value::Null),
                pod("forced"),
                phase("forced", "Running"),
                delete("pods", "forced", json!({"gracePeriodSeconds": 0})),
                pod("last"),
            ],
            last: ("ADDED", "last"),
        },
    ]
}

async fn watched(lab: &Lab, namespace: &str, scene: &Scene) -> Vec<String> {
    let mut watch = lab.watch(&scene.watch.replace("{ns}", namespace)).await;
    run(lab, namespace, &scene.steps).await;
    let (mut names, mut frames, mut version) = (Names::default(), Vec::new(), 0);
    loop {
        let mut frame = watch.next().await;
        let meta = frame["object"]["metadata"].clone();
        let initial_end = !meta["annotations"]["k8s.io/initial-events-end"].is_null();
        if frame["type"] == "BOOKMARK" && !initial_end {
            continue;
        }
        let rv: u64 = meta["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(rv >= version, "versions rise");
        version = rv;
        names.value("", &mut frame);
        if frame["object"]["kind"] == "Pod" && !initial_end {
            let object = &frame["object"];
            frame["object"] =
                json!({"metadata": object["metadata"], "phase": object["status"]["phase"]});
        }
        frames.push(frame.to_string());
        let (kind, name) = scene.last;
        if frame["type"] == kind && meta["name"] == *name.replace("{ns}", namespace) {
            return frames;
        }
    }
}

async fn real() -> Option<Client> {
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let path = std::env::var("SIMKUBE_REAL_KUBECONFIG").ok()?;
    let kubeconfig = Kubeconfig::read_from(path).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    config.default_retry = false;
    Some(Client::try_from(config).unwrap())
}

fn differences(sim: &[String], real: &[String]) -> String {
    assert_eq!(sim.len(), real.len());
    let pairs = sim.iter().zip(real).filter(|(sim, real)| sim != real);
    pairs.fold(String::new(), |all, (sim, real)| {
        format!(
            "{all}SIM  {sim}
REAL {real}

"
        )
    })
}

/// Leaves out of pods what only the real server fills in.
fn only_metadata(transcript: &[String]) -> Vec<String> {
    let cut = |line: &String| {
        let (request, answer) = line.split_once("\n  => ").unwrap();
        let (code, body) = answer.split_once(' ').unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        let body = if body["kind"] == "Pod" {
            json!({"metadata": body["metadata"], "phase": body["status"]["phase"], "ips": body["status"]["podIPs"]})
        } else {
            body
        };
        format!("{request}\n  => {code} {body}")
    };
    transcript.iter().map(cut).collect()
}

#[tokio::test]
async fn simkube_answers_like_the_real_one() {
    let Some(client) = real().await else { return };
    let sim = SimKube::new(Options {
        dual_stack: true,
        ..Options::default()
    });
    let real = Lab {
        sim: sim.clone(),
        client,
    };
    let sim = Lab {
        client: sim.client(),
        sim,
    };
    let namespace = format!("simkube-{}", std::process::id());
    let (mut wrong, mut requests, mut events) = (String::new(), 0, 0);
    for lab in [&sim, &real] {
        lab.post(
            "/api/v1/namespaces",
            &json!({"metadata": {"name": namespace}}),
        )
        .await
        .expect(201);
    }
    for steps in [
        services(),
        slices(),
        others(),
        pods(),
        leases::steps(),
        nodes::steps(),
    ] {
        let ours = only_metadata(&run(&sim, &namespace, &steps).await);
        let theirs = only_metadata(&run(&real, &namespace, &steps).await);
        requests += steps.len();
        wrong += &differences(&ours, &theirs);
    }
    for scene in scenes() {
        let ours = watched(&sim, &namespace, &scene).await;
        let theirs = watched(&real, &namespace, &scene).await;
        events += ours.len();
        assert_eq!(ours, theirs);
    }
    let ours = run(&sim, &namespace, &farewell()).await;
    let theirs = run(&real, &namespace, &farewell()).await;
    wrong += &differences(&ours, &theirs);
    requests += ours.len();
    println!(
        "conformance: {requests} requests and {events} watch events compared with the real server"
    );
    assert!(wrong.is_empty(), "{wrong}");
}
