//! The commands, as a user with exactly the rights that `docs/CLI.md` asks for.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::api::Kind::Service;
use crate::harness::controller::binary;
use crate::harness::manifests;
use crate::harness::objects::annotation;
use crate::harness::suite::USER;
use crate::harness::test::Test;
use crate::scenarios;
use crate::scenarios::refused;

scenarios! {
    Own RealOnly("simkube knows no roles") commands_of_a_reader "status, explain, leader, logs with list and watch alone";
    Own RealOnly("simkube knows no roles") commands_in_the_controllers_pod "status, doctor with the rights of the namespaced installation";
    Own Both kubeconfigs_that_are_missing "a missing file of KUBECONFIG is skipped";
    Own RealOnly("simkube knows no roles") commands_that_steer "switchover, pause, resume with patch of Services";
    Own RealOnly("simkube knows no roles") the_doctor_asks_for_rights "doctor: SelfSubjectAccessReview, Lease, conflicts";
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// A user of this scenario's own, with rights in its namespace alone.
async fn user(t: &Test, name: &str, may_patch: bool) -> Result<PathBuf> {
    let user = format!("{name}-{}", t.ns);
    let services: &[&str] = if may_patch {
        &["list", "watch", "patch"]
    } else {
        &["list", "watch"]
    };
    let rules = json!([
        {"apiGroups": [""], "resources": ["services"], "verbs": services},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]);
    let meta = json!({"name": name, "namespace": t.ns});
    let base = format!("/apis/{RBAC}/v1/namespaces/{}", t.ns);
    let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": meta, "rules": rules});
    t.suite.ensure(&format!("{base}/roles"), &role).await?;
    let binding = json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": meta,
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    });
    t.suite
        .ensure(&format!("{base}/rolebindings"), &binding)
        .await?;
    t.suite.control.kubeconfig_for(&user).await
}

/// Runs a command in the scenario's namespace.
async fn run(t: &Test, kubeconfig: &Path, words: &[&str]) -> Result<Output> {
    let (command, rest) = words.split_first().context("a command")?;
    let output = Command::new(binary())
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .args([command, "-n", &t.ns])
        .args(rest)
        .output();
    output.await.context("run the command")
}

/// The same, and what it printed; it must succeed.
async fn print(t: &Test, kubeconfig: &Path, words: &[&str]) -> Result<String> {
    let output = run(t, kubeconfig, words).await?;
    let text = String::from_utf8(output.stdout)?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.success(),
        "{words:?}: {}\n{text}{said}",
        output.status
    );
    Ok(text)
}

/// The same for one that must fail, with one line on standard error.
async fn fails(t: &Test, kubeconfig: &Path, words: &[&str], code: i32) -> Result<String> {
    let output = run(t, kubeconfig, words).await?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(
        output.status.code() == Some(code),
        "{words:?}: {} {said}",
        output.status
    );
    ensure!(said.lines().count() == 1, "{words:?}: {said}");
    Ok(said)
}

async fn commands_of_a_reader(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    let reader = user(&t, "reader", false).await?;
    let pods = t.served("web", 3).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.event("web", "LeaderChanged", &["notReady"]).await?;

    let status: Value =
        serde_json::from_str(&print(&t, &reader, &["status", "-o", "json"]).await?)?;
    let item = &status["items"][0];
    ensure!(item["leader"]["pod"] == "web-1", "{status:#}");
    ensure!(item["leader"]["address"] == pods[1].ips[0], "{status:#}");
    ensure!(item["leader"]["since"].is_string(), "{status:#}");
    ensure!(
        item["next"] == "web-2" && item["lastReason"] == "notReady",
        "{status:#}"
    );
    ensure!(
        item["pods"] == json!({"eligible": 2, "matching": 3}),
        "{status:#}"
    );
    ensure!(
        item["pending"].is_null() && item["problems"] == json!([]),
        "{status:#}"
    );

    let explained = print(&t, &reader, &["explain", "web"]).await?;
    ensure!(
        explained.contains("If web-1 died now, web-2 would lead."),
        "{explained}"
    );
    ensure!(explained.contains("not Ready for"), "{explained}");
    ensure!(print(&t, &reader, &["leader", "web"]).await? == "web-1\n");
    let line = print(&t, &reader, &["logs", "svc/web", "--", "-f"]).await?;
    ensure!(
        line == format!("kubectl -n {} logs web-1 -f\n", t.ns),
        "{line}"
    );
    // What it foretold comes true.
    t.delete_pod(&pods[1], 0).await?;
    t.leads("web-leader", &pods[2]).await?;

    let said = fails(&t, &reader, &["pause", "web"], 1).await?;
    ensure!(said.contains("forbidden"), "{said}");
    let said = fails(&t, &reader, &["status", "web", "-A"], 1).await?;
    ensure!(
        said.contains("forbidden") && said.contains("cannot read"),
        "{said}"
    );
    fails(&t, &reader, &["stauts"], 2).await?;
    Ok(())
}

/// What `kubectl exec` does: the pod's environment, and the rights of its account there.
async fn commands_in_the_controllers_pod(t: Arc<Test>) -> Result<()> {
    let rules = [manifests::served()?, manifests::lease()?].concat();
    let account = refused::user(&t, &format!("inside-{}", t.ns), &rules.into()).await?;
    let _controller = t.controller(&[]).await?;
    t.served("web", 2).await?;
    let run = async |words: &[&str]| -> Result<String> {
        let output = Command::new(binary())
            .env_clear()
            .env("KUBECONFIG", &account)
            .env("KUBERNETES_SERVICE_HOST", "10.0.0.1")
            .env("POD_NAME", "zen-lead-0")
            .env("POD_NAMESPACE", &t.ns)
            .env("ZEN_LEAD_NAMESPACES", &t.ns)
            .args(words)
            .output()
            .await?;
        let text = String::from_utf8(output.stdout)?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{words:?}: {text}{said}");
        Ok(text)
    };
    let status = run(&["status"]).await?;
    ensure!(status.contains(" web-0 "), "{status}");
    let explained = run(&["explain", "web"]).await?;
    ensure!(explained.contains("If web-0 died now"), "{explained}");
    let doctor = run(&["doctor"]).await?;
    ensure!(!doctor.contains("WRONG"), "{doctor}");
    ensure!(
        doctor.contains("ok    at work: the controller "),
        "{doctor}"
    );
    Ok(())
}

async fn kubeconfigs_that_are_missing(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    t.served("web", 1).await?;
    let admin = t.suite.control.kubeconfig();
    let listed = format!("/missing/a:{}:/missing/b", admin.display());
    let text = print(&t, Path::new(&listed), &["leader", "web"]).await?;
    ensure!(text == "web-0\n", "{text}");
    let said = fails(
        &t,
        Path::new("/missing/a:/missing/b"),
        &["leader", "web"],
        1,
    )
    .await?;
    ensure!(said.contains("/missing/a, /missing/b"), "{said}");
    Ok(())
}

async fn commands_that_steer(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    let operator = user(&t, "operator", true).await?;
    let pods = t.served("web", 3).await?;
    let text = print(
        &t,
        &operator,
        &["switchover", "web", "--to", "web-2", "--wait"],
    )
    .await?;
    ensure!(text.starts_with("web-0 -> web-2 after "), "{text}");
    t.leads("web-leader", &pods[2]).await?;
    t.event("web", "LeaderChanged", &["switchover"]).await?;
    // Once more to where it was, and back to a pod that was asked for before.
    t.identified("web-leader", &pods[2]).await?;
    print(
        &t,
        &operator,
        &["switchover", "web", "--to", "web-0", "--wait"],
    )
    .await?;
    print(
        &t,
        &operator,
        &["switchover", "web", "--to", "web-2", "--wait"],
    )
    .await?;
    t.leads("web-leader", &pods[2]).await?;

    let text = print(&t, &operator, &["pause", "web"]).await?;
    ensure!(text.starts_with("paused: web-2 leads"), "{text}");
    let source = t.get(Service, "web").await?;
    ensure!(annotation(&source, "zen-lead.io/paused") == Some("true"));
    t.ready(&pods[2], false).await?;
    t.canary().await?;
    t.leads("web-leader", &pods[2]).await?;
    let said = fails(&t, &operator, &["switchover", "web", "--to", "web-1"], 1).await?;
    ensure!(said.contains("is paused"), "{said}");
    print(&t, &operator, &["resume", "web"]).await?;
    t.leads("web-leader", &pods[0]).await?;
    let source = t.get(Service, "web").await?;
    ensure!(annotation(&source, "zen-lead.io/paused").is_none());
    Ok(())
}

async fn the_doctor_asks_for_rights(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&[]).await?;
    let reader = user(&t, "reader", false).await?;
    t.served("web", 2).await?;
    let text = print(&t, &reader, &["doctor"]).await?;
    // What it says of a server depends on whether that one streams lists.
    let is_plain = matches!(t.suite.minor, 32 | 34..);
    let server = if is_plain { "ok  " } else { "note" };
    let server = format!("{server}  API server {}", t.suite.version);
    for expected in [
        &*server,
        "note  you may not patch services",
        "note  the Lease cannot be looked at: ",
        "ok    1 opted in, 1 with a leader",
    ] {
        ensure!(text.contains(expected), "{expected}\n{text}");
    }
    let admin = t.suite.control.kubeconfig();
    let as_controller = ["doctor", "--as", USER];
    let output = run(&t, &admin, &as_controller).await?;
    let text = String::from_utf8(output.stdout)?;
    let expected = format!("ok    {USER} has all 16 rights that the controller needs here");
    ensure!(text.contains(&expected), "{text}");
    let expected = format!("ok    {USER} has the 5 rights that it needs on the Lease ");
    ensure!(text.contains(&expected), "{text}");
    // A name that is taken is wrong.
    let stranger = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "db-leader"},
        "spec": {"ports": [{"port": 80}]},
    });
    t.create(Service, &stranger).await?;
    t.service(crate::harness::objects::Svc::opted_in("db"))
        .await?;
    t.event("db", "LeaderServiceConflict", &[]).await?;
    let output = run(&t, &admin, &["doctor"]).await?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(1), "{} {text}", output.status);
    let about = format!("WRONG Service {}/db: LeaderServiceConflict: ", t.ns);
    ensure!(text.contains(&about), "{text}");
    Ok(())
}
