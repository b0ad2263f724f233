//! §1 "Ours": any change that a client makes to our objects is undone, and only that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::SOON;
use crate::harness::api::Kind::{self, Service, Slice};
use crate::harness::api::Patch;
use crate::harness::objects::{Made, Svc, annotation, is_our_slice, label, text, uid_of};
use crate::harness::observe::Seen;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Shared Both drift_of_a_slice_is_healed "§1 Ours: drift of every kind" "§2 EndpointSlice";
    Shared Both hand_edit_is_a_switchover "§1 Ours: a hand edit is a switchover by hand" "§1 paused";
    Shared Both drift_of_a_leader_service_is_healed "§1 Ours: drift of every kind" "§2 leader Service";
    Shared Both slice_deleted_is_made_again "§1 Ours: slice deleted";
    Shared Both leader_service_deleted_keeps_its_address "§1 made again with the clusterIPs it had";
    Own Both leader_service_deleted_and_address_taken "§1 taken meanwhile: a new address and a Warning";
    Shared Both all_labels_and_owners_stripped_at_once "§1 labels that a user removed are put back";
    Shared Both fight_is_left_with_a_back_off "§1 reverted three times within a minute" "§4 WriteRefused";
    Shared Both selector_on_a_leader_service_is_taken_off "§1 a selector that a user set";
}

/// The object without what any write changes.
fn essence(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object["metadata"].as_object_mut() {
        for key in ["resourceVersion", "managedFields", "generation"] {
            meta.remove(key);
        }
        // A heal is no answer to a pod event and takes the trigger time away.
        if let Some(notes) = meta.get_mut("annotations").and_then(Value::as_object_mut) {
            notes.remove("endpoints.kubernetes.io/last-change-trigger-time");
        }
        if meta
            .get("annotations")
            .is_some_and(|notes| *notes == json!({}))
        {
            meta.remove("annotations");
        }
    }
    object
}

/// Serves the pods of "web" once more, under another name, so that the drifts of one test are no
/// fight about one field.
async fn another(t: &Test, number: usize, pod: &Made) -> Result<String> {
    let name = format!("web{number}");
    let source = Svc::opted_in(&name)
        .label("team", "blue")
        .annotation("contact", "ops")
        .spec("selector", json!({"app": "web"}));
    t.service(source).await?;
    let leader = format!("{name}-leader");
    t.leads(&leader, pod).await?;
    t.identified(&leader, pod).await?;
    Ok(leader)
}

/// Does the damage and waits until everything is as before; how long that took.
async fn heals(t: &Test, kind: Kind, name: &str, what: &str, patch: Value) -> Result<Duration> {
    let before = t.exists(kind, name).await?;
    let damaged = t.merge(kind, name, patch).await?;
    let from = Instant::now();
    ensure!(
        essence(&damaged) != essence(&before),
        "{what}: no damage done"
    );
    let version = &damaged["metadata"]["resourceVersion"];
    let mut seen_last = Value::Null;
    let healed = t
        .obs
        .wait(
            &format!("{what} is healed"),
            Duration::from_secs(5),
            |log| {
                let mut backwards = log.history.iter().rev();
                let is_it = |seen: &&Seen| seen.kind == kind && seen.name() == name;
                let now = backwards.find(is_it)?;
                seen_last = essence(&now.object);
                let is_later = now.object["metadata"]["resourceVersion"] != *version;
                (is_later && seen_last == essence(&before))
                    .then(|| now.at.saturating_duration_since(from))
            },
        )
        .await;
    healed.with_context(|| format!("before {}\n      now    {seen_last}", essence(&before)))
}

async fn all_heal(t: &Test, kind: Kind, pod: &Made, drifts: Vec<(&str, Value)>) -> Result<()> {
    let (mut healed, mut failed) = (Vec::new(), Vec::new());
    for (number, (what, patch)) in drifts.into_iter().enumerate() {
        let name = another(t, number, pod).await?;
        match heals(t, kind, &name, what, patch).await {
            Ok(took) => healed.push((took, what)),
            Err(why) => failed.push(format!("{what}: {why:#}")),
        }
    }
    let slowest = healed.iter().max();
    t.say(format!(
        "{} kinds of drift healed, the slowest: {slowest:.1?}",
        healed.len()
    ));
    ensure!(failed.is_empty(), "not healed:\n{}", failed.join("\n"));
    Ok(())
}

async fn drift_of_a_slice_is_healed(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let pods = t.pods("web", 2).await?;
    let endpoint = |ip: &str, uid: &str, ready: bool| {
        json!({"addresses": [ip], "conditions": {"ready": ready, "serving": ready, "terminating": false},
               "nodeName": "node-a",
               "targetRef": {"kind": "Pod", "namespace": t.ns, "name": "web-0", "uid": uid}})
    };
    let (own, other) = (&pods[0], &pods[1]);
    let two = json!([
        endpoint(&own.ips[0], &own.uid, true),
        endpoint(&other.ips[0], &other.uid, true)
    ]);
    let mut drifts = vec![
        (
            "another address",
            json!({"endpoints": [endpoint("192.0.2.9", &own.uid, true)]}),
        ),
        (
            "a pod that does not exist",
            json!({"endpoints": [endpoint(&other.ips[0], "no-such-pod", true)]}),
        ),
        (
            "another record",
            json!({"metadata": {"annotations": {"zen-lead.io/leader-pod-uid": other.uid}}}),
        ),
        (
            "endpoint not ready",
            json!({"endpoints": [endpoint(&own.ips[0], &own.uid, false)]}),
        ),
        ("two endpoints", json!({"endpoints": two})),
        ("no endpoint", json!({"endpoints": []})),
        (
            "no targetRef",
            json!({"endpoints": [{"addresses": [own.ips[0]]}]}),
        ),
        (
            "other ports",
            json!({"ports": [{"name": "main", "port": 9999, "protocol": "TCP"}]}),
        ),
        ("no ports", json!({"ports": []})),
        (
            "mirrored label edited",
            json!({"metadata": {"labels": {"team": "red"}}}),
        ),
        (
            "mirrored label removed",
            json!({"metadata": {"labels": {"team": null}}}),
        ),
        (
            "owner removed",
            json!({"metadata": {"ownerReferences": null}}),
        ),
        (
            "headless label",
            json!({"metadata": {"labels": {"service.kubernetes.io/headless": ""}}}),
        ),
        (
            "source label edited",
            json!({"metadata": {"labels": {"zen-lead.io/source-service": "x"}}}),
        ),
    ];
    for key in [
        "kubernetes.io/service-name",
        "endpointslice.kubernetes.io/managed-by",
        "app.kubernetes.io/managed-by",
        "zen-lead.io/source-service",
    ] {
        drifts.push((key, json!({"metadata": {"labels": {key: null}}})));
    }
    all_heal(&t, Slice, own, drifts).await
}

/// A user moves the leadership by an edit of the endpoint: followed twice within a minute, and reverted
/// the third time.
async fn hand_edit_is_a_switchover(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let pods = t.served("web", 3).await?;
    let redirect = async |pod: &Made| {
        let operations = json!([
            {"op": "replace", "path": "/endpoints/0/targetRef/uid", "value": pod.uid},
            {"op": "replace", "path": "/endpoints/0/targetRef/name", "value": pod.name},
        ]);
        t.patch(Slice, "web-leader", operations).await
    };
    let follows = async |pod: &Made| -> Result<()> {
        // The address, the record and the copy follow the edit.
        t.leads("web-leader", pod).await?;
        t.until(Slice, "web-leader", "the record follows", |now| {
            annotation(now, "zen-lead.io/leader-pod-uid") == Some(&pod.uid)
        })
        .await?;
        t.identified("web-leader", pod).await.map(drop)
    };
    redirect(&pods[1]).await?;
    follows(&pods[1]).await?;
    let words = ["from web-0 to web-1", "switchover"];
    t.event("web", "LeaderChanged", &words).await?;
    t.ask("web", "paused", Some("true")).await?;
    redirect(&pods[2]).await?;
    follows(&pods[2]).await?;
    redirect(&pods[0]).await?;
    follows(&pods[2]).await?;
    t.ready(&pods[1], false).await?;
    t.canary().await?;
    follows(&pods[2]).await
}

async fn drift_of_a_leader_service_is_healed(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let pods = t.pods("web", 1).await?;
    let mut drifts = vec![
        (
            "ports edited",
            json!({"spec": {"ports": [
            {"name": "main", "port": 81, "targetPort": 1, "protocol": "TCP"}]}}),
        ),
        ("type edited", json!({"spec": {"type": "NodePort"}})),
        (
            "families edited",
            json!({"spec": {"ipFamilyPolicy": "PreferDualStack"}}),
        ),
        (
            "a leader that is held is hidden",
            json!({"spec": {"publishNotReadyAddresses": false}}),
        ),
        (
            "owner removed",
            json!({"metadata": {"ownerReferences": null}}),
        ),
        (
            "mirrored label edited",
            json!({"metadata": {"labels": {"team": "red"}}}),
        ),
        (
            "mirrored annotation removed",
            json!({"metadata": {"annotations": {"contact": null}}}),
        ),
        (
            "both our labels removed",
            json!({"metadata": {"labels": {
            "app.kubernetes.io/managed-by": null, "zen-lead.io/source-service": null}}}),
        ),
        (
            "source label edited",
            json!({"metadata": {"labels": {"zen-lead.io/source-service": "x"}}}),
        ),
    ];
    for key in [
        "current-leader",
        "leader-pod-name",
        "leader-pod-uid",
        "last-leader-pod-uid",
    ] {
        let patch = json!({"metadata": {"annotations": {format!("zen-lead.io/{key}"): "wrong"}}});
        drifts.push((key, patch));
    }
    for key in ["leader-pod-uid", "leader-last-switch-time", "mirrored"] {
        let patch = json!({"metadata": {"annotations": {format!("zen-lead.io/{key}"): null}}});
        drifts.push((key, patch));
    }
    all_heal(&t, Service, &pods[0], drifts).await
}

async fn slice_deleted_is_made_again(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let before = t.exists(Slice, "web-leader").await?;
    t.delete(Slice, "web-leader").await?;
    let from = Instant::now();
    t.until(Slice, "web-leader", "a new slice", |now| {
        uid_of(now) != uid_of(&before)
    })
    .await?;
    let seen = t.leads("web-leader", &pods[0]).await?;
    t.say(format!(
        "made again after {:.1?}",
        seen.saturating_duration_since(from)
    ));
    ensure!(seen.saturating_duration_since(from) < Duration::from_secs(5));
    Ok(())
}

async fn leader_service_deleted_keeps_its_address(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    let before = t.exists(Service, "web-leader").await?;
    t.delete(Service, "web-leader").await?;
    let from = Instant::now();
    let now = t
        .until(Service, "web-leader", "a new one", |now| {
            uid_of(now) != uid_of(&before)
        })
        .await?;
    t.say(format!("made again after {:.1?}", from.elapsed()));
    ensure!(
        now["spec"]["clusterIPs"] == before["spec"]["clusterIPs"],
        "another address"
    );
    // Its slice belongs to it, and the leader is the one that led.
    t.until(
        Slice,
        "web-leader",
        "the slice has its new owner",
        |slice| slice["metadata"]["ownerReferences"][0]["uid"] == now["metadata"]["uid"],
    )
    .await?;
    t.leads("web-leader", &pods[1]).await?;
    t.identified("web-leader", &pods[1]).await?;
    t.canary().await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn leader_service_deleted_and_address_taken(t: Arc<Test>) -> Result<()> {
    let controller = t.controller(&[]).await?;
    let pods = t.served("web", 1).await?;
    let before = t.exists(Service, "web-leader").await?;
    let address = before["spec"]["clusterIP"].clone();
    // Another client is quicker than the program, which stands still.
    controller.signal(Signal::STOP)?;
    t.delete(Service, "web-leader").await?;
    let taken = t
        .service(Svc::new("squatter").spec("clusterIP", address.clone()))
        .await?;
    ensure!(taken["spec"]["clusterIP"] == address);
    controller.signal(Signal::CONT)?;
    let from = Instant::now();
    let now = t
        .obs
        .wait("a new one", SOON * 2, |log| {
            let now = log.get(Service, "web-leader");
            now.filter(|now| uid_of(now) != uid_of(&before)).cloned()
        })
        .await?;
    t.say(format!("a new address after {:.1?}", from.elapsed()));
    ensure!(now["spec"]["clusterIP"] != address);
    t.leads("web-leader", &pods[0]).await?;
    t.obs
        .wait("a Warning that names the lost address", SOON, |log| {
            let told = |event: &Arc<Value>| {
                text(event, "/type") == "Warning"
                    && text(event, "/message").contains(address.as_str().unwrap_or("?"))
            };
            log.all(Kind::Event).any(told).then_some(())
        })
        .await?;
    t.untouched(Service, &taken)
}

async fn all_labels_and_owners_stripped_at_once(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let pods = t.served("web", 2).await?;
    let before = t.exists(Slice, "web-leader").await?;
    // Its owner still says whose it is.
    let strip = json!([{"op": "remove", "path": "/metadata/labels"}]);
    t.patch(Slice, "web-leader", strip.clone()).await?;
    t.patch(Service, "web-leader", strip).await?;
    t.until(Slice, "web-leader", "the slice is relabelled", |now| {
        is_our_slice(now) && label(now, "zen-lead.io/source-service") == Some("web")
    })
    .await?;
    t.until(Service, "web-leader", "the Service is relabelled", |now| {
        label(now, "zen-lead.io/source-service") == Some("web")
            && label(now, "app.kubernetes.io/managed-by") == Some("zen-lead")
    })
    .await?;
    ensure!(
        uid_of(&*t.exists(Slice, "web-leader").await?) == uid_of(&before),
        "made again"
    );
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn fight_is_left_with_a_back_off(t: Arc<Test>) -> Result<()> {
    t.served_as(Svc::opted_in("web").label("team", "blue"), "web", 1)
        .await?;
    let rival = format!("{}?fieldManager=rival", t.path(Service, "web-leader"));
    let patch = json!({"metadata": {"labels": {"team": "red"}}});
    let mut healed = 0;
    for _ in 0..8 {
        let edited = t.api.patch(&rival, Patch::Merge, &patch).await?;
        let version = edited["metadata"]["resourceVersion"].clone();
        let again = t.obs.wait("healed", Duration::from_secs(2), |log| {
            let now = log.get(Service, "web-leader")?;
            let mut backwards = log.history.iter().rev();
            let was_seen =
                backwards.any(|seen| seen.object["metadata"]["resourceVersion"] == version);
            (was_seen && label(now, "team") == Some("blue")).then_some(())
        });
        // No answer within two seconds: it backs off.
        if again.await.is_err() {
            break;
        }
        healed += 1;
    }
    t.say(format!("healed {healed} times at once"));
    ensure!(
        (2..=4).contains(&healed),
        "healed {healed} times before it backed off"
    );
    t.event("web", "WriteRefused", &["rival"]).await?;
    // The rest of the Service goes on.
    let next = t
        .pod(crate::harness::objects::Pod::new("web-1", "web"), true)
        .await?;
    t.delete(Kind::Pod, "web-0").await?;
    t.leads("web-leader", &next).await.map(drop)
}

async fn selector_on_a_leader_service_is_taken_off(t: Arc<Test>) -> Result<()> {
    t.disturbs();
    let pods = t.served("web", 2).await?;
    let before = t.exists(Service, "web-leader").await?;
    let patch = json!({"spec": {"selector": {"app": "nothing-at-all"}}});
    t.merge(Service, "web-leader", patch).await?;
    t.until(Service, "web-leader", "the selector is taken off", |now| {
        now["spec"]["selector"].is_null()
    })
    .await?;
    let now = t.exists(Service, "web-leader").await?;
    ensure!(now["spec"]["clusterIPs"] == before["spec"]["clusterIPs"]);
    t.leads("web-leader", &pods[0]).await.map(drop)
}
