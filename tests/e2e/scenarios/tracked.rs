//! §2: the managedFields of our slices, which the server adds at a create.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::{self, Service, Slice};
use crate::harness::objects::Made;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both failover_clears_managed_fields "§2 managedFields of our slices are cleared" "no request more";
    Shared Both managed_fields_cause_no_write "§2 their presence causes no write, their absence is no drift";
    Own Both managed_fields_are_kept_on_request "§6 --keep-managed-fields";
}

const LEADER: &str = "web-leader";

/// The managers of an object.
async fn managers(t: &Test, kind: Kind) -> Result<Vec<String>> {
    let object = t.exists(kind, LEADER).await?;
    let entries = object["metadata"]["managedFields"].as_array();
    let managers = entries.into_iter().flatten().map(|entry| &entry["manager"]);
    Ok(managers.filter_map(Value::as_str).map(Into::into).collect())
}

/// The leader fails. Returns the requests about the leader Service and its slice.
async fn fail_over(t: &Test, from: &Made, to: &Made) -> Result<Vec<String>> {
    t.canary().await?;
    let before = t.requests().await?.len();
    t.ready(from, false).await?;
    t.identified(LEADER, to).await?;
    t.ready(from, true).await?;
    t.canary().await?;
    let requests = t.requests().await?.split_off(before);
    let ours = requests.iter().filter(|entry| entry.name == LEADER);
    Ok(ours
        .map(|entry| format!("{} {} {}", entry.verb, entry.resource, entry.code))
        .collect())
}

const REQUESTS: [&str; 2] = ["patch endpointslices 200", "patch services 200"];

async fn failover_clears_managed_fields(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    ensure!(managers(&t, Slice).await? == ["zen-lead"], "of a create");
    let mut requests = fail_over(&t, &pods[0], &pods[1]).await?;
    ensure!(requests == REQUESTS, "the first failover: {requests:?}");
    let tracked = managers(&t, Slice).await?;
    ensure!(tracked.is_empty(), "after one failover: {tracked:?}");
    requests = fail_over(&t, &pods[1], &pods[0]).await?;
    ensure!(requests == REQUESTS, "the second failover: {requests:?}");
    let tracked = managers(&t, Slice).await?;
    ensure!(tracked.is_empty(), "after the second failover: {tracked:?}");
    // Users want to see who owns the fields of a Service.
    let tracked = managers(&t, Service).await?;
    ensure!(
        tracked == ["zen-lead"],
        "of the leader Service: {tracked:?}"
    );
    Ok(())
}

async fn managed_fields_cause_no_write(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    t.canary().await?;
    let created = t.exists(Slice, LEADER).await?;
    t.merge(
        Service,
        "web",
        json!({"metadata": {"annotations": {"example.com/note": "1"}}}),
    )
    .await?;
    t.canary().await?;
    t.untouched(Slice, &created)?;
    let reset = json!([{"op": "add", "path": "/metadata/managedFields", "value": [{}]}]);
    let cleared = t.patch(Slice, LEADER, reset).await?;
    ensure!(cleared["metadata"]["managedFields"].is_null());
    t.canary().await?;
    t.untouched(Slice, &cleared)
}

async fn managed_fields_are_kept_on_request(t: Arc<Test>) -> Result<()> {
    let _controller = t.controller(&["--keep-managed-fields"]).await?;
    let pods = t.served("web", 2).await?;
    let requests = fail_over(&t, &pods[0], &pods[1]).await?;
    ensure!(requests == REQUESTS, "{requests:?}");
    let tracked = managers(&t, Slice).await?;
    ensure!(tracked == ["zen-lead"], "after a failover: {tracked:?}");
    Ok(())
}
