//! What the registry does to Services.

use serde_json::{Value, json};
use simkube::{Kind, Options};

use crate::http::{Lab, SERVICES, service};

#[expect(clippy::needless_pass_by_value, reason = "reads better at its callers")]
fn with(spec: Value) -> Value {
    json!({"metadata": {"name": "a"}, "spec": spec})
}

fn dual() -> Lab {
    Lab::new(Options {
        dual_stack: true,
        ..Options::default()
    })
}

#[tokio::test(start_paused = true)]
async fn defaults_are_filled_in() {
    let lab = Lab::plain();
    let made = lab.post(SERVICES, &service("a")).await.expect(201);
    assert_eq!(
        made.body["spec"],
        json!({
            "clusterIP": "10.96.0.2", "clusterIPs": ["10.96.0.2"], "type": "ClusterIP",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None",
            "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        })
    );
    assert_eq!(made.body["status"], json!({"loadBalancer": {}}));
    assert!(made.body["metadata"].get("generation").is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_named() {
    let port = json!([{"port": 80}]);
    for (spec, text) in [
        (json!({}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 0}]}),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"ports": [{"port": 1}, {"port": 2}]}),
            "[spec.ports[0].name: Required value, spec.ports[1].name: Required value]",
        ),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
            "spec.ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]}),
            "spec.ports[1]: Duplicate value: {",
        ),
        (
            json!({"ports": [{"port": 1, "protocol": "ICMP"}]}),
            "spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
        ),
        (
            json!({"ports": [{"port": 1, "targetPort": "Bad_"}]}),
            "spec.ports[0].targetPort: Invalid value: \"Bad_\"",
        ),
        (
            json!({"ports": [{"port": 1, "nodePort": 30000}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({"ports": port, "type": "Odd"}),
            "spec.type: Unsupported value: \"Odd\"",
        ),
        (
            json!({"ports": port, "sessionAffinity": "Odd"}),
            "spec.sessionAffinity: Unsupported value: \"Odd\"",
        ),
        (
            json!({"ports": port, "type": "NodePort", "clusterIP": "None"}),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            json!({"ports": port, "clusterIP": "nonsense"}),
            "spec.clusterIPs[0]: Invalid value: \"nonsense\": must be a valid IP address",
        ),
        (
            json!({"ports": port, "clusterIP": "192.0.2.1"}),
            "failed to allocate IP 192.0.2.1: the provided network does not match the current range",
        ),
        (
            json!({"ports": port, "clusterIPs": ["10.96.0.9"]}),
            "must be empty when `clusterIP` is not specified",
        ),
        (
            json!({"ports": port, "ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"ports": port, "ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        ),
        (
            json!({"ports": port, "ipFamilies": ["IPv4", "IPv4"]}),
            "spec.ipFamilies[1]: Duplicate value: \"IPv4\"",
        ),
        (
            json!({"ports": port, "loadBalancerClass": "a/b"}),
            "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            json!({"ports": port, "loadBalancerSourceRanges": ["10.0.0.0/8"]}),
            "spec.LoadBalancerSourceRanges: Forbidden",
        ),
        (
            json!({"ports": port, "externalTrafficPolicy": "Local"}),
            "may only be set for externally-accessible services",
        ),
        (
            json!({"ports": port, "type": "LoadBalancer", "loadBalancerSourceRanges": ["junk"]}),
            "spec.LoadBalancerSourceRanges[0]: Invalid value: \"junk\"",
        ),
        (
            json!({"ports": port, "type": "NodePort", "externalTrafficPolicy": "Odd"}),
            "spec.externalTrafficPolicy: Unsupported value: \"Odd\"",
        ),
        (
            json!({"ports": port, "internalTrafficPolicy": "Odd"}),
            "spec.internalTrafficPolicy: Unsupported value: \"Odd\"",
        ),
        (
            json!({"ports": port, "trafficDistribution": "Odd"}),
            "spec.trafficDistribution: Unsupported value: \"Odd\"",
        ),
        (
            json!({"type": "ExternalName"}),
            "spec.externalName: Required value",
        ),
        (
            json!({"type": "ExternalName", "externalName": "A_B"}),
            "spec.externalName: Invalid value: \"A_B\"",
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 80}]}),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
        (
            json!({"ports": port, "selector": {"a": "b c"}}),
            "spec.selector: Invalid value: \"b c\"",
        ),
    ] {
        let lab = Lab::plain();
        let answer = lab.post(SERVICES, &with(spec)).await.expect(422);
        assert!(answer.message().contains(text), "{}", answer.message());
    }
}

#[tokio::test(start_paused = true)]
async fn names_may_begin_with_a_digit_since_1_36() {
    let lab = Lab::plain();
    lab.post(SERVICES, &service("1a")).await.expect(201);
    lab.post(SERVICES, &service("a.b")).await.expect(422);
    let old = Lab::new(Options {
        relaxed_service_names: false,
        ..Options::default()
    });
    let answer = old.post(SERVICES, &service("1a")).await.expect(422);
    assert!(
        answer
            .message()
            .contains("metadata.name: Invalid value: \"1a\": a DNS-1035 label must")
    );
    old.post(SERVICES, &service(&"a".repeat(63)))
        .await
        .expect(201);
    old.post(SERVICES, &service(&"a".repeat(64)))
        .await
        .expect(422);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_given_out_and_come_back() {
    let lab = Lab::plain();
    let made = lab.post(SERVICES, &service("a")).await.expect(201);
    let ip = made.body["spec"]["clusterIP"].clone();
    let taken = json!({"ports": [{"port": 80}], "clusterIP": ip});
    let mut other = with(taken);
    other["metadata"]["name"] = "b".into();
    let answer = lab.post(SERVICES, &other).await.expect(422);
    assert!(
        answer
            .message()
            .contains("failed to allocate IP 10.96.0.2: provided IP is already allocated")
    );
    // A Service that is made again can have its old address.
    lab.delete(&format!("{SERVICES}/a"), &Value::Null)
        .await
        .expect(200);
    lab.post(SERVICES, &other).await.expect(201);
    // Without asking, the next free one.
    let made = lab.post(SERVICES, &service("c")).await.expect(201);
    assert_eq!(made.body["spec"]["clusterIP"], "10.96.0.3");
}

#[tokio::test(start_paused = true)]
async fn types_change_in_place() {
    let lab = Lab::plain();
    lab.post(SERVICES, &service("a")).await.expect(201);
    let path = format!("{SERVICES}/a");
    let to = async |kind: &str| {
        lab.patch(&path, &json!({"spec": {"type": kind}}))
            .await
            .expect(200)
            .body["spec"]
            .clone()
    };
    let spec = to("NodePort").await;
    assert_eq!(spec["ports"][0]["nodePort"], 30_000);
    assert_eq!(
        (&spec["clusterIP"], &spec["externalTrafficPolicy"]),
        (&json!("10.96.0.2"), &json!("Cluster"))
    );
    let spec = to("LoadBalancer").await;
    assert_eq!(
        (
            &spec["ports"][0]["nodePort"],
            &spec["allocateLoadBalancerNodePorts"]
        ),
        (&json!(30_000), &json!(true))
    );
    let spec = to("ClusterIP").await;
    assert_eq!(spec["ports"][0].get("nodePort"), None);
    assert_eq!(
        (
            spec.get("externalTrafficPolicy"),
            spec.get("allocateLoadBalancerNodePorts")
        ),
        (None, None)
    );
    // The port is free again.
    let mut other = service("b");
    other["spec"] = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_000}]});
    lab.post(SERVICES, &other).await.expect(201);
    other["metadata"]["name"] = "c".into();
    let answer = lab.post(SERVICES, &other).await.expect(422);
    assert!(answer.message().contains(
        "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"
    ));
    let spec = lab
        .patch(
            &path,
            &json!({"spec": {"type": "ExternalName", "externalName": "x.example.com"}}),
        )
        .await;
    let spec = spec.expect(200).body["spec"].clone();
    assert_eq!(
        (
            spec.get("clusterIP"),
            spec.get("ipFamilies"),
            spec.get("internalTrafficPolicy")
        ),
        (None, None, None)
    );
    let spec = to("ClusterIP").await;
    assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
    assert!(spec["clusterIP"].is_string());
}

#[tokio::test(start_paused = true)]
async fn a_put_without_the_allocated_values_keeps_them() {
    let lab = Lab::plain();
    let spec =
        json!({"type": "NodePort", "ports": [{"name": "x", "port": 1}, {"name": "y", "port": 2}]});
    let made = lab.post(SERVICES, &with(spec)).await.expect(201);
    let again =
        json!({"type": "NodePort", "ports": [{"name": "y", "port": 3}, {"name": "z", "port": 4}]});
    let put = lab
        .put(&format!("{SERVICES}/a"), &with(again))
        .await
        .expect(200);
    assert_eq!(
        put.body["spec"]["clusterIP"],
        made.body["spec"]["clusterIP"]
    );
    assert_eq!(
        put.body["spec"]["ports"][0]["nodePort"],
        made.body["spec"]["ports"][1]["nodePort"]
    );
    assert_eq!(put.body["spec"]["ports"][1]["nodePort"], 30_002);
    // TCP and UDP of one port share a number.
    let twins = json!({"type": "NodePort", "ports": [{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]});
    let mut object = with(twins);
    object["metadata"]["name"] = "dns".into();
    let made = lab.post(SERVICES, &object).await.expect(201);
    assert_eq!(
        made.body["spec"]["ports"][0]["nodePort"],
        made.body["spec"]["ports"][1]["nodePort"]
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_do_not_change() {
    let lab = Lab::plain();
    lab.post(SERVICES, &service("a")).await.expect(201);
    let path = format!("{SERVICES}/a");
    for (patch, text) in [
        (
            json!({"spec": {"clusterIP": "10.96.0.77"}}),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.0.77\"]: may not change once set",
        ),
        (
            json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
            "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
        ),
    ] {
        let answer = lab.patch(&path, &patch).await.expect(422);
        assert!(answer.message().contains(text), "{}", answer.message());
    }
    let headless = with(json!({"clusterIP": "None", "selector": {"a": "b"}}));
    let mut headless = headless;
    headless["metadata"]["name"] = "h".into();
    let made = lab.post(SERVICES, &headless).await.expect(201);
    assert_eq!(made.body["spec"]["clusterIPs"], json!(["None"]));
    assert_eq!(made.body["spec"].get("ports"), None);
    let answer = lab.patch(&format!("{SERVICES}/h"), &json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 1}]}})).await;
    assert!(
        answer
            .expect(422)
            .message()
            .contains("may not change once set")
    );
}

#[tokio::test(start_paused = true)]
async fn dual_stack_comes_and_goes() {
    let lab = dual();
    for (name, spec, families, policy, ips) in [
        (
            "single",
            json!({"ports": [{"port": 1}]}),
            json!(["IPv4"]),
            "SingleStack",
            1,
        ),
        (
            "prefer",
            json!({"ports": [{"port": 1}], "ipFamilyPolicy": "PreferDualStack"}),
            json!(["IPv4", "IPv6"]),
            "PreferDualStack",
            2,
        ),
        (
            "six",
            json!({"ports": [{"port": 1}], "ipFamilies": ["IPv6"]}),
            json!(["IPv6"]),
            "SingleStack",
            1,
        ),
        (
            "six-first",
            json!({"ports": [{"port": 1}], "ipFamilies": ["IPv6"], "ipFamilyPolicy": "RequireDualStack"}),
            json!(["IPv6", "IPv4"]),
            "RequireDualStack",
            2,
        ),
        (
            "headless",
            json!({"clusterIP": "None"}),
            json!(["IPv4", "IPv6"]),
            "RequireDualStack",
            1,
        ),
        (
            "headless-one",
            json!({"clusterIP": "None", "ipFamilyPolicy": "SingleStack"}),
            json!(["IPv4"]),
            "SingleStack",
            1,
        ),
        (
            "headless-selected",
            json!({"clusterIP": "None", "selector": {"a": "b"}}),
            json!(["IPv4"]),
            "SingleStack",
            1,
        ),
    ] {
        let mut object = with(spec);
        object["metadata"]["name"] = name.into();
        let spec = lab.post(SERVICES, &object).await.expect(201).body["spec"].clone();
        assert_eq!(
            (&spec["ipFamilies"], &spec["ipFamilyPolicy"]),
            (&families, &json!(policy)),
            "{name}"
        );
        assert_eq!(spec["clusterIPs"].as_array().unwrap().len(), ips, "{name}");
    }
    let path = format!("{SERVICES}/single");
    let up = lab
        .patch(
            &path,
            &json!({"spec": {"ipFamilyPolicy": "RequireDualStack"}}),
        )
        .await
        .expect(200);
    assert_eq!(up.body["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(up.body["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
    let first = up.body["spec"]["clusterIP"].clone();
    let answer = lab
        .patch(&path, &json!({"spec": {"ipFamilies": ["IPv6", "IPv4"]}}))
        .await
        .expect(422);
    assert!(
        answer.message().contains("ipFamilies[0]"),
        "{}",
        answer.message()
    );
    let answer = lab
        .patch(
            &path,
            &json!({"spec": {"ipFamilies": ["IPv4"], "clusterIPs": [first]}}),
        )
        .await
        .expect(422);
    assert!(
        answer
            .message()
            .contains("must be 'SingleStack' to release the secondary"),
        "{}",
        answer.message()
    );
    let down = lab
        .patch(&path, &json!({"spec": {"ipFamilyPolicy": "SingleStack"}}))
        .await
        .expect(200);
    assert_eq!(down.body["spec"]["clusterIPs"], json!([first]));
    // On a single-stack cluster a headless one without selector is dual all the same.
    let plain = Lab::plain();
    let made = plain
        .post(SERVICES, &with(json!({"clusterIP": "None"})))
        .await
        .expect(201);
    assert_eq!(made.body["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
}

#[tokio::test(start_paused = true)]
async fn the_status_is_another_half() {
    let lab = Lab::plain();
    let mut object = service("a");
    object["spec"]["type"] = "LoadBalancer".into();
    object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    let made = lab.post(SERVICES, &object).await.expect(201);
    assert_eq!(made.body["status"], json!({"loadBalancer": {}}));
    let path = format!("{SERVICES}/a");
    let status = json!({"spec": {"selector": {"a": "b"}}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    let answer = lab.patch(&path, &status).await.expect(200);
    assert_eq!(
        (
            &answer.body["status"]["loadBalancer"],
            &answer.body["spec"]["selector"]
        ),
        (&json!({}), &json!({"a": "b"}))
    );
    let answer = lab
        .patch(
            &format!("{path}/status"),
            &json!({"spec": {"selector": null}, "status": status["status"]}),
        )
        .await
        .expect(200);
    assert_eq!(
        answer.body["status"]["loadBalancer"]["ingress"][0]["ip"],
        "192.0.2.1"
    );
    assert_eq!(answer.body["spec"]["selector"], json!({"a": "b"}));
    let answer = lab
        .patch(&path, &json!({"spec": {"type": "ClusterIP"}}))
        .await
        .expect(200);
    assert_eq!(answer.body["status"], json!({"loadBalancer": {}}));
    // With traffic kept local, the load balancer asks a port of the node how it is.
    let local = json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}});
    let answer = lab.patch(&path, &local).await.expect(200);
    assert!(answer.body["spec"]["healthCheckNodePort"].is_u64());
    lab.patch(&path, &json!({"spec": {"type": "ClusterIP"}}))
        .await
        .expect(200);
    assert!(
        lab.sim.get(Kind::Service, "default", "a").unwrap()["spec"]
            .get("healthCheckNodePort")
            .is_none()
    );
}
