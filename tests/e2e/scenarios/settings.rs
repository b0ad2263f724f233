//! §1 `sticky`, `strategy`, `min-ready-duration`, `failover-min-delay`, and values that make no
//! sense.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};

use crate::harness::SHORT;
use crate::harness::api::Kind::{Pod as PodKind, Service, Slice};
use crate::harness::objects::{Made, Pod, Svc, annotation, status, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Shared Both sticky_keeps_the_leader "§1 sticky true" "§3 sticky by uid";
    Shared Both sticky_false_follows_the_first_choice "§1 sticky false" "§3 reason strategy";
    Shared Both strategy_oldest_and_newest "§1 strategy oldest newest" "Go failure 8: strategy";
    Shared Both strategy_random_is_stable_and_spreads "§1 strategy random" "§3 rendezvous hash";
    Shared Both min_ready_elects_by_its_timer "§1 min-ready-duration" "Go failure 7";
    Own Both min_ready_counts_from_the_transition "§1 durations run from lastTransitionTime";
    Shared Both min_ready_starts_again_after_a_flap "§1 min-ready-duration, flap damping";
    Shared Both delay_holds_and_then_fails_over "§1 failover-min-delay" "Go failure 8: delay";
    Shared Both delay_spares_a_short_blip "§1 failover-min-delay";
    Shared Both delay_does_not_hold_what_is_gone "§1 failover-min-delay never applies to …";
    Shared Both values_invalid_keep_the_last "§1 a value that does not parse" "§4 InvalidAnnotation";
    Shared Both keys_unknown_are_named "§1 unknown zen-lead.io/* key";
}

async fn sticky_keeps_the_leader(t: Arc<Test>) -> Result<()> {
    let pods = t.served("web", 3).await?;
    t.ready(&pods[0], false).await?;
    t.leads("web-leader", &pods[1]).await?;
    // The first choice of the strategy comes back, and changes nothing.
    t.ready(&pods[0], true).await?;
    t.canary().await?;
    let last = t.exists(Slice, "web-leader").await?;
    ensure!(publishes(&last, &pods[1]), "not sticky");
    Ok(())
}

async fn sticky_false_follows_the_first_choice(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("sticky", "false");
    let pods = t.served_as(source, "web", 2).await?;
    let from = t.ready(&pods[0], false).await?;
    // Told of as well: two changes within a round trip are told as one.
    t.identified("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    t.leads("web-leader", &pods[0]).await?;
    t.never_empty(&["web-leader"], from)?;
    t.event("web", "LeaderChanged", &["web-1 to web-0", "strategy"])
        .await
        .map(drop)
}

/// Makes a pod in a later second than another one: creation is told by the second.
async fn later(t: &Test, than: &Made, name: &str) -> Result<Made> {
    let older = t.get(PodKind, &than.name).await?;
    let older: Timestamp = text(&older, "/metadata/creationTimestamp").parse()?;
    while Timestamp::now().duration_since(older) < SignedDuration::from_millis(1_050) {
        tokio::time::sleep(SHORT).await;
    }
    t.pod(Pod::new(name, "web"), true).await
}

async fn strategy_oldest_and_newest(t: Arc<Test>) -> Result<()> {
    // Names against the order of creation, so that only the time can decide.
    let old = t.pod(Pod::new("c", "web"), true).await?;
    let middle = later(&t, &old, "b").await?;
    let young = later(&t, &middle, "a").await?;
    let source = Svc::opted_in("web")
        .asks("strategy", "oldest")
        .asks("sticky", "false");
    t.service(source).await?;
    t.leads("web-leader", &old).await?;
    t.ask("web", "strategy", Some("newest")).await?;
    t.leads("web-leader", &young).await?;
    t.ready(&young, false).await?;
    t.leads("web-leader", &middle).await?;
    t.ask("web", "strategy", None).await?;
    t.leads("web-leader", &old).await.map(drop)
}

async fn strategy_random_is_stable_and_spreads(t: Arc<Test>) -> Result<()> {
    let pods = t.pods("web", 4).await?;
    let mut leaders = std::collections::BTreeSet::new();
    for number in 0..12 {
        let name = format!("web-{number}");
        let source = Svc::opted_in(&name)
            .spec("selector", serde_json::json!({"app": "web"}))
            .asks("strategy", "random")
            .asks("sticky", "false");
        t.service(source).await?;
        let slice = t
            .until(Slice, &format!("{name}-leader"), "a pod leads", |slice| {
                pods.iter().any(|pod| publishes(slice, pod))
            })
            .await?;
        leaders.insert(text(&slice, "/endpoints/0/targetRef/name").to_owned());
    }
    // 4 of 4 would be one in three; 12 Services on one pod would be one in four million.
    ensure!(leaders.len() > 1, "12 Services, all led by {leaders:?}");
    // Another pod that comes and goes moves no other leader.
    let before = t.exists(Slice, "web-0-leader").await?;
    t.canary().await?;
    t.untouched(Slice, &before)
}

async fn min_ready_elects_by_its_timer(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("min-ready-duration", "2s");
    t.service(source).await?;
    let pod = t.pod(Pod::new("web-0", "web").not_ready(), true).await?;
    t.empties("web-leader").await?;
    let ready = t.ready(&pod, true).await?;
    let seen = t.leads("web-leader", &pod).await?;
    let took = seen.duration_since(ready);
    t.say(format!(
        "elected {took:.2?} after it turned Ready, asked for 2 s"
    ));
    // lastTransitionTime is cut to the second: that is what "Ready for" is told by.
    ensure!(took > Duration::from_millis(900), "elected after {took:?}");
    ensure!(took < Duration::from_secs(4), "elected after {took:?}");
    Ok(())
}

async fn min_ready_counts_from_the_transition(t: Arc<Test>) -> Result<()> {
    let long_ago = Timestamp::now() - SignedDuration::from_secs(3_600);
    let old = t
        .pod(Pod::new("web-1", "web").since(long_ago), true)
        .await?;
    let fresh = t.pod(Pod::new("web-0", "web"), true).await?;
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    t.pod(Pod::new("web-2", "web").since(tomorrow), true)
        .await?;
    let source = Svc::opted_in("web").asks("min-ready-duration", "30m");
    t.service(source).await?;
    // First sight: what happened before it ran is told by the conditions alone.
    let _controller = t.controller(&[]).await?;
    let start = Instant::now();
    t.leads("web-leader", &old).await?;
    ensure!(start.elapsed() < Duration::from_secs(10));
    // No other pod has been Ready for long enough.
    t.delete_pod(&old, 0).await?;
    t.empties("web-leader").await?;
    // The typo keeps the last value; the removal elects at once.
    t.ask("web", "min-ready-duration", Some("30")).await?;
    t.event("web", "InvalidAnnotation", &["min-ready-duration"])
        .await?;
    t.canary().await?;
    t.empties("web-leader").await?;
    t.ask("web", "min-ready-duration", None).await?;
    t.leads("web-leader", &fresh).await.map(drop)
}

async fn min_ready_starts_again_after_a_flap(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("min-ready-duration", "3s");
    t.service(source).await?;
    let pod = t.pod(Pod::new("web-0", "web"), true).await?;
    t.empties("web-leader").await?;
    t.ready(&pod, false).await?;
    let again = t.ready(&pod, true).await?;
    let seen = t.leads("web-leader", &pod).await?;
    let took = seen.duration_since(again);
    ensure!(
        took > Duration::from_millis(1_900),
        "elected {took:?} after the flap"
    );
    Ok(())
}

async fn delay_holds_and_then_fails_over(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("failover-min-delay", "2s");
    let pods = t.served_as(source, "web", 2).await?;
    let lost = t.ready(&pods[0], false).await?;
    let seen = t.leads("web-leader", &pods[1]).await?;
    let took = seen.duration_since(lost);
    t.say(format!(
        "failed over {took:.2?} after NotReady, asked for 2 s"
    ));
    ensure!(took > Duration::from_millis(900), "after {took:?}");
    ensure!(took < Duration::from_secs(4), "after {took:?}");
    // Held as ready, with the same endpoint, and one write when the time had come.
    let writes = t.history(Slice, "web-leader");
    ensure!(
        writes
            .iter()
            .all(|seen| seen.object["endpoints"][0]["conditions"]["ready"] != false)
    );
    t.event("web", "LeaderChanged", &["web-0 to web-1", "notReady"])
        .await
        .map(drop)
}

async fn delay_spares_a_short_blip(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("failover-min-delay", "1h");
    let pods = t.served_as(source, "web", 2).await?;
    t.ready(&pods[0], false).await?;
    t.canary().await?;
    t.ready(&pods[0], true).await?;
    t.canary().await?;
    let others = t.history(Slice, "web-leader");
    ensure!(
        others.iter().all(|seen| publishes(&seen.object, &pods[0])),
        "it did not hold"
    );
    ensure!(t.event_objects("web", "LeaderChanged") == 0);
    // A shorter delay, given while it runs, counts from the same moment.
    t.ready(&pods[0], false).await?;
    t.ask("web", "failover-min-delay", Some("500ms")).await?;
    t.leads("web-leader", &pods[1]).await.map(drop)
}

async fn delay_does_not_hold_what_is_gone(t: Arc<Test>) -> Result<()> {
    type Loss<'a> = (&'a str, &'a str);
    let losses: [Loss<'_>; 5] = [
        ("gone", ""),
        ("terminating", "terminating"),
        ("failed", "notReady"),
        ("noip", "noIP"),
        ("unlabelled", "unlabelled"),
    ];
    for (app, reason) in losses {
        let source = Svc::opted_in(app).asks("failover-min-delay", "1h");
        let pods = t.served_as(source, app, 2).await?;
        let leader = &pods[0];
        match app {
            "gone" => drop(t.delete_pod(leader, 0).await?),
            "terminating" => drop(t.delete_pod(leader, 30).await?),
            "failed" => drop(
                t.status(leader, status("Failed", &leader.ips, false, None, false))
                    .await?,
            ),
            "noip" => drop(
                t.status(leader, status("Running", &[], true, None, false))
                    .await?,
            ),
            _ => {
                let patch = serde_json::json!({"metadata": {"labels": {"app": "else"}}});
                t.merge(PodKind, &leader.name, patch).await?;
            }
        }
        t.leads(&format!("{app}-leader"), &pods[1]).await?;
        t.event(app, "LeaderChanged", &[&format!("({reason}")])
            .await?;
    }
    Ok(())
}

async fn values_invalid_keep_the_last(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web")
        .asks("sticky", "false")
        .asks("strategy", "oldest")
        .asks("failover-min-delay", "1h");
    let pods = t.served_as(source, "web", 2).await?;
    let long = "9".repeat(100);
    for (key, value, quoted) in [
        ("sticky", "no", "no"),
        ("strategy", "best", "best"),
        ("failover-min-delay", "-1s", "-1s"),
        ("failover-min-delay", "1 hour", "1 hour"),
        ("failover-min-delay", "99999999999h", "99999999999h"),
        ("min-ready-duration", long.as_str(), &long[..64]),
    ] {
        t.ask("web", key, Some(value)).await?;
        let event = t
            .event("web", "InvalidAnnotation", &[key, quoted, "expected"])
            .await?;
        let told = text(&event, "/message");
        ensure!(!told.contains(&long), "not cut: {told}");
        ensure!(told.len() <= 1_024);
    }
    // sticky=false and the delay of an hour still hold.
    t.ready(&pods[0], false).await?;
    t.canary().await?;
    let now = t.exists(Slice, "web-leader").await?;
    ensure!(
        publishes(&now, &pods[0]),
        "a typo in failover-min-delay cut it to nothing"
    );
    t.ask("web", "failover-min-delay", None).await?;
    t.leads("web-leader", &pods[1]).await?;
    t.ready(&pods[0], true).await?;
    t.leads("web-leader", &pods[0]).await.map(drop)
}

async fn keys_unknown_are_named(t: Arc<Test>) -> Result<()> {
    let source = Svc::opted_in("web").asks("min-ready-durations", "5s");
    t.served_as(source, "web", 1).await?;
    t.event(
        "web",
        "InvalidAnnotation",
        &["zen-lead.io/min-ready-durations"],
    )
    .await?;
    let leader = t.exists(Service, "web-leader").await?;
    ensure!(annotation(&leader, "zen-lead.io/min-ready-durations").is_none());
    // Said once, not at every look.
    t.merge(
        Service,
        "web",
        serde_json::json!({"metadata": {"labels": {"a": "b"}}}),
    )
    .await?;
    t.canary().await?;
    let count = t.count_events("web", "InvalidAnnotation");
    ensure!(count == 1, "{count} Events for one typo");
    Ok(())
}
