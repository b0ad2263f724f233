//! Who may do what, who did what, and what cleans up.

use std::sync::Arc;

use serde_json::{Value, json};
use simkube::{Kind, Options, Refusal, Rule, Verb};

use crate::http::{Lab, PODS, SERVICES, SLICES, service, slice};

#[tokio::test(start_paused = true)]
async fn rbac_refuses_in_its_own_words() {
    let lab = Lab::new(Options {
        user: "x".into(),
        ..Options::default()
    });
    lab.post(SLICES, &slice("a")).await.expect(201);
    for (rule, path, text) in [
        (
            Rule::new("list", "services", ""),
            "/api/v1/services",
            "services is forbidden: User \"x\" cannot list resource \"services\" in API group \"\" at the cluster scope",
        ),
        (
            Rule::new("list", "services", "default"),
            SERVICES,
            "services is forbidden: User \"x\" cannot list resource \"services\" in API group \"\" in the namespace \"default\"",
        ),
        (
            Rule::new("watch", "pods", ""),
            "/api/v1/pods?watch=1",
            "pods is forbidden: User \"x\" cannot watch resource \"pods\" in API group \"\" at the cluster scope",
        ),
        (
            Rule::new("get", "", ""),
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/a",
            "endpointslices.discovery.k8s.io \"a\" is forbidden: User \"x\" cannot get resource \"endpointslices\" in API group \"discovery.k8s.io\" in the namespace \"default\"",
        ),
        (
            Rule::new("get", "pods/status", ""),
            "/api/v1/namespaces/default/pods/p/status",
            "pods \"p\" is forbidden: User \"x\" cannot get resource \"pods/status\" in API group \"\" in the namespace \"default\"",
        ),
    ] {
        lab.sim.set_deny(vec![rule]);
        let answer = lab.get(path).await.expect(403);
        assert_eq!(
            (answer.message(), answer.body["reason"].as_str()),
            (text, Some("Forbidden"))
        );
    }
    lab.sim.set_deny(Vec::new());
    lab.get(SERVICES).await.expect(200);
}

#[tokio::test(start_paused = true)]
async fn admission_refuses_in_its_own_words() {
    let lab = Lab::plain();
    lab.post(SERVICES, &service("kept")).await.expect(201);
    let message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not today";
    for (forbidden, code, reason) in [(false, 422, "Invalid"), (true, 403, "Forbidden")] {
        lab.sim
            .set_admission(Some(Arc::new(move |verb, kind, value| {
                let hit = kind == Kind::Service && value["metadata"]["name"] != "fine";
                (hit && verb.is_write()).then(|| Refusal {
                    message: message.into(),
                    forbidden,
                })
            })));
        let answer = lab.post(SERVICES, &service("a")).await.expect(code);
        assert_eq!(
            answer.message(),
            format!("services \"a\" is forbidden: {message}")
        );
        assert_eq!(answer.body["reason"], reason);
        assert_eq!(answer.body["details"]["causes"][0]["message"], message);
        lab.patch(
            &format!("{SERVICES}/kept"),
            &json!({"metadata": {"labels": {"a": "b"}}}),
        )
        .await
        .expect(code);
        lab.delete(&format!("{SERVICES}/kept"), &Value::Null)
            .await
            .expect(code);
        lab.post(
            SLICES,
            &json!({"metadata": {"generateName": "s-"}, "addressType": "IPv4", "endpoints": []}),
        )
        .await
        .expect(201);
    }
    assert_eq!(lab.sim.list(Kind::Service, "").len(), 1);
    lab.sim.set_admission(None);
    lab.post(SERVICES, &service("a")).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn owners_that_block_deletion_need_a_permission() {
    let lab = Lab::new(Options {
        owner_reference_enforcement: true,
        ..Options::default()
    });
    let mut object = slice("a");
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Service", "name": "s", "uid": "u", "controller": true, "blockOwnerDeletion": true}]);
    let answer = lab.post(SLICES, &object).await.expect(403);
    assert!(answer.message().contains("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"));
    object["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = false.into();
    lab.post(SLICES, &object).await.expect(201);
}

#[tokio::test(start_paused = true)]
async fn managers_are_remembered() {
    let lab = Lab::new(Options {
        managed_fields: true,
        ..Options::default()
    });
    lab.post(&format!("{SLICES}?fieldManager=zen-lead"), &slice("a"))
        .await
        .expect(201);
    let path = format!("{SLICES}/a");
    let change = json!({"metadata": {"labels": {"a": "b"}}});
    let answer = lab.patch(&path, &change).await.expect(200);
    let managers: Vec<&str> = answer.body["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["manager"].as_str().unwrap())
        .collect();
    // Without a field manager the user agent's first word is it.
    assert_eq!(managers, ["zen-lead", "lab"]);
    let entry = &answer.body["metadata"]["managedFields"][1];
    assert_eq!(
        (entry["operation"].as_str(), &entry["fieldsV1"]),
        (
            Some("Update"),
            &json!({"f:metadata": {"f:labels": {"f:a": {}}}})
        )
    );
    assert_eq!(
        lab.patch(&path, &change).await.expect(200).rv(),
        answer.rv(),
        "the same again is no change"
    );
}

fn owned(name: &str, owner: &Value) -> Value {
    let mut object = slice(name);
    object["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Service", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "controller": true,
    }]);
    object
}

#[tokio::test(start_paused = true)]
async fn the_collector_takes_what_has_lost_its_owner() {
    for (policy, slice_stays) in [
        ("Background", false),
        ("Foreground", false),
        ("Orphan", true),
    ] {
        let lab = Lab::plain();
        let owner = lab.post(SERVICES, &service("s")).await.expect(201).body;
        lab.post(SLICES, &owned("a", &owner)).await.expect(201);
        assert_eq!(lab.sim.gc(), 0, "nothing to do yet");
        lab.delete(
            &format!("{SERVICES}/s"),
            &json!({"propagationPolicy": policy}),
        )
        .await
        .expect(200);
        let waiting = lab.sim.get(Kind::Service, "default", "s").is_some();
        assert_eq!(waiting, policy != "Background", "{policy}");
        assert!(
            lab.sim.get(Kind::EndpointSlice, "default", "a").is_some(),
            "not before the collector runs"
        );
        assert!(lab.sim.gc() > 0);
        assert!(lab.sim.get(Kind::Service, "default", "s").is_none());
        let slice = lab.sim.get(Kind::EndpointSlice, "default", "a");
        assert_eq!(slice.is_some(), slice_stays, "{policy}");
        if let Some(slice) = slice {
            assert!(slice["metadata"].get("ownerReferences").is_none());
        }
        assert_eq!(lab.sim.gc(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted() {
    let lab = Lab::plain();
    lab.post(SERVICES, &service("a")).await.expect(201);
    lab.get(&format!("{SERVICES}/a?x=y")).await.expect(200);
    lab.patch(
        &format!("{SERVICES}/a"),
        &json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await
    .expect(200);
    lab.get(&format!("{PODS}/none")).await.expect(404);
    let short: Vec<(Verb, Option<Kind>, String, u16)> = lab
        .sim
        .requests()
        .into_iter()
        .map(|r| (r.verb, r.kind, r.name, r.status))
        .collect();
    assert_eq!(
        short,
        [
            (Verb::Create, Some(Kind::Service), "a".into(), 201),
            (Verb::Get, Some(Kind::Service), "a".into(), 200),
            (Verb::Patch, Some(Kind::Service), "a".into(), 200),
            (Verb::Get, Some(Kind::Pod), "none".into(), 404),
        ]
    );
    assert_eq!(lab.sim.writes().len(), 2);
    assert_eq!(lab.sim.requests()[1].query, "x=y");
    lab.sim.clear_requests();
    assert!(lab.sim.requests().is_empty());
}
