//! What the registry does to `EndpointSlices`.

use serde_json::{Value, json};
use simkube::Options;

use crate::http::{Lab, SLICES, slice};

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_named() {
    let lab = Lab::new(Options {
        minor: 36,
        ..Options::default()
    });
    let v4 =
        |addresses: Value| json!({"addressType": "IPv4", "endpoints": [{"addresses": addresses}]});
    let v6 =
        |addresses: Value| json!({"addressType": "IPv6", "endpoints": [{"addresses": addresses}]});
    let many: Vec<Value> = (0..1_001)
        .map(|_| json!({"addresses": ["10.0.0.1"]}))
        .collect();
    for (body, text) in [
        (json!({"endpoints": []}), "addressType: Required value"),
        (
            json!({"addressType": "IPv5", "endpoints": []}),
            "addressType: Unsupported value: \"IPv5\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
        ),
        (
            v4(json!([])),
            "endpoints[0].addresses: Required value: must contain at least 1 address",
        ),
        (
            v4(json!(["nonsense"])),
            "endpoints[0].addresses[0]: Invalid value: \"nonsense\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            v4(json!(["fd00::1"])),
            "endpoints[0].addresses: Invalid value: \"fd00::1\": must be an IPv4 address",
        ),
        (
            v6(json!(["10.0.0.1"])),
            "endpoints[0].addresses: Invalid value: \"10.0.0.1\": must be an IPv6 address",
        ),
        (
            v6(json!(["FD00::1"])),
            "endpoints[0].addresses[0]: Invalid value: \"FD00::1\": must be in canonical form (\"fd00::1\")",
        ),
        (
            v4(json!(["127.0.0.1"])),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            v6(json!(["::1"])),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            v4(json!(["169.254.1.1"])),
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            v6(json!(["fe80::1"])),
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (v4(json!(["0.0.0.0"])), "may not be unspecified (0.0.0.0)"),
        (
            v4(json!(["224.0.0.5"])),
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
        (
            json!({"addressType": "IPv4", "endpoints": many}),
            "endpoints: Too many: 1001: must have at most 1000 items",
        ),
        (
            v4(json!(vec!["10.0.0.1"; 101])),
            "endpoints[0].addresses: Too many: 101: must have at most 100 items",
        ),
        (
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1}, {"port": 2}]}),
            "ports[1].name: Duplicate value: \"\"",
        ),
        (
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "protocol": "X"}]}),
            "ports[0].protocol: Unsupported value: \"X\"",
        ),
        (
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1, "name": "A_"}]}),
            "ports[0].name: Invalid value: \"A_\"",
        ),
        (
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "A"}]}),
            "endpoints[0].nodeName: Invalid value: \"A\"",
        ),
    ] {
        let mut body = body;
        body["metadata"] = json!({"name": "a"});
        let answer = lab.post(SLICES, &body).await.expect(422);
        assert!(
            answer
                .message()
                .starts_with("EndpointSlice.discovery.k8s.io \"a\" is invalid: "),
            "{}",
            answer.text
        );
        assert!(answer.message().contains(text), "{}", answer.message());
    }
}

#[tokio::test(start_paused = true)]
async fn lists_read_back_as_null() {
    let lab = Lab::plain();
    let made = lab.post(SLICES, &slice("a")).await.expect(201);
    assert_eq!(
        made.body["ports"],
        json!([{"name": "", "port": 80, "protocol": "TCP"}])
    );
    let path = format!("{SLICES}/a");
    let full = json!([{"op": "replace", "path": "/endpoints", "value": [{"addresses": ["10.0.0.1"], "nodeName": "n"}]}]);
    let answer = lab.patch(&path, &full).await.expect(200);
    assert_eq!(
        answer.body["endpoints"][0]["addresses"],
        json!(["10.0.0.1"])
    );
    for empty in [json!([]), Value::Null] {
        let answer = lab
            .patch(
                &path,
                &json!([{"op": "replace", "path": "/endpoints", "value": empty}]),
            )
            .await;
        assert_eq!(answer.expect(200).body["endpoints"], Value::Null);
    }
    let answer = lab
        .patch(
            &path,
            &json!([{"op": "replace", "path": "/ports", "value": []}]),
        )
        .await
        .expect(200);
    assert_eq!(answer.body["ports"], Value::Null);
    assert!(answer.text.contains("\"endpoints\":null"));
}

#[tokio::test(start_paused = true)]
async fn the_address_type_is_fixed() {
    for (minor, value, empty) in [
        (
            36,
            "\"IPv6\"",
            "Required value: must contain at least 1 address",
        ),
        (37, "null", "Required value"),
    ] {
        let lab = Lab::new(Options {
            minor,
            ..Options::default()
        });
        lab.post(SLICES, &slice("a")).await.expect(201);
        let patch = json!([{"op": "replace", "path": "/addressType", "value": "IPv6"}]);
        let answer = lab.patch(&format!("{SLICES}/a"), &patch).await.expect(422);
        let want = format!("addressType: Invalid value: {value}: field is immutable");
        assert!(answer.message().ends_with(&want), "{}", answer.message());
        let patch = json!([{"op": "replace", "path": "/endpoints", "value": [{"addresses": []}]}]);
        let answer = lab.patch(&format!("{SLICES}/a"), &patch).await.expect(422);
        assert!(answer.message().ends_with(empty), "{}", answer.message());
    }
}
