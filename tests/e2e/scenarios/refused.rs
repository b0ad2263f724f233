//! Writes that the API server refuses, and objects that will not go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::SOON;
use crate::harness::api::Kind::{Pod as PodKind, Service, Slice};
use crate::harness::api::Patch;
use crate::harness::objects::{Pod, Svc, target_uid, text};
use crate::harness::suite::rules;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared RealOnly("simkube evaluates no admission policies: they are written in CEL") refused_by_an_admission_policy "§4 WriteRefused, the API server's own words" "bounded number of requests" needs 30 "ValidatingAdmissionPolicy";
    Own Both refused_by_rbac "§4 WriteRefused: RBAC" "recovers by itself";
    Own Both rights_in_one_namespace_suffice "§6 --namespaces with a Role" "OwnerReferencesPermissionEnforcement";
    Shared Both namespace_is_being_deleted "a namespace being deleted";
    Shared Both finalizer_on_a_source "§1 a source with a deletionTimestamp counts as deleted";
    Shared Both finalizer_on_a_leader_service "§1 an object of ours with a deletionTimestamp is occupied";
    Shared Both finalizer_on_a_slice "§1 an object of ours with a deletionTimestamp is occupied";
}

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// Puts the policy up; returns when it bites.
async fn deny(t: &Test) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": t.ns},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["discovery.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["endpointslices"],
            }]},
            "matchConditions": [{"name": "ours", "expression":
                "'zen-lead.io/source-service' in object.metadata.?labels.orValue({})"}],
            "validations": [{"expression": "false", "message": "frozen until Monday"}],
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
    t.api
        .create(
            &format!("{policies}bindings").replace("policiesb", "policyb"),
            &binding,
        )
        .await?;
    bites(t, true).await
}

/// Waits until the policy is in force, or is not any more, by writes that change nothing.
async fn bites(t: &Test, yes: bool) -> Result<()> {
    let probe = format!("{}?dryRun=All", t.path(Slice, "web-leader"));
    let patch = json!({"metadata": {"labels": {"probe": "x"}}});
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
    let before = t.writes()?.len();
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
    let tries = t.writes()?.split_off(before);
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
    let policies = format!("{ADMISSION}/validatingadmissionpolicies/{}", t.ns);
    t.api.delete(&policies, &json!({})).await?;
    bites(&t, false).await?;
    t.leads_within("web-leader", &pods[1], Duration::from_secs(40))
        .await?;
    t.ask("other", "enabled", Some("true")).await?;
    t.leads("other-leader", &other).await.map(drop)
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
    let before = t.writes()?.len();
    t.api.delete(&namespace, &json!({})).await?;
    // The server lets the pods go first; nobody but a kubelet ends them.
    for pod in &pods {
        t.until(PodKind, &pod.name, "the pod is terminating", |now| {
            !now["metadata"]["deletionTimestamp"].is_null()
        })
        .await?;
        t.reap(pod).await?;
    }
    t.withdrawn("web-leader").await?;
    t.gone(Service, "web").await?;
    let from = Instant::now();
    while from.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    let writes = t.writes()?.split_off(before);
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
