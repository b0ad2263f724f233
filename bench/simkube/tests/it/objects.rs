//! Create, read, update, patch, delete, and the bodies of refusals.

use serde_json::{Value, json};
use simkube::{Kind, Options};

use crate::http::{JSON_PATCH, LEASES, Lab, PODS, SERVICES, SLICES, service, slice};

#[tokio::test(start_paused = true)]
async fn an_object_lives() {
    let lab = Lab::plain();
    let made = lab.post(SLICES, &slice("a")).await.expect(201);
    let meta = &made.body["metadata"];
    assert_eq!(meta["generation"], 1);
    assert_eq!(meta["namespace"], "default");
    assert_eq!(meta["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(meta["uid"].as_str().unwrap().len(), 36);
    assert_eq!(made.body["kind"], "EndpointSlice");
    assert_eq!(made.body["endpoints"], Value::Null);

    let path = format!("{SLICES}/a");
    assert_eq!(lab.get(&path).await.expect(200).body, made.body);
    // A patch that changes nothing is no change.
    let same = lab
        .patch(
            &path,
            &json!([{"op": "replace", "path": "/ports/0/port", "value": 80}]),
        )
        .await;
    assert_eq!(same.expect(200).rv(), made.rv());
    // A label counts into the generation of a slice, an annotation does not.
    let patched = lab
        .patch(&path, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    assert_eq!(
        (patched.rv(), &patched.body["metadata"]["generation"]),
        (made.rv() + 1, &json!(2))
    );
    let patched = lab
        .patch(&path, &json!({"metadata": {"annotations": {"a": "b"}}}))
        .await;
    assert_eq!(patched.body["metadata"]["generation"], 2);

    let gone = lab.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(gone.body["status"], "Success");
    assert_eq!(gone.body["details"]["kind"], "endpointslices");
    assert_eq!(gone.body["details"]["uid"], meta["uid"]);
    lab.get(&path).await.expect(404);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_the_real_ones_to_the_byte() {
    let lab = Lab::plain();
    lab.post(SERVICES, &service("a")).await.expect(201);
    let text = lab.get(&format!("{SERVICES}/x")).await.expect(404).text;
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"services \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"services"},"code":404}"#
    );
    let text = lab.get(&format!("{SLICES}/x")).await.expect(404).text;
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"endpointslices.discovery.k8s.io \"x\" not found","reason":"NotFound","details":{"name":"x","group":"discovery.k8s.io","kind":"endpointslices"},"code":404}"#
    );
    let text = lab.post(SERVICES, &service("a")).await.expect(409).text;
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"services \"a\" already exists","reason":"AlreadyExists","details":{"name":"a","kind":"services"},"code":409}"#
    );
    let text = lab
        .post(SERVICES, &json!({"metadata": {"name": "b"}, "spec": {}}))
        .await
        .expect(422)
        .text;
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Service \"b\" is invalid: spec.ports: Required value","reason":"Invalid","details":{"name":"b","kind":"Service","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.ports"}]},"code":422}"#
    );
    let text = lab.delete(SERVICES, &Value::Null).await.expect(405).text;
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"simkube does not serve deletecollection of services: it knows get, list, watch, create, update, patch and delete","reason":"MethodNotAllowed","details":{},"code":405}"#
    );
    let text = lab.get("/apis/apps/v1/deployments").await.expect(404).text;
    assert_eq!(
        text,
        r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#
    );
}

#[tokio::test(start_paused = true)]
async fn bad_requests_are_refused() {
    let lab = Lab::new(Options {
        body_limit: 1_000,
        ..Options::default()
    });
    lab.post(SERVICES, &service("a")).await.expect(201);
    let path = format!("{SERVICES}/a");
    let typed = |value: Value| json!({"metadata": {"name": "b"}, "spec": value});
    for (body, code, text) in [
        (
            json!({"kind": "Pod", "metadata": {"name": "b"}}),
            400,
            "cannot be handled as a Service",
        ),
        (
            json!({"apiVersion": "v2", "metadata": {"name": "b"}}),
            400,
            "the API version in the data (v2)",
        ),
        (
            typed(json!({"ports": "no"})),
            400,
            "cannot be handled as a Service",
        ),
        (json!([1]), 400, "must be of type object"),
        (
            json!({"metadata": {"name": "b", "namespace": "x"}, "spec": {"ports": [{"port": 1}]}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({"spec": {"ports": [{"port": 1}]}}),
            422,
            "metadata.name: Required value: name or generateName is required",
        ),
        (
            json!({"metadata": {"name": "b", "resourceVersion": "5"}, "spec": {"ports": [{"port": 1}]}}),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            json!({"metadata": {"name": "b".repeat(2_000)}}),
            413,
            "Request entity too large: limit is 1000",
        ),
    ] {
        let answer = lab.post(SERVICES, &body).await;
        assert_eq!(answer.code, code, "{body} {}", answer.text);
        assert!(answer.message().contains(text), "{}", answer.text);
    }
    let strict = format!("{SERVICES}?fieldValidation=Strict");
    let odd = json!({"metadata": {"name": "b"}, "spec": {"ports": [{"port": 1}], "odd": 1}});
    let answer = lab.post(&strict, &odd).await.expect(400);
    assert!(
        answer
            .message()
            .contains("strict decoding error: unknown field \"spec.odd\"")
    );
    let answer = lab.post(SERVICES, &odd).await.expect(201);
    assert!(answer.body["spec"].get("odd").is_none());

    let put = json!({"metadata": {"name": "z"}, "spec": {"ports": [{"port": 1}]}});
    let answer = lab.put(&path, &put).await.expect(400);
    assert_eq!(
        answer.message(),
        "the name of the object (z) does not match the name on the URL (a)"
    );
    let answer = lab
        .patch_as("application/yaml", &path, &json!({}))
        .await
        .expect(415);
    assert_eq!(answer.message(), "415: Unsupported Media Type");
    lab.patch_as("text/plain", SERVICES, &json!({}))
        .await
        .expect(405);
}

#[tokio::test(start_paused = true)]
async fn updates_are_fenced_by_version_and_uid() {
    let lab = Lab::plain();
    let first = lab
        .post(
            LEASES,
            &json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}}),
        )
        .await;
    let first = first.expect(201);
    let path = format!("{LEASES}/l");
    let mut lease = first.body.clone();
    lease["spec"]["holderIdentity"] = "b".into();
    let second = lab.put(&path, &lease).await.expect(200);
    assert_eq!(second.rv(), first.rv() + 1);

    let stale = lab.put(&path, &lease).await.expect(409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\": the object has been modified; please apply your changes to the latest version and try again"
    );
    assert_eq!(stale.body["reason"], "Conflict");
    // A Lease cannot be overwritten blindly, a Service can.
    let blind = json!({"metadata": {"name": "l"}, "spec": {}});
    let answer = lab.put(&path, &blind).await.expect(422);
    assert!(
        answer.message().contains(
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        )
    );
    lab.post(SERVICES, &service("s")).await.expect(201);
    lab.put(&format!("{SERVICES}/s"), &service("s"))
        .await
        .expect(200);

    let mut other = second.body.clone();
    other["metadata"]["uid"] = "someone-else".into();
    let answer = lab.put(&path, &other).await.expect(409);
    assert!(
        answer
            .message()
            .contains("Precondition failed: UID in precondition: someone-else")
    );
    // PUT creates where the kind allows it.
    lab.put(
        &format!("{LEASES}/new"),
        &json!({"metadata": {"name": "new"}, "spec": {}}),
    )
    .await
    .expect(201);
    lab.put(&format!("{SLICES}/new"), &slice("new"))
        .await
        .expect(404);
    for (spec, text) in [
        (
            json!({"leaseDurationSeconds": 0}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            json!({"leaseTransitions": -1}),
            "must be greater than or equal to 0",
        ),
    ] {
        let answer = lab
            .post(LEASES, &json!({"metadata": {"name": "x"}, "spec": spec}))
            .await
            .expect(422);
        assert!(answer.message().contains(text), "{}", answer.text);
    }
}

#[tokio::test(start_paused = true)]
async fn json_patches_are_judged() {
    let lab = Lab::plain();
    let made = lab.post(SLICES, &slice("a")).await.expect(201);
    let path = format!("{SLICES}/a");
    let rejected = "the server rejected our request due to an error in our request";
    for patch in [
        json!([{"op": "test", "path": "/addressType", "value": "IPv6"}]),
        json!([{"op": "remove", "path": "/metadata/labels/x"}]),
        json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]),
        json!([{"op": "replace", "path": "/metadata/labels", "value": {}}]),
    ] {
        let answer = lab.patch(&path, &patch).await.expect(422);
        assert_eq!(
            (answer.message(), answer.body["reason"].as_str()),
            (rejected, Some("Invalid"))
        );
    }
    // Nothing of a patch that fails is applied.
    let half = json!([
        {"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}},
        {"op": "test", "path": "/addressType", "value": "IPv6"},
    ]);
    lab.patch(&path, &half).await.expect(422);
    assert_eq!(lab.get(&path).await.body, made.body);

    let guarded = |rv: u64| {
        json!([
            {"op": "replace", "path": "/metadata/resourceVersion", "value": rv.to_string()},
            {"op": "replace", "path": "/endpoints", "value": [{"addresses": ["10.0.0.1"]}]},
        ])
    };
    let patched = lab.patch(&path, &guarded(made.rv())).await.expect(200);
    assert_eq!(patched.body["endpoints"][0]["conditions"], json!({}));
    let stale = lab.patch(&path, &guarded(made.rv())).await.expect(409);
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on endpointslices.discovery.k8s.io \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    for (patch, code, text) in [
        (
            json!([{"op": "replace", "path": "/metadata/name", "value": "b"}]),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            json!([{"op": "replace", "path": "/metadata/uid", "value": "b"}]),
            422,
            "metadata.uid: Invalid value: \"b\": field is immutable",
        ),
        (
            json!([{"op": "replace", "path": "/ports", "value": 5}]),
            422,
            "patch: Invalid value",
        ),
        (json!([{"op": "fly", "path": "/ports"}]), 400, ""),
        (
            json!([{"op": "replace", "path": "/kind", "value": "Pod"}]),
            400,
            "",
        ),
    ] {
        let answer = lab.patch(&path, &patch).await;
        assert_eq!(answer.code, code, "{patch} {}", answer.text);
        assert!(answer.message().contains(text), "{}", answer.text);
    }
    let strict = format!("{path}?fieldValidation=Strict");
    let odd = json!([{"op": "add", "path": "/odd", "value": 1}]);
    assert!(
        lab.patch(&strict, &odd)
            .await
            .expect(422)
            .message()
            .contains("unknown field")
    );
    lab.patch(&format!("{SLICES}/missing"), &odd)
        .await
        .expect(404);
    lab.patch_as(&format!("{JSON_PATCH}; charset=utf-8"), &path, &json!([]))
        .await
        .expect(200);
}

#[tokio::test(start_paused = true)]
async fn deletions_have_preconditions() {
    let lab = Lab::plain();
    let made = lab.post(SLICES, &slice("a")).await.expect(201);
    let path = format!("{SLICES}/a");
    let answer = lab
        .delete(&path, &json!({"preconditions": {"uid": "x"}}))
        .await
        .expect(409);
    assert!(answer.message().starts_with("Operation cannot be fulfilled on EndpointSlice.discovery.k8s.io \"a\": the UID in the precondition (x) does not match the UID in record ("));
    let answer = lab
        .delete(&path, &json!({"preconditions": {"resourceVersion": "1"}}))
        .await
        .expect(409);
    assert!(
        answer
            .message()
            .contains("The object might have been modified")
    );
    let answer = lab
        .delete(&path, &json!({"propagationPolicy": "Sideways"}))
        .await
        .expect(422);
    assert!(
        answer
            .message()
            .contains("propagationPolicy: Unsupported value: \"Sideways\"")
    );
    lab.delete(&path, &json!({"kind": "Pod"})).await.expect(400);
    let dry = json!({"dryRun": ["All"]});
    lab.delete(&path, &dry).await.expect(200);
    let exact = json!({
        "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
        "preconditions": {"uid": made.body["metadata"]["uid"], "resourceVersion": made.rv().to_string()},
    });
    lab.delete(&path, &exact).await.expect(200);
    lab.delete(&path, &exact).await.expect(404);
    // A Service comes back as it was, with the version of its deletion.
    let made = lab.post(SERVICES, &service("s")).await.expect(201);
    let gone = lab
        .delete(&format!("{SERVICES}/s"), &Value::Null)
        .await
        .expect(200);
    assert_eq!(
        (gone.body["kind"].as_str(), gone.rv()),
        (Some("Service"), made.rv() + 1)
    );
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object() {
    let lab = Lab::plain();
    let mut object = slice("a");
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    lab.post(SLICES, &object).await.expect(201);
    let path = format!("{SLICES}/a");
    lab.delete(&path, &Value::Null).await.expect(200);
    let held = lab.get(&path).await.expect(200);
    let meta = &held.body["metadata"];
    assert_eq!(meta["deletionTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(
        (&meta["deletionGracePeriodSeconds"], &meta["generation"]),
        (&json!(0), &json!(2))
    );
    // A second deletion changes nothing; no new finalizers; labels may still change.
    lab.delete(&path, &Value::Null).await.expect(200);
    assert_eq!(lab.get(&path).await.rv(), held.rv());
    let more = json!({"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}});
    let answer = lab.patch(&path, &more).await.expect(422);
    assert!(
        answer
            .message()
            .contains("no new finalizers can be added if the object is being deleted")
    );
    lab.patch(&path, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    let again = json!({"metadata": {"deletionTimestamp": null}});
    assert!(
        lab.patch(&path, &again).await.expect(200).body["metadata"]
            .get("deletionTimestamp")
            .is_some()
    );
    lab.patch(&path, &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    lab.get(&path).await.expect(404);
    assert!(lab.sim.get(Kind::EndpointSlice, "default", "a").is_none());
}

#[tokio::test(start_paused = true)]
async fn namespaces_must_exist_and_stay() {
    let lab = Lab::plain();
    let elsewhere = "/api/v1/namespaces/x/services";
    let answer = lab.post(elsewhere, &service("a")).await.expect(404);
    assert_eq!(answer.message(), "namespaces \"x\" not found");
    lab.sim.namespace("x");
    lab.post(elsewhere, &service("a")).await.expect(201);
    let answer = lab
        .delete("/api/v1/namespaces/x", &Value::Null)
        .await
        .expect(200);
    assert_eq!(answer.body["status"]["phase"], "Terminating");
    lab.delete("/api/v1/namespaces/x", &Value::Null)
        .await
        .expect(200);
    let answer = lab.post(elsewhere, &service("b")).await.expect(403);
    assert_eq!(
        answer.message(),
        "services \"b\" is forbidden: unable to create new content in namespace x because it is being terminated"
    );
    assert_eq!(
        answer.body["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    // What is there may still change and go.
    lab.patch(
        &format!("{elsewhere}/a"),
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await
    .expect(200);
    assert!(lab.sim.gc() > 0);
    assert!(lab.sim.get(Kind::Namespace, "", "x").is_none());
    assert_eq!(lab.sim.list(Kind::Service, "x").len(), 0);

    let auto = Lab::new(Options {
        auto_namespaces: true,
        ..Options::default()
    });
    auto.post(elsewhere, &service("a")).await.expect(201);
    assert!(auto.sim.get(Kind::Namespace, "", "x").is_some());
}

#[tokio::test(start_paused = true)]
async fn names_are_made_and_metadata_is_judged() {
    let lab = Lab::plain();
    let made = lab.post(PODS, &json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "a", "image": "i"}]}})).await;
    let name = made.expect(201).body["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(name.starts_with("p-") && name.len() == 7, "{name}");
    let big = "x".repeat(256 * 1_024);
    for (meta, text) in [
        (
            json!({"name": "A"}),
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123",
        ),
        (
            json!({"name": "a", "labels": {"k": "no spaces please"}}),
            "metadata.labels: Invalid value: \"no spaces please\"",
        ),
        (
            json!({"name": "a", "labels": {"a/b/c": "x"}}),
            "metadata.labels: Invalid value: \"a/b/c\": a valid label key",
        ),
        (
            json!({"name": "a", "annotations": {"k": big}}),
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": ""}]}),
            "metadata.ownerReferences[0].uid: Required value: must not be empty",
        ),
        (
            json!({"name": "a", "finalizers": ["a b"]}),
            "metadata.finalizers: Invalid value",
        ),
        (
            json!({"name": "a", "ownerReferences": [
                {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1", "controller": true},
                {"apiVersion": "v1", "kind": "Pod", "name": "y", "uid": "2", "controller": true},
            ]}),
            "Only one reference can have Controller set to true. Found \"true\" in references for Pod/x and Pod/y",
        ),
    ] {
        let mut object = slice("a");
        object["metadata"] = meta;
        let answer = lab.post(SLICES, &object).await.expect(422);
        assert!(answer.message().contains(text), "{}", answer.message());
    }
}

#[tokio::test(start_paused = true)]
async fn events_have_limits() {
    let lab = Lab::plain();
    let events = "/api/v1/namespaces/default/events";
    let event = |message: &str| {
        json!({
            "metadata": {"generateName": "e-"},
            "involvedObject": {"kind": "Service", "namespace": "default", "name": "a"},
            "eventTime": "2026-01-01T00:00:00.000000Z", "reportingComponent": "c",
            "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal", "message": message,
        })
    };
    let made = lab.post(events, &event("fine")).await.expect(201);
    let name = made.body["metadata"]["name"].as_str().unwrap();
    lab.patch(
        &format!("{events}/{name}"),
        &json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
    )
    .await
    .expect(200);
    lab.post(events, &event(&"x".repeat(1_024)))
        .await
        .expect(201);
    let answer = lab
        .post(events, &event(&"x".repeat(1_025)))
        .await
        .expect(422);
    assert!(
        answer
            .message()
            .contains("message: Invalid value: \"\": can have at most 1024 characters")
    );
    let mut wrong = event("fine");
    wrong["involvedObject"]["namespace"] = "".into();
    wrong["reportingInstance"] = "".into();
    assert!(
        lab.post(events, &wrong)
            .await
            .expect(422)
            .message()
            .contains("reportingInstance: Required value")
    );
}

#[tokio::test(start_paused = true)]
async fn discovery_and_health_answer() {
    let lab = Lab::plain();
    for (path, key, want) in [
        ("/version", "minor", "37"),
        ("/api", "kind", "APIVersions"),
        ("/apis", "kind", "APIGroupList"),
        ("/api/v1", "kind", "APIResourceList"),
        ("/apis/discovery.k8s.io", "kind", "APIGroup"),
        (
            "/apis/discovery.k8s.io/v1",
            "groupVersion",
            "discovery.k8s.io/v1",
        ),
    ] {
        assert_eq!(lab.get(path).await.expect(200).body[key], want, "{path}");
    }
    assert_eq!(lab.get("/readyz").await.expect(200).text, "ok");
    lab.get("/openapi/v2").await.expect(404);
    assert_eq!(
        lab.get("/openapi/v3").await.body["paths"]["api/v1"]["serverRelativeURL"],
        "/openapi/v3/api/v1?hash=0"
    );
    let document = lab.get("/openapi/v3/api/v1?hash=0").await.expect(200).body;
    let service = &document["paths"]["/api/v1/namespaces/{namespace}/services/{name}"];
    assert_eq!(service["patch"]["parameters"][0]["name"], "fieldValidation");
    lab.get("/openapi/v3/apis/apps/v1").await.expect(404);
    lab.post("/version", &json!({})).await.expect(405);
}

#[tokio::test(start_paused = true)]
async fn dry_runs_change_nothing() {
    let lab = Lab::plain();
    let before = lab.sim.resource_version();
    lab.post(&format!("{SLICES}?dryRun=All"), &slice("a"))
        .await
        .expect(201);
    assert!(lab.sim.get(Kind::EndpointSlice, "default", "a").is_none());
    lab.post(SLICES, &slice("a")).await.expect(201);
    let path = format!("{SLICES}/a?dryRun=All");
    let answer = lab
        .patch(&path, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    assert_eq!(answer.body["metadata"]["labels"]["a"], "b");
    assert_eq!(lab.sim.resource_version(), before + 1);
}

/// The same seed and the same requests give the same bytes.
#[tokio::test(start_paused = true)]
async fn runs_repeat() {
    async fn run(seed: u64) -> String {
        let lab = Lab::new(Options {
            seed,
            managed_fields: true,
            ..Options::default()
        });
        let mut all = String::new();
        for n in 0..5 {
            all += &lab.post(SERVICES, &service(&format!("s{n}"))).await.text;
            let mut object = slice("x");
            object["metadata"] = json!({"generateName": "g-"});
            all += &lab.post(SLICES, &object).await.text;
        }
        all + &lab.get("/api/v1/services").await.text
    }
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await, run(8).await);
}
