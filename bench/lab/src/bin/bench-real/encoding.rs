//! What JSON and protobuf cost the API server: a list of pods of 10 kB, and an event of one pod.
//!
//! The native controller watches pods in protobuf, as the controllers of every cluster do. The server
//! encodes an event once for all watches of one encoding, so a watch in JSON adds an encoding and one in
//! protobuf adds none.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::header::ACCEPT;
use zen_bench::figures::{Table, Times};
use zen_bench::process::Footprint;
use zen_lead::logic::model::Pod;
use zen_lead::logic::reflect::{Change, Encoding};
use zen_lead::shell::api::{self, Scope};
use zen_lead::shell::clock::Clock;
use zen_lead::shell::watch::{self, Selectors, Source, WatchOptions};

use crate::Stage;
use crate::api::{PODS, path};
use crate::cluster::{BARE, HEAVY, app};
use crate::contest::SOON;

/// Status patches of one round.
const EVENTS: u32 = 50;

impl Stage<'_> {
    /// Lists and events in both encodings, in turns.
    pub async fn encoding(&self, table: &mut Table) -> Result<()> {
        let apps = HEAVY + 1..HEAVY + 1 + self.plan.services / 4;
        let pods = 2 * apps.len();
        self.cluster.populate(BARE, apps).await?;
        let (mut json, mut protobuf) = (Times::default(), Times::default());
        for _ in 0..self.plan.rounds.min(20) {
            json.push(self.list(Encoding::Json).await?);
            protobuf.push(self.list(Encoding::Protobuf).await?);
        }
        let what = format!("a list of {pods} pods of 10 kB, protobuf beside JSON");
        table.beside(&what, &json, &protobuf);

        let (mut none, mut json, mut protobuf) =
            (Times::default(), Times::default(), Times::default());
        for _ in 0..self.plan.rounds.min(20) {
            none.push(self.events(None).await?);
            json.push(self.events(Some(Encoding::Json)).await?);
            protobuf.push(self.events(Some(Encoding::Protobuf)).await?);
        }
        let micros = |times: &Times| times.at(50).as_secs_f64() * 1e6;
        let what = "server CPU per patch and event of a pod of 10 kB";
        table.note(&format!("{what}, no watch"), micros(&none), "µs");
        let added = |times: &Times| micros(times) - micros(&none);
        table.note(&format!("{what}, added by one in JSON"), added(&json), "µs");
        let what = format!("{what}, added by one in protobuf");
        table.note(&what, added(&protobuf), "µs");
        Ok(())
    }

    /// How long the server takes to send all pods of a namespace.
    async fn list(&self, encoding: Encoding) -> Result<Duration> {
        let media_type = match encoding {
            Encoding::Json => "application/json",
            Encoding::Protobuf => "application/vnd.kubernetes.protobuf",
        };
        let request = http::Request::get(path(PODS, BARE, ""))
            .header(ACCEPT, media_type)
            .body(Vec::new())?;
        let from = Instant::now();
        let answer = api::unary(&self.cluster.api.0, request, SOON).await;
        let answer = answer.context("a list of pods")?;
        ensure!(answer.status.is_success(), "a list: {}", answer.status);
        Ok(from.elapsed())
    }

    /// CPU time of the server for one status patch of a pod, with a watch of its namespace or without.
    async fn events(&self, watched: Option<Encoding>) -> Result<Duration> {
        let (seen, mut arrived) = tokio::sync::watch::channel(0_u32);
        let watching = watched.map(|encoding| {
            let source = Source {
                client: self.cluster.api.0.clone(),
                scope: Scope::Namespace(BARE.into()),
                selectors: Selectors::default(),
                options: WatchOptions {
                    encoding,
                    ..WatchOptions::default()
                },
            };
            let clock = Clock::system();
            let mut listed = false;
            let react = move |change: Change<Pod>, _| match change {
                Change::Retain { .. } => {
                    listed = true;
                    seen.send_modify(|count| *count += 1);
                }
                Change::Upsert(_) if listed => seen.send_modify(|count| *count += 1),
                _ => {}
            };
            tokio::spawn(watch::run(
                source,
                react,
                |_| {},
                move || clock.now(),
                || 0.5,
            ))
        });
        if watching.is_some() {
            let listed = arrived.wait_for(|count| *count > 0);
            tokio::time::timeout(SOON, listed).await??;
        }
        let server = self.plane.server()?;
        let before = Footprint::of(server)?.cpu;
        let app = app(HEAVY + 1);
        for event in 0..EVENTS {
            self.cluster.turn(BARE, &app, 0, event % 2 == 1).await?;
        }
        if watching.is_some() {
            let all = arrived.wait_for(|count| *count > EVENTS);
            tokio::time::timeout(SOON, all).await??;
        }
        let took = Footprint::of(server)?.cpu.saturating_sub(before) / EVENTS;
        if let Some(task) = watching {
            task.abort();
        }
        Ok(took)
    }
}
