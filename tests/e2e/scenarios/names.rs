//! §1 `leader-service-name`, and objects of others under the names in question.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Svc, label, text, uid_of};
use crate::harness::observe::Change;
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both name_of_ones_own "§1 leader-service-name";
    Shared Both name_may_begin_with_a_digit_if_the_server_allows "§1 leader-service-name, leading digit";
    Shared Both rename_is_make_before_break "§2 Leaving: name changed" "Go failure 5: renaming";
    Shared Both rename_there_and_back "§2 Leaving: name changed";
    Shared Both name_invalid_at_first "§1 leader-service-name invalid" "§4 InvalidLeaderServiceName";
    Shared Both name_invalid_later_changes_nothing "§1 invalid new name leaves what is served";
    Shared Both name_is_the_sources_own "§1 its own name" "Go failure 5: own name";
    Shared Both name_default_too_long "§1 a default that grows too long";
    Shared Both name_taken_at_first_then_free "§1 LeaderServiceConflict, free later" "Go failure 3";
    Shared Both name_taken_later_changes_nothing "§1 taken new name leaves what is served";
    Shared Both foreign_service_survives_everything "§1 not ours is never touched" "Go failures 2 and 3";
    Shared Both foreign_slice_holds_the_name "§2 slice name with a hash" "§1 not ours is never touched";
    Shared Both name_contested_by_two_sources "§1 a name that exists and is not ours for this very source";
    Shared Both address_is_kept_for_a_source_that_comes_back "§1 made again with the clusterIPs it had, within ten minutes";
    Shared Both leader_like_service_is_no_source "§1 is itself a leader Service" "Go failure 6";
    Shared Both source_that_looks_like_a_leader_service_is_told "§1 told once that it is ignored and why";
    Shared Both copy_of_a_leader_service_is_told "§1 Ours: what is deleted is told";
}

fn foreign(name: &str) -> Svc {
    Svc::new(name)
        .label("team", "other")
        .annotation("example.com/note", "hands off")
        .spec("sessionAffinity", json!("ClientIP"))
}

async fn name_of_ones_own(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    t.service(Svc::opted_in("web").asks("leader-service-name", "chief"))
        .await?;
    t.leads("chief", &pods[0]).await?;
    let service = t.exists(Service, "chief").await?;
    ensure!(label(&service, "zen-lead.io/source-service") == Some("web"));
    ensure!(t.history(Service, "web-leader").is_empty());
    Ok(())
}

async fn name_may_begin_with_a_digit_if_the_server_allows(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    let allows = t.service(Svc::new("1probe")).await.is_ok();
    t.service(Svc::opted_in("web").asks("leader-service-name", "1chief"))
        .await?;
    if allows {
        t.leads("1chief", &pods[0]).await?;
    } else {
        t.event("web", "WriteRefused", &["1chief"]).await?;
    }
    t.say(format!("the server allows a leading digit: {allows}"));
    Ok(())
}

/// From the first event of the new slice on, one of both names was always published.
async fn renamed(t: &Test, from: &str, to: &str) -> Result<()> {
    let before = t.history(Slice, from).last().map(|seen| seen.at);
    let before = before.unwrap_or_else(std::time::Instant::now);
    t.ask("web", "leader-service-name", Some(to)).await?;
    t.withdrawn(from).await?;
    t.never_empty(&[from, to], before)?;
    let gone = t.history(Service, from);
    let gone = gone
        .iter()
        .rev()
        .find(|seen| seen.change == Change::Deleted);
    let came = t.history(Slice, to);
    let came = came.iter().rev().find(|seen| seen.change == Change::Added);
    ensure!(
        matches!((came, gone), (Some(came), Some(gone)) if came.version() <= gone.version()),
        "{from} went before {to} was there"
    );
    Ok(())
}

async fn rename_is_make_before_break(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    renamed(&t, "web-leader", "chief").await?;
    // The same leader, although another pod is older.
    t.leads("chief", &pods[1]).await?;
    let ever = t.history(Slice, "chief");
    ensure!(
        ever.iter().all(|seen| publishes(&seen.object, &pods[1])),
        "not the same leader"
    );
    t.ready(&pods[1], false).await?;
    t.leads("chief", &pods[0]).await.map(drop)
}

async fn rename_there_and_back(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    renamed(&t, "web-leader", "chief").await?;
    renamed(&t, "chief", "head").await?;
    renamed(&t, "head", "chief").await?;
    t.ask("web", "leader-service-name", None).await?;
    t.withdrawn("chief").await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn name_invalid_at_first(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    for bad in ["Chief", "a.b", "-a", "a_b"] {
        t.service(Svc::opted_in("web").asks("leader-service-name", bad))
            .await?;
        t.event("web", "InvalidLeaderServiceName", &[bad]).await?;
        t.delete(Service, "web").await?;
    }
    let long = "x".repeat(64);
    t.service(Svc::opted_in("web").asks("leader-service-name", &long))
        .await?;
    t.event("web", "InvalidLeaderServiceName", &["63"]).await?;
    t.canary().await?;
    let made = t.obs.look(|log| {
        let ours =
            |service: &&Arc<Value>| label(service, "zen-lead.io/source-service") == Some("web");
        log.all(Service).filter(ours).count()
    });
    ensure!(made == 0, "{made} leader Services in spite of the name");
    t.ask("web", "leader-service-name", Some("chief")).await?;
    t.leads("chief", &pods[0]).await.map(drop)
}

async fn name_invalid_later_changes_nothing(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let service = t.exists(Service, "web-leader").await?;
    t.ask("web", "leader-service-name", Some("Chief!")).await?;
    t.event("web", "InvalidLeaderServiceName", &["Chief!"])
        .await?;
    t.canary().await?;
    t.untouched(Service, &service)?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn name_is_the_sources_own(t: Arc<Test>) -> Result<()> {
    t.pods("web", 1).await?;
    let source = t
        .service(Svc::opted_in("web").asks("leader-service-name", "web"))
        .await?;
    t.event("web", "InvalidLeaderServiceName", &["own name"])
        .await?;
    t.canary().await?;
    t.untouched(Service, &source)
}

async fn name_default_too_long(t: Arc<Test>) -> Result<()> {
    let name = "x".repeat(60);
    let pods = t.pods(&name[..20], 1).await?;
    let source = Svc::opted_in(&name).spec("selector", json!({"app": &name[..20]}));
    t.service(source).await?;
    let words = ["zen-lead.io/leader-service-name"];
    t.event(&name, "InvalidLeaderServiceName", &words).await?;
    t.ask(&name, "leader-service-name", Some("short")).await?;
    t.leads("short", &pods[0]).await.map(drop)
}

async fn name_taken_at_first_then_free(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    let stranger = t.service(foreign("web-leader")).await?;
    t.service(Svc::opted_in("web")).await?;
    t.event("web", "LeaderServiceConflict", &["web-leader"])
        .await?;
    t.canary().await?;
    t.untouched(Service, &stranger)?;
    ensure!(
        t.history(Slice, "web-leader").is_empty(),
        "a slice beside a stranger's Service"
    );
    // The source is not touched: the free name is enough.
    t.delete(Service, "web-leader").await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn name_taken_later_changes_nothing(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 2).await?;
    let stranger = t.service(foreign("chief")).await?;
    let service = t.exists(Service, "web-leader").await?;
    t.ask("web", "leader-service-name", Some("chief")).await?;
    t.event("web", "LeaderServiceConflict", &["chief"]).await?;
    t.canary().await?;
    t.untouched(Service, &service)?;
    t.untouched(Service, &stranger)?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.delete(Service, "chief").await?;
    t.leads("chief", &pods[1]).await?;
    t.withdrawn("web-leader").await
}

/// Every way by which the Go program deletes or takes over a stranger's Service.
async fn foreign_service_survives_everything(t: Arc<Test>) -> Result<()> {
    t.pods("web", 1).await?;
    // Beside a Service that is not opted in at all.
    let quiet = t.service(foreign("calm-leader")).await?;
    t.service(Svc::new("calm")).await?;
    t.merge(
        Service,
        "calm",
        json!({"metadata": {"labels": {"touched": "yes"}}}),
    )
    .await?;
    // Beside one that opts in, renames, opts out, and is deleted.
    let stranger = t.service(foreign("web-leader")).await?;
    t.service(Svc::opted_in("web")).await?;
    t.event("web", "LeaderServiceConflict", &["web-leader"])
        .await?;
    t.ask("web", "enabled", None).await?;
    t.canary().await?;
    t.untouched(Service, &stranger)?;
    t.ask("web", "enabled", Some("true")).await?;
    t.canary().await?;
    t.delete(Service, "web").await?;
    t.delete(Service, "calm").await?;
    t.canary().await?;
    // One that even bears our labels, but has a selector.
    let alike = foreign("next-leader")
        .label("app.kubernetes.io/managed-by", "zen-lead")
        .label("zen-lead.io/source-service", "next");
    let alike = t.service(alike).await?;
    t.service(Svc::opted_in("next")).await?;
    t.event("next", "LeaderServiceConflict", &["next-leader"])
        .await?;
    t.canary().await?;
    t.untouched(Service, &alike)?;
    t.untouched(Service, &stranger)?;
    t.untouched(Service, &quiet)
}

async fn foreign_slice_holds_the_name(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 2).await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-leader", "labels": {
            "kubernetes.io/service-name": "elsewhere",
            "endpointslice.kubernetes.io/managed-by": "stranger",
        }},
        "addressType": "IPv4", "ports": [],
        "endpoints": [{"addresses": ["192.0.2.7"]}],
    });
    let stranger = t.create(Slice, &slice).await?;
    t.service(Svc::opted_in("web")).await?;
    let find = |pod: usize| {
        let pod = &pods[pod];
        t.obs.wait(
            "a slice under another name",
            crate::harness::SOON,
            move |log| {
                let mut ours = log
                    .all(Slice)
                    .filter(|slice| uid_of(slice) != uid_of(&stranger));
                ours.find(|slice| publishes(slice, pod)).cloned()
            },
        )
    };
    let ours = find.clone()(0).await?;
    let name = crate::harness::objects::name_of(&ours).to_owned();
    ensure!(name.starts_with("web-leader-"), "it is called {name}");
    ensure!(label(&ours, "kubernetes.io/service-name") == Some("web-leader"));
    t.ready(&pods[0], false).await?;
    t.leads(&name, &pods[1]).await?;
    let before = t.history(Slice, "web-leader");
    ensure!(before.len() == 1, "the stranger's slice was written");
    t.ask("web", "enabled", None).await?;
    t.gone(Service, "web-leader").await?;
    t.gone(Slice, &name).await?;
    t.untouched(Slice, &before[0].object)
}

async fn name_contested_by_two_sources(t: Arc<Test>) -> Result<()> {
    let web = t.pods("web", 1).await?;
    let shop = t.pods("shop", 1).await?;
    t.service(Svc::opted_in("web").asks("leader-service-name", "chief"))
        .await?;
    t.leads("chief", &web[0]).await?;
    let held = t.identified("chief", &web[0]).await?;
    t.service(Svc::opted_in("shop").asks("leader-service-name", "chief"))
        .await?;
    t.event("shop", "LeaderServiceConflict", &["chief"]).await?;
    t.canary().await?;
    t.untouched(Service, &held)?;
    // The first one leaves, and the other takes over.
    t.delete(Service, "web").await?;
    t.leads("chief", &shop[0]).await?;
    let service = t.identified("chief", &shop[0]).await?;
    ensure!(label(&service, "zen-lead.io/source-service") == Some("shop"));
    Ok(())
}

async fn leader_like_service_is_no_source(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    // What the Go program leaves: a leader Service that asks to be served itself.
    t.disturbs();
    let patch = json!({"metadata": {"annotations": {"zen-lead.io/enabled": "true"}}});
    t.merge(Service, "web-leader", patch).await?;
    t.canary().await?;
    ensure!(
        t.history(Service, "web-leader-leader").is_empty(),
        "a leader of a leader"
    );
    for reason in ["InvalidService", "InvalidAnnotation", "NoPodsFound"] {
        ensure!(
            t.event_objects("web-leader", reason) == 0,
            "Event {reason} on a leader Service"
        );
    }
    Ok(())
}

async fn source_that_looks_like_a_leader_service_is_told(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 1).await?;
    let source = Svc::opted_in("web").label("zen-lead.io/source-service", "other");
    t.service(source).await?;
    let words = ["is ignored", "zen-lead.io/source-service=other"];
    let told = t.event("web", "InvalidService", &words).await?;
    ensure!(text(&told, "/type") == "Warning");
    t.merge(
        Service,
        "web",
        json!({"metadata": {"annotations": {"note": "x"}}}),
    )
    .await?;
    t.canary().await?;
    ensure!(t.event_objects("web", "InvalidService") == 1, "once");
    ensure!(t.history(Service, "web-leader").is_empty());
    let patch = json!({"metadata": {"labels": {"zen-lead.io/source-service": null}}});
    t.merge(Service, "web", patch).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn copy_of_a_leader_service_is_told(t: Arc<Test>) -> Result<()> {
    t.served("web", 1).await?;
    t.disturbs();
    let leader = t.exists(Service, "web-leader").await?;
    let mut copy = Svc::new("mine");
    for part in ["labels", "annotations", "ownerReferences"] {
        copy.0["metadata"][part] = leader["metadata"][part].clone();
    }
    copy.0["spec"] = json!({"ports": leader["spec"]["ports"]});
    t.service(copy).await?;
    let words = ["Service mine is deleted", "ownerReferences"];
    let told = t.event("web", "LeaderServiceConflict", &words).await?;
    ensure!(text(&told, "/type") == "Warning");
    t.gone(Service, "mine").await?;
    // A leftover of our own is no news.
    let patch = json!({"metadata": {"annotations": {"zen-lead.io/leader-service-name": "chief"}}});
    t.merge(Service, "web", patch).await?;
    t.gone(Service, "web-leader").await?;
    t.canary().await?;
    ensure!(t.event_objects("web", "LeaderServiceConflict") == 1);
    Ok(())
}

async fn address_is_kept_for_a_source_that_comes_back(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 1).await?;
    let before = t.exists(Service, "web-leader").await?;
    for (what, is_replaced) in [("opted out and in", false), ("replaced", true)] {
        if is_replaced {
            t.delete(Service, "web").await?;
        } else {
            t.ask("web", "enabled", None).await?;
        }
        t.withdrawn("web-leader").await?;
        if is_replaced {
            t.service(Svc::opted_in("web")).await?;
        } else {
            t.ask("web", "enabled", Some("true")).await?;
        }
        let now = t
            .until(Service, "web-leader", "made again", |now| {
                now["metadata"]["deletionTimestamp"].is_null() && uid_of(now) != uid_of(&before)
            })
            .await?;
        ensure!(
            now["spec"]["clusterIPs"] == before["spec"]["clusterIPs"],
            "{what}: {} instead of {}",
            now["spec"]["clusterIPs"],
            before["spec"]["clusterIPs"]
        );
        t.leads("web-leader", &pods[0]).await?;
    }
    Ok(())
}
