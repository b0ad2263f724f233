//! Services: what is filled in, allocated, refused and changed.

use serde_json::{Value, json};

use super::{Step, delete, get, patch, put, service};

pub(super) fn steps() -> Vec<Step> {
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
        // What is false is left out of an answer.
        service(
            "unready",
            json!({"ports": [{"port": 80}], "publishNotReadyAddresses": true}),
        ),
        to("unready", json!({"publishNotReadyAddresses": false})),
        patch(
            "services",
            "unready",
            json!([{"op": "add", "path": "/spec/publishNotReadyAddresses", "value": true}]),
        ),
    ]
}
