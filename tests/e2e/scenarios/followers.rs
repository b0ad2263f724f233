//! §2 Followers Service: every eligible pod but the leader.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::harness::SOON;
use crate::harness::api::Kind::{Service, Slice};
use crate::harness::objects::{Made, Pod, Svc, annotation, endpoints, label, text, uid_of};
use crate::harness::observe::Change;
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both followers_are_all_but_the_leader "§1 followers-service-name" "§2 Followers Service: built by the rules of the leader Service";
    Shared Both followers_change_places_after_the_leader "§2 Followers Service: the leader's slice is written first";
    Shared Both followers_are_healed "§2 Followers Service: healing and foreign objects";
    Shared Both followers_are_renamed_make_before_break "§2 Followers Service: renaming";
    Shared Both followers_and_leader_do_not_swap_names "§2 equal or swapped names" "§1 InvalidLeaderServiceName";
    Shared Both followers_name_taken_stops_no_leader "§1 LeaderServiceConflict for the followers";
    Shared Both followers_leave_with_the_annotation_and_the_source "§2 Leaving";
    Shared Both followers_in_both_families "§2 Followers Service: one slice per family";
    Shared Both followers_ports_that_differ "§2 Followers Service: ports that all resolve alike" "§4 PortResolutionFailed";
    Shared Both followers_of_a_headless_leader "§2 Followers Service: Headless";
    Shared Both followers_go_on_under_a_pause "§1 paused: followers follow";
    Own Both followers_survive_a_restart "§2 Followers Service: a restart writes nothing";
}

fn asking() -> Svc {
    Svc::opted_in("web").asks("followers-service-name", "web-ro")
}

/// The uids of the pods that a slice shows, in its order.
fn shown(slice: &Value) -> Vec<&str> {
    let all = endpoints(slice).iter();
    all.map(|endpoint| text(endpoint, "/targetRef/uid"))
        .collect()
}

fn shows(slice: &Value, pods: &[&Made]) -> bool {
    let uids: Vec<&str> = pods.iter().map(|pod| &*pod.uid).collect();
    shown(slice) == uids
}

/// Waits until the slice shows these pods in this order and no other.
pub(super) async fn follow(t: &Test, slice: &str, pods: &[&Made]) -> Result<Arc<Value>> {
    let names: Vec<&str> = pods.iter().map(|pod| &*pod.name).collect();
    let what = format!("slice {slice} shows {names:?}");
    t.until(Slice, slice, &what, |now| shows(now, pods)).await
}

/// Three pods, the first of which leads.
async fn served(t: &Test) -> Result<Vec<Made>> {
    let pods = t.served_as(asking(), "web", 3).await?;
    follow(t, "web-ro", &[&pods[1], &pods[2]]).await?;
    Ok(pods)
}

async fn followers_are_all_but_the_leader(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    let service = t.exists(Service, "web-ro").await?;
    let source = t.exists(Service, "web").await?;
    ensure!(label(&service, "zen-lead.io/role") == Some("followers"));
    ensure!(label(&service, "zen-lead.io/source-service") == Some("web"));
    ensure!(text(&service, "/metadata/ownerReferences/0/uid") == uid_of(&source));
    ensure!(text(&service, "/spec/type") == "ClusterIP");
    ensure!(service["spec"]["selector"].is_null());
    for key in ["leader-pod-uid", "leader-pod-name", "current-leader"] {
        ensure!(
            annotation(&service, &format!("zen-lead.io/{key}")).is_none(),
            "{key}"
        );
    }
    let slice = t.exists(Slice, "web-ro").await?;
    ensure!(label(&slice, "zen-lead.io/role") == Some("followers"));
    ensure!(text(&slice, "/metadata/ownerReferences/0/uid") == uid_of(&service));
    ensure!(label(&slice, "kubernetes.io/service-name") == Some("web-ro"));
    let leader = t.exists(Slice, "web-leader").await?;
    ensure!(label(&leader, "zen-lead.io/role").is_none());
    ensure!(slice["ports"] == leader["ports"]);
    // Pods come and go.
    t.ready(&pods[1], false).await?;
    follow(&t, "web-ro", &[&pods[2]]).await?;
    t.ready(&pods[1], true).await?;
    let more = t.pod(Pod::new("web-00", "web"), true).await?;
    follow(&t, "web-ro", &[&more, &pods[1], &pods[2]]).await?;
    t.delete_pod(&pods[2], 30).await?;
    follow(&t, "web-ro", &[&more, &pods[1]]).await?;
    for pod in [&more, &pods[1]] {
        t.delete_pod(pod, 0).await?;
    }
    t.empties("web-ro").await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn followers_change_places_after_the_leader(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    // A failover, and a switchover to a pod that is Ready all the time.
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    follow(&t, "web-ro", &[&pods[2]]).await?;
    t.ready(&pods[0], true).await?;
    follow(&t, "web-ro", &[&pods[0], &pods[2]]).await?;
    t.ask("web", "preferred-leader", Some("web-2")).await?;
    t.leads("web-leader", &pods[2]).await?;
    follow(&t, "web-ro", &[&pods[0], &pods[1]]).await?;
    // By the server's own order: no write of the followers' slice ever shows the pod that leads then, and
    // a promoted pod was there until the leader's slice showed it.
    let slices: Vec<_> = t.obs.look(|log| {
        let all = log.ordered().into_iter();
        let slices = all.filter(|seen| seen.kind == Slice);
        slices.map(|seen| Arc::clone(&seen.object)).collect()
    });
    let (mut leader, mut promotions) = (None, 0);
    let mut followers: Vec<&str> = Vec::new();
    for slice in &slices {
        let uids = shown(slice);
        if text(slice, "/metadata/name") == "web-leader" {
            let next = uids.first().copied();
            if leader.is_some() && next != leader {
                promotions += 1;
                ensure!(
                    next.is_some_and(|next| followers.contains(&next)),
                    "it left the followers before it led: {followers:?}"
                );
            }
            leader = next;
        } else if text(slice, "/metadata/name") == "web-ro" {
            ensure!(
                !leader.is_some_and(|leader| uids.contains(&leader)),
                "{uids:?}"
            );
            followers = uids;
        }
    }
    ensure!(promotions == 2, "{promotions} promotions");
    Ok(())
}

async fn followers_are_healed(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    let (one, two) = (&pods[1], &pods[2]);
    t.disturbs();
    let before = t.exists(Service, "web-ro").await?;
    t.merge(Slice, "web-ro", json!({"endpoints": []})).await?;
    follow(&t, "web-ro", &[one, two]).await?;
    t.merge(
        Slice,
        "web-ro",
        json!({"metadata": {"labels": {"zen-lead.io/role": null}}}),
    )
    .await?;
    t.until(Slice, "web-ro", "its role is back", |now| {
        label(now, "zen-lead.io/role") == Some("followers")
    })
    .await?;
    t.merge(
        Service,
        "web-ro",
        json!({"metadata": {"labels": null}, "spec": {"type": "NodePort"}}),
    )
    .await?;
    t.until(Service, "web-ro", "it is healed", |now| {
        label(now, "zen-lead.io/role") == Some("followers")
            && label(now, "zen-lead.io/source-service") == Some("web")
            && text(now, "/spec/type") == "ClusterIP"
    })
    .await?;
    // A label that is moved to the leader Service makes no followers Service of it.
    let role = json!({"metadata": {"labels": {"zen-lead.io/role": "followers"}}});
    t.merge(Service, "web-leader", role).await?;
    t.until(Service, "web-leader", "its label is gone", |now| {
        label(now, "zen-lead.io/role").is_none()
    })
    .await?;
    t.delete(Slice, "web-ro").await?;
    t.until(Slice, "web-ro", "made again", |now| shows(now, &[one, two]))
        .await?;
    t.delete(Service, "web-ro").await?;
    let now = t
        .until(Service, "web-ro", "made again", |now| {
            uid_of(now) != uid_of(&before)
        })
        .await?;
    ensure!(now["spec"]["clusterIPs"] == before["spec"]["clusterIPs"]);
    let uid = uid_of(&now).to_owned();
    t.until(Slice, "web-ro", "of the new Service", |slice| {
        text(slice, "/metadata/ownerReferences/0/uid") == uid && shows(slice, &[one, two])
    })
    .await?;
    // The leader was not touched by any of it.
    let leader = t.history(Slice, "web-leader");
    ensure!(leader.iter().all(|seen| seen.change != Change::Deleted));
    let last = leader.last().map(|seen| Arc::clone(&seen.object));
    ensure!(last.is_some_and(|slice| publishes(&slice, &pods[0])));
    Ok(())
}

async fn followers_are_renamed_make_before_break(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    let before = t.history(Slice, "web-ro").last().map(|seen| seen.at);
    let before = before.unwrap_or_else(std::time::Instant::now);
    t.ask("web", "followers-service-name", Some("replicas"))
        .await?;
    follow(&t, "replicas", &[&pods[1], &pods[2]]).await?;
    t.withdrawn("web-ro").await?;
    t.never_empty(&["web-ro", "replicas"], before)?;
    // An invalid name changes nothing.
    let service = t.exists(Service, "replicas").await?;
    t.ask("web", "followers-service-name", Some("No!")).await?;
    t.event(
        "web",
        "InvalidLeaderServiceName",
        &["followers-service-name", "No!"],
    )
    .await?;
    t.canary().await?;
    t.untouched(Service, &service)?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn followers_and_leader_do_not_swap_names(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    let leader = t.exists(Service, "web-leader").await?;
    let followers = t.exists(Service, "web-ro").await?;
    t.ask("web", "leader-service-name", Some("web-ro")).await?;
    let words = ["web-ro is the followers Service of web"];
    t.event("web", "InvalidLeaderServiceName", &words).await?;
    t.ask("web", "followers-service-name", Some("web-leader"))
        .await?;
    let words = ["web-leader is the leader Service of web"];
    t.event("web", "InvalidLeaderServiceName", &words).await?;
    t.canary().await?;
    t.untouched(Service, &leader)?;
    t.untouched(Service, &followers)?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    follow(&t, "web-ro", &[&pods[2]]).await?;
    // The name that one gives up is free for the other one after that.
    let patch = json!({"metadata": {"annotations": {
        "zen-lead.io/leader-service-name": "web-ro", "zen-lead.io/followers-service-name": "replicas",
    }}});
    t.merge(Service, "web", patch).await?;
    follow(&t, "replicas", &[&pods[2]]).await?;
    t.leads("web-ro", &pods[1]).await?;
    t.withdrawn("web-leader").await
}

async fn followers_name_taken_stops_no_leader(t: Arc<Test>) -> Result<()> {
    let stranger = Svc::new("web-ro").annotation("example.com/note", "hands off");
    let stranger = t.service(stranger).await?;
    let pods = t.served_as(asking(), "web", 2).await?;
    t.event("web", "LeaderServiceConflict", &["Service web-ro exists"])
        .await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.canary().await?;
    t.untouched(Service, &stranger)?;
    ensure!(t.history(Slice, "web-ro").is_empty());
    t.ready(&pods[0], true).await?;
    t.delete(Service, "web-ro").await?;
    follow(&t, "web-ro", &[&pods[0]]).await.map(drop)
}

async fn followers_leave_with_the_annotation_and_the_source(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    let leader = t.identified("web-leader", &pods[0]).await?;
    t.ask("web", "followers-service-name", None).await?;
    t.withdrawn("web-ro").await?;
    t.traffic_went_first("web-ro")?;
    t.canary().await?;
    t.untouched(Service, &leader)?;
    t.ask("web", "followers-service-name", Some("web-ro"))
        .await?;
    follow(&t, "web-ro", &[&pods[1], &pods[2]]).await?;
    t.ask("web", "enabled", None).await?;
    t.withdrawn("web-ro").await?;
    t.withdrawn("web-leader").await?;
    t.ask("web", "enabled", Some("true")).await?;
    follow(&t, "web-ro", &[&pods[1], &pods[2]]).await?;
    t.delete(Service, "web").await?;
    t.withdrawn("web-ro").await?;
    t.withdrawn("web-leader").await?;
    t.traffic_went_first("web-ro")
}

async fn followers_in_both_families(t: Arc<Test>) -> Result<()> {
    let mut pods = Vec::new();
    for number in 0..3 {
        let name = format!("web-{number}");
        let four = t.suite.address();
        let six = format!(
            "2001:db8::f{number}:{}",
            four.rsplit('.').next().unwrap_or("0")
        );
        let ips = if number == 2 {
            vec![&*four]
        } else {
            vec![&*four, &*six]
        };
        pods.push(t.pod(Pod::new(&name, "web").ips(&ips), false).await?);
    }
    let dual = |families: Value, policy: &str| json!({"spec": {"ipFamilyPolicy": policy, "ipFamilies": families}});
    let source = asking()
        .spec("ipFamilyPolicy", json!("RequireDualStack"))
        .spec("ipFamilies", json!(["IPv4", "IPv6"]));
    t.service(source).await?;
    follow(&t, "web-ro", &[&pods[1], &pods[2]]).await?;
    let second = follow(&t, "web-ro-ipv6", &[&pods[1]]).await?;
    ensure!(text(&second, "/addressType") == "IPv6");
    ensure!(text(&second, "/endpoints/0/addresses/0") == pods[1].ips[1]);
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    follow(&t, "web-ro", &[&pods[2]]).await?;
    t.empties("web-ro-ipv6").await?;
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"],
        "clusterIPs": [t.exists(Service, "web").await?["spec"]["clusterIPs"][0]]}});
    t.merge(Service, "web", single).await?;
    t.gone(Slice, "web-ro-ipv6").await?;
    t.gone(Slice, "web-leader-ipv6").await?;
    t.until(Service, "web-ro", "of one family", |now| {
        now["spec"]["ipFamilies"] == json!(["IPv4"])
    })
    .await?;
    t.merge(
        Service,
        "web",
        dual(json!(["IPv4", "IPv6"]), "PreferDualStack"),
    )
    .await?;
    t.exists(Slice, "web-ro-ipv6").await.map(drop)
}

async fn followers_ports_that_differ(t: Arc<Test>) -> Result<()> {
    let serving = |port: u16| json!([{"name": "http", "containerPort": port}]);
    let mut pods = Vec::new();
    for (number, port) in [(0, 8080), (1, 8080), (2, 9090), (3, 8080)] {
        let pod = Pod::new(&format!("web-{number}"), "web").ports(serving(port));
        pods.push(t.pod(pod, true).await?);
    }
    let source = asking().spec(
        "ports",
        json!([{"name": "main", "port": 80, "targetPort": "http"}]),
    );
    t.service(source).await?;
    t.leads("web-leader", &pods[0]).await?;
    let slice = follow(&t, "web-ro", &[&pods[1], &pods[3]]).await?;
    ensure!(slice["ports"][0]["port"] == 8080);
    let words = ["web-2", "web-ro", "9090", "8080"];
    t.event("web", "PortResolutionFailed", &words).await?;
    // It may lead all the same, and then it is not among them.
    t.ask("web", "preferred-leader", Some("web-2")).await?;
    t.leads("web-leader", &pods[2]).await?;
    follow(&t, "web-ro", &[&pods[0], &pods[1], &pods[3]]).await?;
    // A port that one of them does not have is left out.
    let more = json!({"spec": {"ports": [
        {"name": "main", "port": 80, "targetPort": "http"},
        {"name": "extra", "port": 81, "targetPort": "extra"},
        {"name": "fixed", "port": 82, "targetPort": 82},
    ]}});
    t.merge(Service, "web", more).await?;
    let names = |slice: &Value| -> Vec<String> {
        let ports = slice["ports"].as_array().cloned().unwrap_or_default();
        ports
            .iter()
            .map(|port| text(port, "/name").to_owned())
            .collect()
    };
    t.until(Slice, "web-ro", "without the unresolved port", |now| {
        names(now) == ["main", "fixed"]
    })
    .await
    .map(drop)
}

async fn followers_of_a_headless_leader(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    let before = t.exists(Service, "web-ro").await?;
    for (kind, is_headless) in [(Some("Headless"), true), (None, false)] {
        t.ask("web", "leader-service-type", kind).await?;
        t.until(Service, "web-ro", "of the other kind", |now| {
            (text(now, "/spec/clusterIP") == "None") == is_headless
                && now["metadata"]["deletionTimestamp"].is_null()
        })
        .await?;
        let slice = t
            .until(Slice, "web-ro", "of the other kind", |now| {
                label(now, "service.kubernetes.io/headless").is_some() == is_headless
            })
            .await?;
        let name = text(&slice, "/metadata/name").to_owned();
        follow(&t, &name, &[&pods[1], &pods[2]]).await?;
        t.leads("web-leader", &pods[0]).await?;
    }
    let now = t.exists(Service, "web-ro").await?;
    ensure!(now["spec"]["clusterIPs"] == before["spec"]["clusterIPs"]);
    t.traffic_went_first("web-ro")
}

async fn followers_go_on_under_a_pause(t: Arc<Test>) -> Result<()> {
    let pods = served(&t).await?;
    t.ask("web", "paused", Some("true")).await?;
    t.ready(&pods[0], false).await?;
    t.ready(&pods[1], false).await?;
    follow(&t, "web-ro", &[&pods[2]]).await?;
    t.leads("web-leader", &pods[0]).await?;
    t.ask("web", "paused", None).await?;
    t.leads("web-leader", &pods[2]).await?;
    t.empties("web-ro").await.map(drop)
}

async fn followers_survive_a_restart(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = served(&t).await?;
    controller.stop().await?;
    let kept = [
        (Service, t.exists(Service, "web-ro").await?),
        (Slice, t.exists(Slice, "web-ro").await?),
        (Service, t.exists(Service, "web-leader").await?),
        (Slice, t.exists(Slice, "web-leader").await?),
    ];
    let mut controller = t.controller(&[]).await?;
    t.canary().await?;
    for (kind, object) in &kept {
        t.untouched(*kind, object)?;
    }
    // What happens meanwhile is caught up with: in the leader's slice first.
    controller.kill().await?;
    t.delete_pod(&pods[0], 0).await?;
    t.ask("web", "followers-service-name", Some("replicas"))
        .await?;
    let _controller = t.controller(&[]).await?;
    t.leads("web-leader", &pods[1]).await?;
    follow(&t, "replicas", &[&pods[2]]).await?;
    t.withdrawn("web-ro").await?;
    t.obs
        .wait("nothing else is left", SOON, |log| {
            (log.get(Slice, "web-ro").is_none()).then_some(())
        })
        .await
}
