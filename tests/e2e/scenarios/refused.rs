//! Writes that the API server refuses, and objects that will not go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::SOON;
use crate::harness::api::Kind::{self, Pod as PodKind, Service, Slice};
use crate::harness::api::Patch;
use crate::harness::objects::{Pod, Svc, port_numbers, target_uid, text};
use crate::harness::suite::rules;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared RealOnly("simkube evaluates no admission policies: they are written in CEL") refused_by_an_admission_policy "§4 WriteRefused, the API server's own words" "bounded number of requests" needs 30 "ValidatingAdmissionPolicy";
    Shared RealOnly("simkube evaluates no admission policies: they are written in CEL") refused_type_holds_up_nothing_else "§4 a refused field holds up nothing else" "§4 WriteRefused" needs 30 "ValidatingAdmissionPolicy";
    Shared RealOnly("simkube evaluates no admission policies: they are written in CEL") refused_ports_keep_both_names "§4 traffic is never cut by a name" needs 30 "ValidatingAdmissionPolicy";
    Own Both refused_by_rbac "§4 WriteRefused: RBAC" "recovers by itself";
    Own Both rights_in_one_namespace_suffice "§6 --namespaces with a Role" "OwnerReferencesPermissionEnforcement";
    Shared Both namespace_is_being_deleted "a namespace being deleted";
    Shared Both finalizer_on_a_source "§1 a source with a deletionTimestamp counts as deleted";
    Shared Both finalizer_on_a_leader_service "§1 an object of ours with a deletionTimestamp is occupied";
    Shared Both finalizer_on_a_slice "§1 an object of ours with a deletionTimestamp is occupied";
}

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Freezes our slices; returns when the policy bites.
async fn deny(t: &Test) -> Result<()> {
    let slices = ("discovery.k8s.io", "endpointslices");
    policy(t, slices, "false", "frozen until Monday").await?;
    bites(
        t,
        Slice,
        json!({"metadata": {"labels": {"probe": "x"}}}),
        true,
    )
    .await
}

/// Holds objects of ours to a rule in CEL.
async fn policy(t: &Test, (group, resource): (&str, &str), rule: &str, why: &str) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": t.ns},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": [group], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": [resource],
            }]},
            "matchConditions": [{"name": "ours", "expression":
                "'zen-lead.io/source-service' in object.metadata.?labels.orValue({})"}],
            "validations": [{"expression": rule, "message": why}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": t.ns},
        "spec": {
            "policyName": t.ns, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": t.ns}}},
        },
    });
    let policies = format!("{ADMISSION}/validatingadmissionpolicies");
    t.api.create(&policies, &policy).await?;
    let bindings = format!("{ADMISSION}/validatingadmissionpolicybindings");
    t.api.create(&bindings, &binding).await?;
    Ok(())
}

/// Takes the policy down.
async fn allow(t: &Test) -> Result<()> {
    let policy = format!("{ADMISSION}/validatingadmissionpolicies/{}", t.ns);
    t.api.delete(&policy, &json!({})).await.map(drop)?;
    Ok(())
}

/// Waits until the policy is in force, or is not any more, by writes that change nothing.
pub(super) async fn bites(t: &Test, kind: Kind, patch: Value, yes: bool) -> Result<()> {
    let probe = format!("{}?dryRun=All", t.path(kind, "web-leader"));
    let deadline = Instant::now() + SOON;
    loop {
        let denied = t.api.patch(&probe, Patch::Merge, &patch).await.is_err();
        if denied == yes {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the policy is not {yes} within {SOON:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn refused_by_an_admission_policy(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    deny(&t).await?;
    let before = t.writes().await?.len();
    let from = Instant::now();
    t.ready(&pods[0], false).await?;
    let event = t
        .event("web", "WriteRefused", &["frozen until Monday"])
        .await?;
    ensure!(text(&event, "/type") == "Warning");
    // Others are served meanwhile; then the number of attempts is looked at.
    let other = t.pod(Pod::new("other", "other"), true).await?;
    t.service(Svc::new("other")).await?;
    while from.elapsed() < Duration::from_secs(4) {
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    let tries = t.writes().await?.split_off(before);
    let tries = tries
        .iter()
        .filter(|entry| entry.resource == "endpointslices")
        .count();
    t.say(format!(
        "{tries} attempts in {:.1?} against the policy",
        from.elapsed()
    ));
    ensure!(
        (1..=12).contains(&tries),
        "{tries} attempts in four seconds"
    );
    let told = t.count_events("web", "WriteRefused");
    ensure!(told <= 2, "told {told} times");
    allow(&t).await?;
    bites(
        &t,
        Slice,
        json!({"metadata": {"labels": {"probe": "x"}}}),
        false,
    )
    .await?;
    t.leads_within("web-leader", &pods[1], Duration::from_secs(40))
        .await?;
    t.ask("other", "enabled", Some("true")).await?;
    t.leads("other-leader", &other).await.map(drop)
}

/// Renames the one port of the source.
pub(super) async fn rename_port(t: &Test, name: &str) -> Result<()> {
    let patch = json!([{"op": "replace", "path": "/spec/ports/0/name", "value": name}]);
    t.patch(Service, "web", patch).await.map(drop)
}

pub(super) async fn has_port_names(t: &Test, expected: &[&str]) -> Result<()> {
    t.until(
        Slice,
        "web-leader",
        &format!("ports {expected:?}"),
        |slice| {
            let mut names: Vec<String> =
                port_numbers(slice).into_iter().map(|port| port.0).collect();
            names.sort();
            names == expected
        },
    )
    .await
    .map(drop)
}

async fn refused_type_holds_up_nothing_else(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let rule = "object.spec.type != 'NodePort'";
    policy(&t, ("", "services"), rule, "no node ports here").await?;
    let node_port = json!({"spec": {"type": "NodePort"}});
    bites(&t, Service, node_port, true).await?;
    t.ask("web", "leader-service-type", Some("NodePort"))
        .await?;
    rename_port(&t, "sql").await?;
    t.event("web", "WriteRefused", &["no node ports here"])
        .await?;
    t.until(Service, "web-leader", "its port is renamed", |now| {
        text(now, "/spec/ports/0/name") == "sql" && text(now, "/spec/type") == "ClusterIP"
    })
    .await?;
    has_port_names(&t, &["sql"]).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.identified("web-leader", &pods[1]).await?;
    let told = t.event_objects("web", "WriteRefused");
    ensure!(told == 1, "told {told} times");
    allow(&t).await?;
    let deadline = Instant::now() + Duration::from_mins(1);
    while text(&t.get(Service, "web-leader").await?, "/spec/type") != "NodePort" {
        ensure!(Instant::now() < deadline, "the type does not come");
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    Ok(())
}

async fn refused_ports_keep_both_names(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let rule = "object.spec.ports.all(port, port.name != 'sql')";
    policy(&t, ("", "services"), rule, "no such name").await?;
    let renamed = json!({"spec": {"ports": [{"port": 80, "name": "sql"}]}});
    bites(&t, Service, renamed, true).await?;
    rename_port(&t, "sql").await?;
    t.event("web", "WriteRefused", &["no such name"]).await?;
    has_port_names(&t, &["main", "sql"]).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.identified("web-leader", &pods[1]).await?;
    has_port_names(&t, &["main", "sql"]).await?;
    let service = t.exists(Service, "web-leader").await?;
    ensure!(text(&service, "/spec/ports/0/name") == "main");
    allow(&t).await?;
    let deadline = Instant::now() + Duration::from_mins(1);
    while port_numbers(&t.get(Slice, "web-leader").await?) != [("sql".to_owned(), 8080)] {
        ensure!(Instant::now() < deadline, "the old name does not go");
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    Ok(())
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// A user with these rights in the scenario's namespace; their kubeconfig.
pub(super) async fn user(t: &Test, name: &str, rules: &Value) -> Result<std::path::PathBuf> {
    let kubeconfig = t.suite.control.kubeconfig_for(name).await?;
    let base = format!("/apis/{RBAC}/v1/namespaces/{}", t.ns);
    let role = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "Role",
        "metadata": {"name": name}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": name}],
    });
    t.api.create(&format!("{base}/roles"), &role).await?;
    t.api
        .create(&format!("{base}/rolebindings"), &binding)
        .await?;
    Ok(kubeconfig)
}

async fn refused_by_rbac(t: Arc<Test>) -> Result<()> {
    // May create slices, and not patch them.
    let mut fewer = rules()?;
    let slices = fewer.as_array_mut().into_iter().flatten();
    let slices = slices.filter(|rule| rule["resources"] == json!(["endpointslices"]));
    slices.for_each(|rule| rule["verbs"] = json!(["get", "list", "watch", "create", "delete"]));
    let kubeconfig = user(&t, "zen-lead-e2e-limited", &fewer).await?;
    let mut controller = t.launch_as(&kubeconfig, &[])?;
    controller.ready().await?;
    let pods = t.served("web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.event("web", "WriteRefused", &["endpointslices", "forbidden"])
        .await?;
    t.canary_without_patches().await?;
    let told = t.count_events("web", "WriteRefused");
    ensure!(told == 1, "told {told} times about one missing verb");
    let role = format!(
        "/apis/{RBAC}/v1/namespaces/{}/roles/zen-lead-e2e-limited",
        t.ns
    );
    t.api
        .patch(&role, Patch::Merge, &json!({"rules": rules()?}))
        .await?;
    t.leads_within("web-leader", &pods[1], Duration::from_secs(40))
        .await?;
    t.identified("web-leader", &pods[1]).await.map(drop)
}

async fn rights_in_one_namespace_suffice(t: Arc<Test>) -> Result<()> {
    let kubeconfig = user(&t, "zen-lead-e2e-namespaced", &rules()?).await?;
    let mut controller = t.launch_as(&kubeconfig, &[])?;
    controller.ready().await?;
    let pods = t.served("web", 2).await?;
    t.delete_pod(&pods[0], 0).await?;
    t.leads("web-leader", &pods[1]).await?;
    // What OwnerReferencesPermissionEnforcement looks at: owners put back, the whole taken down.
    t.merge(
        Service,
        "web-leader",
        json!({"metadata": {"ownerReferences": null}}),
    )
    .await?;
    t.until(Service, "web-leader", "the owner is put back", |now| {
        !now["metadata"]["ownerReferences"].is_null()
    })
    .await?;
    t.ask("web", "enabled", None).await?;
    t.withdrawn("web-leader").await?;
    controller.stop().await
}

async fn namespace_is_being_deleted(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    // Something that will not go keeps the namespace terminating.
    let maps = format!("/api/v1/namespaces/{}/configmaps", t.ns);
    let hold = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "hold", "finalizers": ["example.com/hold"]},
    });
    t.api.create(&maps, &hold).await?;
    let namespace = format!("/api/v1/namespaces/{}", t.ns);
    let before = t.writes().await?.len();
    t.api.delete(&namespace, &json!({})).await?;
    // The server lets the pods go first; only a kubelet ends them.
    for pod in &pods {
        t.until(PodKind, &pod.name, "the pod is terminating", |now| {
            !now["metadata"]["deletionTimestamp"].is_null()
        })
        .await?;
        t.reap(pod).await?;
    }
    // A namespace controller that met the pods waits half their grace period before it goes on.
    let deadline = Instant::now() + SOON * 3;
    while t.withdrawn("web-leader").await.is_err() {
        ensure!(Instant::now() < deadline, "web-leader does not go");
    }
    t.gone(Service, "web").await?;
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    let writes = t.writes().await?.split_off(before);
    t.say(format!("{} writes while the namespace went", writes.len()));
    ensure!(writes.len() <= 12, "{} writes: {writes:?}", writes.len());
    let release = json!({"metadata": {"finalizers": null}});
    t.api
        .patch(&format!("{maps}/hold"), Patch::Merge, &release)
        .await?;
    let deadline = Instant::now() + SOON * 2;
    while t.api.get(&namespace).await.is_ok() {
        ensure!(Instant::now() < deadline, "the namespace does not go");
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    Ok(())
}

async fn finalizer_on_a_source(t: Arc<Test>) -> Result<()> {
    let pods = t
        .served_as(Svc::opted_in("web").finalizer("example.com/hold"), "web", 2)
        .await?;
    t.delete(Service, "web").await?;
    t.withdrawn("web-leader").await?;
    t.canary().await?;
    ensure!(
        t.get(Service, "web").await.is_ok(),
        "the source is still there"
    );
    let back = t.get(Service, "web-leader").await;
    ensure!(back.is_err(), "healed for a source that is being deleted");
    t.merge(Service, "web", json!({"metadata": {"finalizers": null}}))
        .await?;
    t.gone(Service, "web").await?;
    t.service(Svc::opted_in("web")).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn finalizer_on_a_leader_service(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    t.merge(Service, "web-leader", hold).await?;
    t.ask("web", "enabled", None).await?;
    // Traffic goes at once, whatever becomes of the Service.
    t.gone(Slice, "web-leader").await?;
    let stuck = t
        .until(Service, "web-leader", "it is terminating", |now| {
            !now["metadata"]["deletionTimestamp"].is_null()
        })
        .await?;
    t.ask("web", "enabled", Some("true")).await?;
    t.event(
        "web",
        "LeaderServiceConflict",
        &["web-leader", "example.com/hold"],
    )
    .await?;
    t.canary().await?;
    t.untouched(Service, &stuck)?;
    t.merge(
        Service,
        "web-leader",
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    t.leads("web-leader", &pods[0]).await?;
    t.identified("web-leader", &pods[0]).await.map(drop)
}

async fn finalizer_on_a_slice(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let hold = json!({"metadata": {"finalizers": ["example.com/hold"]}});
    t.merge(Slice, "web-leader", hold).await?;
    t.delete(Slice, "web-leader").await?;
    t.event(
        "web",
        "LeaderServiceConflict",
        &["web-leader", "example.com/hold"],
    )
    .await?;
    let stuck = t.exists(Slice, "web-leader").await?;
    t.ready(&pods[0], false).await?;
    t.canary().await?;
    t.untouched(Slice, &stuck)?;
    t.merge(
        Slice,
        "web-leader",
        json!({"metadata": {"finalizers": null}}),
    )
    .await?;
    t.until(
        Slice,
        "web-leader",
        "a new slice with the new leader",
        |now| {
            now["metadata"]["deletionTimestamp"].is_null() && target_uid(now) == Some(&pods[1].uid)
        },
    )
    .await
    .map(drop)
}
