//! The examples of `docs/FOLLOW.md`, taken from its text: what users copy from there works.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::followers::follow;
use crate::harness::api::Kind::{self, Slice};
use crate::harness::objects::{Made, Pod, Svc, annotation, name_of, text};
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both documented_labels_are_followed "docs/FOLLOW.md: CloudNativePG, Patroni and Zalando, Vault and OpenBao, Redis" "§3a label: the newer one counts" "§3 reason followed";
    Shared Both documented_pod_zero_is_followed "docs/FOLLOW.md: a StatefulSet's pod 0" "§3a label: a sole bearer is named" "§3a a pod that is not eligible";
}

/// The Service of the example under a heading.
fn example(heading: &str) -> Result<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/FOLLOW.md");
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let sections = page.split("\n### ");
    let mut named = sections.filter_map(|section| section.split_once('\n'));
    let service = named.find(|(name, _)| *name == heading).and_then(|found| {
        let objects = found.1.split("\n```yaml\n").skip(1);
        let mut read = objects.flat_map(|rest| {
            let block = rest.split("\n```").next().unwrap_or_default();
            serde_saphyr::from_multiple::<Value>(block).unwrap_or_default()
        });
        read.find(|object| text(object, "/kind") == "Service")
    });
    service.with_context(|| format!("docs/FOLLOW.md has no Service under {heading:?}"))
}

/// An example that has been applied, with three members of which none has a role yet.
struct Applied {
    source: String,
    leader: String,
    followers: Option<String>,
    label: (String, String),
    pods: Vec<Made>,
}

impl Applied {
    async fn new(t: &Test, heading: &str, role: impl Fn(usize) -> Value) -> Result<Self> {
        let service = example(heading)?;
        let asks =
            |key: &str| annotation(&service, &format!("zen-lead.io/{key}")).map(String::from);
        let source = name_of(&service).to_owned();
        let followed = asks("follow").context("it follows")?;
        let label = followed.strip_prefix("label/").context("a label")?;
        let (key, value) = label.split_once('=').context("a key and a value")?;
        let mut pods = Vec::new();
        for number in 0..3 {
            let mut pod = Pod::new(&format!("{source}-{number}"), &source);
            pod.object["metadata"]["labels"] = service["spec"]["selector"].clone();
            pod.object["metadata"]["labels"][key] = role(number);
            pods.push(t.pod(pod, true).await?);
        }
        let leader = asks("leader-service-name").unwrap_or_else(|| format!("{source}-leader"));
        let applied = Self {
            leader,
            followers: asks("followers-service-name"),
            label: (key.into(), value.into()),
            source,
            pods,
        };
        t.service(Svc(service)).await?;
        Ok(applied)
    }

    /// Gives a member its role, as the application does.
    async fn mark(&self, t: &Test, number: usize, value: &str) -> Result<()> {
        let change = json!({"metadata": {"labels": {&self.label.0: value}}});
        let pod = &self.pods[number].name;
        t.merge(Kind::Pod, pod, change).await.map(drop)
    }

    /// Waits until that member leads, and the others are its followers if the example shows them.
    async fn led_by(&self, t: &Test, number: usize) -> Result<()> {
        t.leads(&self.leader, &self.pods[number]).await?;
        let Some(followers) = &self.followers else {
            return Ok(());
        };
        let leader = &self.pods[number].name;
        let others = self.pods.iter().filter(|pod| pod.name != *leader);
        let others: Vec<&Made> = others.collect();
        follow(t, followers, &others).await.map(drop)
    }
}

async fn documented_labels_are_followed(t: Arc<Test>) -> Result<()> {
    for heading in [
        "CloudNativePG",
        "Patroni and Zalando",
        "Vault and OpenBao",
        "Redis",
    ] {
        let standby = |_| Value::from("standby");
        let app = Applied::new(&t, heading, standby).await?;
        t.event(&app.source, "NoLeaderToFollow", &[]).await?;
        t.empties(&app.leader).await?;
        let leads = app.label.1.clone();
        app.mark(&t, 1, &leads).await?;
        app.led_by(&t, 1).await?;
        let before = t.history(Slice, &app.leader).len();
        let from = std::time::Instant::now();
        // The newer label counts as long as both have it.
        app.mark(&t, 2, &leads).await?;
        app.led_by(&t, 2).await?;
        app.mark(&t, 1, "standby").await?;
        t.canary().await?;
        app.led_by(&t, 2).await?;
        t.never_empty(&[&app.leader], from)?;
        let writes = t.history(Slice, &app.leader).len() - before;
        ensure!(
            writes == 1,
            "{heading}: {writes} writes of the slice for one move"
        );
        let moved = format!("{0}-1 to {0}-2", app.source);
        t.event(&app.source, "LeaderChanged", &[&moved, "followed"])
            .await?;
    }
    Ok(())
}

async fn documented_pod_zero_is_followed(t: Arc<Test>) -> Result<()> {
    let index = |number: usize| Value::from(number.to_string());
    let mut app = Applied::new(&t, "A StatefulSet's pod 0", index).await?;
    app.led_by(&t, 0).await?;
    // There is no failover, and pod 0 is no follower of itself.
    t.ready(&app.pods[0], false).await?;
    t.empties(&app.leader).await?;
    t.ready(&app.pods[0], true).await?;
    app.led_by(&t, 0).await?;
    // It comes back under its name, with its label.
    t.delete_pod(&app.pods[0], 0).await?;
    t.empties(&app.leader).await?;
    let service = example("A StatefulSet's pod 0")?;
    let mut pod = Pod::new(&app.pods[0].name, &app.source);
    pod.object["metadata"]["labels"] = service["spec"]["selector"].clone();
    pod.object["metadata"]["labels"][&app.label.0] = index(0);
    app.pods[0] = t.pod(pod, true).await?;
    app.led_by(&t, 0).await
}
