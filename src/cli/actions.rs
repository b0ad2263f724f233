//! `zen-lead switchover`, `pause` and `resume`: annotations on the source, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::time::{Instant, timeout_at};

use super::client::Cluster;
use super::cluster_view::ClusterView;
use super::grammar::Call;
use super::report::{Evaluator, Judged};
use crate::logic::duration::{self, Brief};
use crate::logic::follow::Follow;
use crate::logic::model::Key;
use crate::logic::well_known::{PAUSED, PREFERRED_LEADER};
use crate::shell::api::Scope;

/// How long `--wait` waits unless told otherwise.
const WAIT: Duration = Duration::from_secs(30);

/// Hands over to another pod.
pub(super) async fn switchover(cluster: &Cluster, call: &Call, source: &Key) -> Result<String> {
    let timeout = match call.value("timeout") {
        None => WAIT,
        Some(text) => duration::parse(text).with_context(|| format!("--timeout: got {text:?}"))?,
    };
    let scope = Scope::Namespace(Arc::clone(&source.namespace));
    let mut sight = ClusterView::of(cluster, &[scope]).await?;
    let judged = served(&sight, source)?;
    let report = &judged.report;
    refuse_to_overrule(&judged, source)?;
    let from = report.leader.as_ref().map(|leader| Arc::clone(&leader.pod));
    let to = match call.value("to") {
        Some(to) => asked(&judged, to)?,
        None => report.next.clone().with_context(|| {
            format!(
                "Service {source}: no other pod is eligible; see zen-lead explain {}",
                source.name
            )
        })?,
    };
    if report.paused {
        bail!(
            "Service {source} is paused; zen-lead resume {} first",
            source.name
        );
    }
    if from.as_ref() == Some(&to) {
        return Ok(format!("{to} leads already; nothing was changed\n"));
    }
    let began = Instant::now();
    if report.preferred_leader.as_ref() == Some(&to) {
        // A value that was handled once is not handled again: a new request has to be seen as one.
        cluster
            .annotate(source, &[(PREFERRED_LEADER, None)])
            .await?;
        let gone = |judged: &Judged| judged.report.preferred_leader.is_none();
        settled(&mut sight, source, gone).await;
    }
    cluster
        .annotate(source, &[(PREFERRED_LEADER, Some(&to))])
        .await?;
    let from = from.as_deref().unwrap_or("none");
    if !call.has("wait") {
        return Ok(format!(
            "asked for {from} -> {to}; zen-lead status shows when it has happened\n"
        ));
    }
    let leads = |judged: &Judged| {
        let leader = judged.report.leader.as_ref();
        leader.is_some_and(|leader| leader.pod == to)
    };
    let arrived = timeout_at(began + timeout, settled(&mut sight, source, leads)).await;
    if arrived.is_err() {
        let now = Evaluator::new(&sight.store, sight.now()).source(source);
        let leader = now.report.leader.map(|leader| leader.pod);
        bail!(
            "{to} does not lead after {}, but {} does; the request stands. Is a controller running? \
             zen-lead doctor tells, zen-lead explain {} says why",
            Brief(timeout),
            leader.as_deref().unwrap_or("no pod"),
            source.name
        );
    }
    Ok(format!("{from} -> {to} after {}\n", Brief(began.elapsed())))
}

/// No switchover where the application decides.
fn refuse_to_overrule(judged: &Judged, source: &Key) -> Result<()> {
    if let Some(follow) = &judged.settings.follow {
        bail!(
            "Service {source} follows {follow}: the application decides who leads, and zen-lead hands over to \
             no pod. {}",
            how_to_ask(follow)
        );
    }
    Ok(())
}

/// How an application that decides by itself is asked for another leader.
fn how_to_ask(follow: &Follow) -> String {
    match follow {
        Follow::Label { key, value } => format!(
            "Ask the application for a switchover by its own means (its operator, or its command-line tool): \
             it moves the label {key}={value}, and the traffic follows"
        ),
        Follow::Lease { name, .. } => format!(
            "Have the holder of the Lease {name} release it (by the application's own means, or by the end of its \
             pod): the traffic follows the next holder"
        ),
        Follow::Unclear => {
            "Correct the annotation zen-lead.io/follow first: its value cannot be read".into()
        }
    }
}

/// The pod that was asked for, if the Service knows it.
fn asked(judged: &Judged, to: &str) -> Result<Arc<str>> {
    let name = to.strip_prefix("pod/").unwrap_or(to);
    let pods = &judged.snapshot.pods;
    if let Some(pod) = pods.iter().find(|pod| *pod.name == *name) {
        return Ok(Arc::clone(&pod.name));
    }
    let mut names: Vec<&str> = pods.iter().map(|pod| &*pod.name).collect();
    names.sort_unstable();
    bail!(
        "--to: got {to:?}, expected a pod of Service {}: {}",
        judged.snapshot.key,
        if names.is_empty() {
            "it has none".into()
        } else {
            names.join(", ")
        }
    )
}

/// Waits until a source looks so.
async fn settled(sight: &mut ClusterView, source: &Key, looks: impl Fn(&Judged) -> bool) {
    loop {
        let judged = Evaluator::new(&sight.store, sight.now()).source(source);
        if looks(&judged) {
            return;
        }
        sight.touched().await;
    }
}

/// A source that is opted in.
fn served(sight: &ClusterView, source: &Key) -> Result<Judged> {
    let judged = Evaluator::new(&sight.store, sight.now()).source(source);
    if judged.snapshot.source.is_none() {
        bail!("there is no Service {source}");
    }
    if !judged.is_managed {
        bail!("Service {source} is not opted in; annotate it with zen-lead.io/enabled=true first");
    }
    Ok(judged)
}

/// Sets the pause, or ends it.
pub(super) async fn pause(cluster: &Cluster, source: &Key, on: bool) -> Result<String> {
    let scope = Scope::Namespace(Arc::clone(&source.namespace));
    let sight = ClusterView::of(cluster, &[scope]).await?;
    let judged = served(&sight, source)?;
    let leader = judged.report.leader.map(|leader| leader.pod);
    let leader = leader.as_deref().unwrap_or("no pod");
    cluster
        .annotate(source, &[(PAUSED, on.then_some("true"))])
        .await?;
    let name = &source.name;
    Ok(match (on, judged.report.paused) {
        (true, false) => format!(
            "paused: {leader} leads, and no other pod will; zen-lead resume {name} ends it\n"
        ),
        (true, true) => format!("paused already: {leader} leads\n"),
        (false, true) => format!("resumed: {leader} leads\n"),
        (false, false) => "not paused; nothing was changed\n".into(),
    })
}
