//! Tokens, roles, access reviews, the audit log and the counters.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube_client::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use simkube::{Audited, Auditor, Kind, Options, SimKube, Stage, User};

use crate::http::{PODS, SERVICES};

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

fn guarded() -> SimKube {
    SimKube::new(Options {
        rbac: true,
        ..Options::default()
    })
}

/// Status and body of a request with a token.
async fn send(
    sim: &SimKube,
    token: &str,
    (method, path): (Method, &str),
    body: &Value,
) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Body::from(body.into_bytes()))
        .unwrap();
    let response = sim.client().send(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (code, value)
}

fn role(namespace: &str, verbs: &[&str]) -> Value {
    json!({
        "metadata": {"name": "reader", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}],
    })
}

#[tokio::test(start_paused = true)]
async fn only_bound_roles_allow() {
    let sim = guarded();
    let admin = sim.token(User::new("admin", &["system:masters"]));
    let joe = sim.token(User::new("joe", &["crowd"]));
    let list = (Method::GET, PODS);
    assert_eq!(
        send(&sim, "nonsense", list.clone(), &Value::Null).await.0,
        401
    );
    assert_eq!(
        send(&sim, "", (Method::GET, "/readyz"), &Value::Null)
            .await
            .0,
        200
    );
    assert_eq!(send(&sim, &admin, list.clone(), &Value::Null).await.0, 200);
    let (code, refusal) = send(&sim, &joe, list.clone(), &Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(
        refusal["message"],
        "pods is forbidden: User \"joe\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    sim.create(Kind::Role, "default", &role("default", &["list"]));
    let binding = json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "reader"},
        "subjects": [{"kind": "Group", "name": "crowd"}],
    });
    sim.create(Kind::RoleBinding, "default", &binding);
    assert_eq!(send(&sim, &joe, list.clone(), &Value::Null).await.0, 200);
    let everywhere = (Method::GET, "/api/v1/pods");
    assert_eq!(send(&sim, &joe, everywhere, &Value::Null).await.0, 403);
    let get = (Method::GET, "/api/v1/namespaces/default/pods/p");
    assert_eq!(send(&sim, &joe, get, &Value::Null).await.0, 403);
    // What is taken back is gone at once.
    sim.edit(Kind::Role, "default", "reader", |role| {
        role["rules"] = Value::Null;
    })
    .unwrap();
    assert_eq!(send(&sim, &joe, list, &Value::Null).await.0, 403);
}

#[tokio::test(start_paused = true)]
async fn reviews_answer_for_the_asking_user() {
    let sim = guarded();
    let joe = sim.token(User::new("system:serviceaccount:ns:joe", &[]));
    sim.namespace("ns");
    sim.create(Kind::Role, "ns", &role("ns", &["get", "watch"]));
    let binding = json!({
        "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "joe", "namespace": "ns"}],
    });
    sim.create(Kind::RoleBinding, "ns", &binding);
    for (verb, resource, namespace, want) in [
        ("watch", "pods", "ns", true),
        ("list", "pods", "ns", false),
        ("get", "pods", "default", false),
        ("get", "services", "ns", false),
    ] {
        let review = json!({"spec": {"resourceAttributes": {
            "verb": verb, "resource": resource, "namespace": namespace,
        }}});
        let (code, answer) = send(&sim, &joe, (Method::POST, REVIEWS), &review).await;
        assert_eq!(
            (code, &answer["status"]["allowed"]),
            (201, &json!(want)),
            "{answer}"
        );
    }
}

/// Keeps what it is told.
#[derive(Default)]
struct Kept(Mutex<Vec<Audited>>);

impl Auditor for Kept {
    fn audited(&self, entry: &Audited) {
        self.0.lock().push(entry.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_audited_and_counted() {
    let sim = guarded();
    let kept = Arc::new(Kept::default());
    sim.set_auditor(Arc::clone(&kept) as Arc<dyn Auditor>);
    let admin = sim.token(User::new("admin", &["system:masters"]));
    let service = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}});
    send(&sim, &admin, (Method::POST, SERVICES), &service).await;
    send(&sim, &admin, (Method::POST, SERVICES), &service).await;
    send(&sim, "unknown", (Method::GET, SERVICES), &Value::Null).await;
    let watch = "/api/v1/pods?watch=1&timeoutSeconds=5";
    send(&sim, &admin, (Method::GET, watch), &Value::Null).await;
    let entries = kept.0.lock().clone();
    let seen: Vec<_> = entries
        .iter()
        .map(|e| {
            (
                e.user.name.as_str(),
                e.verb.as_str(),
                e.name.as_str(),
                e.code,
                e.stage,
            )
        })
        .collect();
    let complete = Stage::ResponseComplete;
    assert_eq!(
        seen,
        [
            ("admin", "create", "a", 201, complete),
            ("admin", "create", "a", 409, complete),
            ("", "list", "", 401, complete),
            ("admin", "watch", "", 200, Stage::ResponseStarted),
            ("admin", "watch", "", 200, complete),
        ]
    );
    assert_eq!((entries[4].at - entries[3].at).get_seconds(), 5);
    let json = entries[0].to_json();
    assert_eq!(
        json["objectRef"],
        json!({"resource": "services", "apiVersion": "v1", "namespace": "default", "name": "a"})
    );
    assert_eq!(json["requestURI"], SERVICES);
    let (_, page) = send(&sim, &admin, (Method::GET, "/metrics"), &Value::Null).await;
    let page = page.as_str().unwrap();
    for want in [
        r#"apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="",verb="POST",version="v1"} 1"#,
        r#"resource="pods",scope="cluster",subresource="",verb="WATCH",version="v1"} 1"#,
    ] {
        assert!(page.contains(want), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_who_may_finalize_an_owner_makes_its_deletion_wait() {
    let sim = SimKube::new(Options {
        rbac: true,
        owner_reference_enforcement: true,
        ..Options::default()
    });
    let admin = sim.token(User::new("admin", &["system:masters"]));
    let joe = sim.token(User::new("joe", &[]));
    sim.create(
        Kind::ClusterRole,
        "",
        &json!({
            "metadata": {"name": "services"},
            "rules": [{"apiGroups": [""], "resources": ["services"], "verbs": ["*"]}],
        }),
    );
    let binding = json!({
        "metadata": {"name": "joe"}, "roleRef": {"kind": "ClusterRole", "name": "services"},
        "subjects": [{"kind": "User", "name": "joe"}],
    });
    sim.create(Kind::ClusterRoleBinding, "", &binding);
    let owned = |name: &str| {
        json!({
            "metadata": {"name": name, "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": "owner", "uid": "u", "blockOwnerDeletion": true,
            }]},
            "spec": {"ports": [{"port": 1}]},
        })
    };
    let post = (Method::POST, SERVICES);
    let (code, refusal) = send(&sim, &joe, post.clone(), &owned("a")).await;
    assert_eq!(code, 403, "{refusal}");
    assert_eq!(send(&sim, &admin, post, &owned("a")).await.0, 201);
    // References that were there before are not a new request.
    let path = format!("{SERVICES}/a");
    let mut again = owned("a");
    again["metadata"]["labels"] = json!({"x": "y"});
    let (code, answer) = send(&sim, &joe, (Method::PUT, &path), &again).await;
    assert_eq!(code, 200, "{answer}");
}
