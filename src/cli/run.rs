//! Carries a command out: connection, output, exit code.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::client::Cluster;
use super::cluster_view::ClusterView;
use super::events::EventLog;
use super::grammar::{Call, Typed};
use super::report::{Evaluator, ServiceReport};
use super::status::{self, Columns};
use super::{actions, doctor, environment, explain, help, kubectl};
use crate::logic::model::Key;
use crate::shell::api::{self, Scope};

/// Between a change and the look at it, for `--watch`.
const SETTLE: Duration = Duration::from_millis(200);

/// Does what was typed and says how the process is to end: 0, 1 when it did not work out, 2 when
/// it cannot be understood.
#[must_use]
pub fn run(typed: Typed) -> ExitCode {
    let call = match typed {
        Typed::Call(call) => call,
        Typed::Print(text) => return print(&text),
        Typed::Wrong(why) => {
            eprintln!("zen-lead: {why}");
            return ExitCode::from(2);
        }
        Typed::Controller => return ExitCode::SUCCESS,
    };
    if call.command.name == "completion" {
        return print(&help::completion(
            call.argument.as_deref().unwrap_or_default(),
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime.context("cannot start").and_then(|runtime| {
        runtime.block_on(async {
            let cluster = Cluster::of(&call).await?;
            answer(&call, &cluster, &mut io::stdout().lock()).await
        })
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("zen-lead: {}", api::chain(&*why));
            ExitCode::FAILURE
        }
    }
}

/// Carries a command out on a cluster, and says whether all is well.
///
/// # Errors
///
/// In one line, why it cannot be carried out.
pub async fn answer(call: &Call, cluster: &Cluster, out: &mut dyn io::Write) -> Result<bool> {
    let source = || cluster.source(call)?.context("expected a Service");
    let mut is_well = true;
    let text = match call.command.name {
        "status" => tell_status(cluster, call, out).await?,
        "doctor" => {
            let diagnosis = doctor::run(cluster, call).await?;
            is_well = diagnosis.is_well;
            diagnosis.text
        }
        "explain" => tell_why(cluster, call, &source()?).await?,
        "switchover" => actions::switchover(cluster, call, &source()?).await?,
        "pause" => actions::pause(cluster, &source()?, true).await?,
        "resume" => actions::pause(cluster, &source()?, false).await?,
        command => tell_line(cluster, call, command, &source()?).await?,
    };
    write(out, &text)?;
    Ok(is_well)
}

/// Whether the output is still read: a closed pipe, as in `zen-lead status | head -1`, is not an
/// error.
fn write(out: &mut dyn io::Write, text: &str) -> io::Result<bool> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

fn print(text: &str) -> ExitCode {
    match write(&mut io::stdout().lock(), text) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

async fn tell_status(cluster: &Cluster, call: &Call, out: &mut dyn io::Write) -> Result<String> {
    let (mut scopes, one) = (cluster.scopes(call), cluster.source(call)?);
    if let Some(one) = one.as_ref().filter(|_| !call.has("all-namespaces")) {
        scopes = vec![Scope::Namespace(Arc::clone(&one.namespace))];
    }
    let mut sight = ClusterView::of(cluster, &scopes).await?;
    sight.read_leases(cluster).await;
    let mut said = EventLog::of(cluster, &scopes).await;
    let format = call.value("output").unwrap_or("table");
    let columns = Columns {
        has_namespace: scopes == [Scope::All] || scopes.len() > 1,
        is_wide: format == "wide",
    };
    let mut shown = look(&sight, one.as_ref(), &said);
    if let Some(one) = one.as_ref().filter(|_| shown.is_empty()) {
        anyhow::bail!("Service {one} is not opted in, or does not exist");
    }
    let wall = sight.now().wall;
    let text = match format {
        "json" if call.has("watch") => shown.iter().map(line_of).collect(),
        "json" => format!("{:#}\n", status::list(&shown)),
        _ if shown.is_empty() => {
            eprintln!("No Service is opted in, in {}.", environment::told(&scopes));
            String::new()
        }
        _ => columns.table(&shown, wall),
    };
    if !call.has("watch") {
        return Ok(text);
    }
    // Until the reader has gone, or a signal ends the process.
    let mut has_reader = write(out, &text)?;
    while has_reader {
        sight.touched().await;
        // What belongs together comes together, and its Event a moment later.
        tokio::time::sleep(SETTLE).await;
        said = EventLog::of(cluster, &scopes).await;
        sight.read_leases(cluster).await;
        let now = look(&sight, one.as_ref(), &said);
        let mut news: Vec<ServiceReport> = now.clone();
        news.retain(|report| !shown.contains(report));
        let text = match format {
            "json" => news.iter().map(line_of).collect(),
            _ => columns.lines(&news, sight.now().wall),
        };
        has_reader = write(out, &text)?;
        shown = now;
    }
    Ok(String::new())
}

/// One report in one line, for a stream.
fn line_of(report: &ServiceReport) -> String {
    serde_json::to_string(report).unwrap_or_default() + "\n"
}

fn look(sight: &ClusterView, one: Option<&Key>, said: &EventLog) -> Vec<ServiceReport> {
    let judge = Evaluator::new(&sight.store, sight.now());
    let judged = match one {
        Some(key) => vec![judge.source(key)],
        None => judge.all(),
    };
    let managed = judged.into_iter().filter(|judged| judged.is_managed);
    managed.map(|judged| said.complete(judged).report).collect()
}

async fn tell_why(cluster: &Cluster, call: &Call, source: &Key) -> Result<String> {
    let scopes = [Scope::Namespace(source.namespace.clone())];
    let sight = ClusterView::of(cluster, &scopes).await?;
    sight.read_leases(cluster).await;
    let judged = Evaluator::new(&sight.store, sight.now()).source(source);
    if judged.snapshot.source.is_none() && !judged.is_managed {
        anyhow::bail!("there is no Service {source}");
    }
    let judged = EventLog::of(cluster, &scopes).await.complete(judged);
    Ok(match call.value("output") {
        Some("json") => format!("{:#}\n", explain::json(&judged, sight.now())),
        _ => explain::text(&judged, sight.now()),
    })
}

async fn tell_line(cluster: &Cluster, call: &Call, command: &str, source: &Key) -> Result<String> {
    let scopes = [Scope::Namespace(source.namespace.clone())];
    let sight = ClusterView::of(cluster, &scopes).await?;
    let judged = Evaluator::new(&sight.store, sight.now()).source(source);
    let leader = judged.report.leader.with_context(|| {
        format!(
            "Service {source} has no leader; see zen-lead explain {}",
            source.name
        )
    })?;
    if command == "leader" {
        return Ok(format!("{}\n", leader.pod));
    }
    let slices = judged.snapshot.own_slices();
    let ports = slices.iter().flat_map(|slice| &slice.ports);
    let mut ports: Vec<u16> = ports.filter_map(|port| port.port).collect();
    ports.sort_unstable();
    ports.dedup();
    let line = kubectl::line(
        command,
        source,
        &leader,
        &ports,
        call.value("context"),
        &call.rest,
    );
    Ok(line + "\n")
}
