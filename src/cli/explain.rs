//! `zen-lead explain`: every pod of a source, why it may lead or may not, and which would follow.
//! Pure.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::{FollowersReport, Judged, ServiceReport};
use super::status::{age, span};
use super::table;
use crate::logic::elect::{Candidate, Obstacle};
use crate::logic::follow::{self, Named};
use crate::logic::model::Pod;
use crate::logic::settings::Strategy;
use crate::logic::time::Now;
use crate::logic::well_known::{ROLE, SOURCE_SERVICE};

/// The text for people.
pub(super) fn text(judged: &Judged, now: Now) -> String {
    let report = &judged.report;
    let mut text = format!("Service {}: {}\n", judged.snapshot.key, headline(judged));
    if judged.is_managed {
        let _ = writeln!(text, "Leader: {}", leader(report, now));
        if let Some(followers) = &report.followers {
            let _ = writeln!(text, "Followers: {}", self::followers(followers));
        }
        let _ = writeln!(text, "Rules: {}", rules(judged));
        if let Some(claim) = claim(judged, now) {
            let _ = writeln!(text, "Named: {claim}");
        }
    }
    if !judged.candidates.is_empty() {
        text += "\n";
        text += &pods(judged, now);
    }
    if judged.is_managed && judged.snapshot.source.is_some() {
        let _ = writeln!(text, "\n{}", prospect(judged));
    }
    for note in report.pending.iter().chain(&report.problems) {
        let _ = writeln!(text, "! {note}");
    }
    text
}

/// The same as an object; see `docs/CLI.md`.
pub(super) fn json(judged: &Judged, now: Now) -> Value {
    let mut object = json!({ "kind": "Explanation", "version": 1 });
    object["status"] = serde_json::to_value(&judged.report).unwrap_or_default();
    let candidate = |one: &Candidate| {
        json!({
            "pod": one.pod.name,
            "uid": one.pod.uid,
            "leads": leads(&judged.report, &one.pod),
            "eligible": one.obstacle.is_none(),
            "obstacle": one.obstacle.map(word),
            "lastResort": one.is_last_resort,
            "why": why(judged, one, now),
        })
    };
    object["named"] = claim(judged, now).into();
    object["candidates"] = judged.candidates.iter().map(candidate).collect();
    object
}

fn headline(judged: &Judged) -> String {
    let report = &judged.report;
    let Some(source) = &judged.snapshot.source else {
        let gone = "gone; what zen-lead made is still there";
        let never = "there is no such Service";
        return if judged.is_managed { gone } else { never }.into();
    };
    if let Some(of) = source.metadata.labels.get(SOURCE_SERVICE) {
        let role = source.metadata.labels.get(ROLE).unwrap_or("leader");
        return format!("the {role} Service of {of}, and no source itself");
    }
    if !judged.is_managed {
        return "not opted in (zen-lead.io/enabled is not \"true\")".into();
    }
    let name = report.leader_service.as_deref();
    format!(
        "{} by {}",
        report.state,
        name.unwrap_or("no leader Service")
    )
}

fn leader(report: &ServiceReport, now: Now) -> String {
    let Some(leader) = &report.leader else {
        return "none".into();
    };
    let mut text = leader.pod.to_string();
    if let Some(address) = &leader.address {
        let _ = write!(text, " at {address}");
    }
    if let Some(node) = &leader.node {
        let _ = write!(text, " on {node}");
    }
    if let Some(since) = &leader.since {
        let _ = write!(text, ", since {since} ({})", age(since, now.wall));
    }
    text
}

fn followers(followers: &FollowersReport) -> String {
    let pods = match &*followers.pods {
        [] => "none".into(),
        pods => pods.join(", "),
    };
    format!("{pods} by {}", followers.service)
}

/// What the application says of its leader, if it decides, and by which line of the rules a holder's
/// identity is a pod.
fn claim(judged: &Judged, now: Now) -> Option<String> {
    let follow = judged.settings.follow.as_ref()?;
    let claim = follow::claim(follow, &judged.snapshot, now.moment);
    let line = match claim.named {
        Named::Pod(_, Some(line)) => {
            format!(", by rule {} ({})", line.number(), line.as_str())
        }
        _ => String::new(),
    };
    Some(format!("{claim}{line}"))
}

fn rules(judged: &Judged) -> String {
    let settings = &judged.settings;
    let sticky = if settings.sticky {
        "sticky"
    } else {
        "not sticky"
    };
    let mut rules = match &settings.follow {
        Some(follow) => vec![format!("follows {follow}")],
        None => vec![settings.strategy.as_str().to_owned(), sticky.into()],
    };
    if !settings.min_ready.is_zero() {
        rules.push(format!("Ready for {}", span(settings.min_ready)));
    }
    if !settings.failover_delay().is_zero() {
        let delay = span(settings.failover_delay());
        rules.push(format!("a leader that is not Ready is kept for {delay}"));
    }
    if let Some(pod) = &settings.preferred {
        rules.push(format!("{pod} was asked for"));
    }
    if settings.paused {
        rules.push("paused".into());
    }
    rules.join(", ")
}

fn pods(judged: &Judged, now: Now) -> String {
    let mut place = 0;
    let row = |one: &Candidate| {
        let leads = leads(&judged.report, &one.pod);
        let order = if one.obstacle.is_none() && !leads {
            place += 1;
            place.to_string()
        } else {
            String::new()
        };
        let standing = match (leads, one.obstacle) {
            (true, _) => "leads",
            (false, None) => "yes",
            (false, Some(_)) => "no",
        };
        vec![
            order,
            one.pod.name.to_string(),
            standing.to_owned(),
            why(judged, one, now),
        ]
    };
    let rows: Vec<Vec<String>> = judged.candidates.iter().map(row).collect();
    table::table(&["ORDER", "POD", "ELIGIBLE", "WHY"], &rows)
}

fn leads(report: &ServiceReport, pod: &Pod) -> bool {
    let leader = report.leader.as_ref();
    leader.is_some_and(|leader| leader.uid == pod.uid)
}

/// Why a pod may lead or may not, and by what it is ranked.
fn why(judged: &Judged, one: &Candidate, now: Now) -> String {
    let pod = &one.pod;
    let since = span(now.moment.since(pod.ready_since));
    let mut words = match one.obstacle {
        None => vec![format!("Ready for {since}"), rank(judged, pod, now)],
        Some(Obstacle::OfJob) => vec!["controlled by a Job, which serves no client".into()],
        Some(Obstacle::NotRunning) => vec!["not running".into()],
        Some(Obstacle::Terminating) if pod.ready => vec!["terminating, and still Ready".into()],
        Some(Obstacle::Terminating) => vec!["terminating".into()],
        Some(Obstacle::NotReady) => vec![format!("not Ready for {since}")],
        Some(Obstacle::NoAddress) => {
            vec!["no address of the Service's family that may be published".into()]
        }
        Some(Obstacle::NoPort) => vec!["has none of the Service's named ports".into()],
        Some(Obstacle::NodeDown) => vec!["its node has fallen silent".into()],
        Some(Obstacle::NotNamed) => vec!["not named by the application".into()],
        Some(Obstacle::Unripe(at)) => {
            // Rounded up: "0s more" would be wrong.
            let left = span(at.since(now.moment) + Duration::from_millis(999));
            vec![format!("Ready for {since}, and must be for {left} more")]
        }
    };
    if one.is_last_resort {
        words.push(format!(
            "only if no other can: {}",
            reservation(judged, pod, now)
        ));
    }
    words.join(", ")
}

/// Why a pod is a last resort.
fn reservation(judged: &Judged, pod: &Pod, now: Now) -> String {
    let node = pod.node.as_ref();
    if pod.disrupted {
        return "it is about to be evicted".into();
    }
    if judged.nodes.leaves(node) {
        let node = node.map_or("", |node| &**node);
        return format!("its node {node} is cordoned, or about to be deleted");
    }
    let mut shunned = judged.shunned.iter();
    let until = shunned
        .find(|(uid, _)| *uid == pod.uid)
        .map(|(_, until)| *until);
    let left = until.unwrap_or_default().since(now.moment);
    // Rounded up: "0s more" would be wrong.
    let left = span(left + Duration::from_millis(999));
    format!("it was left for a disruption, and is not returned to for {left} more unless asked for")
}

fn rank(judged: &Judged, pod: &Pod, now: Now) -> String {
    match judged.settings.strategy {
        Strategy::Oldest | Strategy::Newest => {
            format!("created {} ago", age(&pod.created.to_string(), now.wall))
        }
        Strategy::Random => "in an order of its own".into(),
        Strategy::NodeSpread => format!("on {}", pod.node.as_deref().unwrap_or("no node")),
        Strategy::Priority => format!("priority {}", pod.priority.as_deref().unwrap_or("0")),
    }
}

fn word(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::OfJob => "ofJob",
        Obstacle::NotRunning => "notRunning",
        Obstacle::Terminating => "terminating",
        Obstacle::NotReady => "notReady",
        Obstacle::NoAddress => "noIP",
        Obstacle::NoPort => "noPort",
        Obstacle::NodeDown => "nodeDown",
        Obstacle::NotNamed => "notNamed",
        Obstacle::Unripe(_) => "minReadyDuration",
    }
}

fn prospect(judged: &Judged) -> String {
    let report = &judged.report;
    let next = report.next.as_deref();
    match (&report.leader, next) {
        (Some(leader), Some(next)) => {
            format!("If {} died now, {next} would lead.", leader.pod)
        }
        (Some(leader), None) if report.paused => {
            format!(
                "If {} died now, there would be no leader until the pause ends.",
                leader.pod
            )
        }
        (Some(leader), None) if report.follow.is_some() => {
            format!(
                "If {} died now, there would be no leader until the application names another pod.",
                leader.pod
            )
        }
        (Some(leader), None) => {
            format!("If {} died now, no pod could lead.", leader.pod)
        }
        (None, Some(next)) => format!("{next} is to lead now."),
        (None, None) if report.paused => "There will be no leader until the pause ends.".into(),
        (None, None) if report.follow.is_some() => {
            "There will be no leader until the application names an eligible pod.".into()
        }
        (None, None) => "No pod can lead now.".into(),
    }
}
