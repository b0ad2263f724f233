//! §3a with elections that others wrote: the slice shows the pod that holds their Lease.
//!
//! The programs are those of `scripts/electors`. Each candidate's identity names a pod of the scenario.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::follow_lease::{LEADER, LOCK, grant, leases};
use crate::harness::SHORT;
use crate::harness::api::Kind::Slice;
use crate::harness::controller::Controller;
use crate::harness::electors::{Election, Elector, Kind, TAKEN_OVER};
use crate::harness::objects::{Made, Svc, endpoints, text};
use crate::harness::test::Test;
use crate::harness::waits::publishes;
use crate::scenarios;

scenarios! {
    Own Both electors_client_go "§3a a Lease: client-go without ReleaseOnCancel" "§3a a silent claim keeps a Ready pod";
    Own Both electors_client_go_that_release "§3a a Lease: client-go with ReleaseOnCancel" "§3a no pod is named";
    Own RealOnly("kube-controller-manager") electors_controller_managers "§3a a Lease: <host name>_<uuid>";
    Own Both electors_python "§3a a Lease: the kubernetes package for Python";
}

/// Renewals that are waited for.
const RENEWALS: usize = 3;

/// Some pods with a candidate each, of which one leads.
struct World {
    t: Arc<Test>,
    election: Election,
    pods: Vec<Made>,
    candidates: Vec<Option<Elector>>,
    _controller: Controller,
}

impl World {
    /// Starts so many candidates, and waits until the slice shows the pod of the one that won.
    /// None when the program is not there.
    async fn new(t: &Arc<Test>, kind: Kind, count: usize) -> Result<Option<Self>> {
        let Some(election) = Election::of(t, kind, LOCK).await? else {
            return Ok(None);
        };
        grant(t, &[]).await?;
        let pods = t.pods("web", count).await?;
        // A move is one write, however late the next candidate comes.
        let source = Svc::opted_in("web").asks("follow", &format!("lease/{LOCK}"));
        t.service(source.asks("failover-min-delay", "60s")).await?;
        let controller = t.controller(&[]).await?;
        let candidates = pods
            .iter()
            .map(|pod| election.candidate(&pod.name).map(Some));
        let mut world = Self {
            t: Arc::clone(t),
            candidates: candidates.collect::<Result<_>>()?,
            election,
            pods,
            _controller: controller,
        };
        world.led_by_another(None).await?;
        Ok(Some(world))
    }

    /// The Lease as it is.
    async fn lease(&self) -> Value {
        let path = format!("{}/{LOCK}", leases(&self.t));
        self.t.api.get(&path).await.unwrap_or_default()
    }

    /// Which pod's candidate holds the Lease.
    async fn holder(&self) -> Option<usize> {
        let lease = self.lease().await;
        let holder = text(&lease, "/spec/holderIdentity");
        let named = holder.split('_').next().unwrap_or_default();
        self.pods.iter().position(|pod| pod.name == named)
    }

    /// Waits until another candidate than `former` holds the Lease and its pod is shown.
    async fn led_by_another(&mut self, former: Option<usize>) -> Result<usize> {
        let deadline = Instant::now() + TAKEN_OVER;
        let next = loop {
            match self.holder().await {
                Some(next) if Some(next) != former => break next,
                held => ensure!(Instant::now() < deadline, "{held:?} holds the Lease"),
            }
            for candidate in self.candidates.iter_mut().flatten() {
                candidate.runs()?;
            }
            tokio::time::sleep(SHORT).await;
        };
        self.t.leads(LEADER, &self.pods[next]).await?;
        self.t.identified(LEADER, &self.pods[next]).await?;
        Ok(next)
    }

    /// Waits for some renewals, which write nothing.
    async fn renews(&self) -> Result<()> {
        let writes = self.t.writes().await?.len();
        let deadline = Instant::now() + TAKEN_OVER;
        let (mut renewed, mut renewals) = (Value::Null, 0);
        while renewals <= RENEWALS {
            ensure!(Instant::now() < deadline, "{renewals} renewals");
            let now = self.lease().await["spec"]["renewTime"].take();
            if now != renewed {
                renewed = now;
                renewals += 1;
            }
            tokio::time::sleep(SHORT).await;
        }
        let written = self.t.writes().await?.split_off(writes);
        ensure!(written.is_empty(), "renewals wrote {written:?}");
        Ok(())
    }

    /// Ends the leader; another one takes over, and the slice follows in one write. Its candidate does not
    /// come back unless `again`.
    async fn ends(&mut self, signal: Signal, again: bool) -> Result<()> {
        let former = self.led_by_another(None).await?;
        let (written, from) = (self.t.writes().await?.len(), Instant::now());
        if let Some(candidate) = self.candidates[former].take() {
            candidate.end(signal).await?;
        }
        let next = self.led_by_another(Some(former)).await?;
        self.t.say(format!(
            "{}: {} to {} in {:.1?}",
            if signal == Signal::KILL {
                "SIGKILL"
            } else {
                "SIGTERM"
            },
            self.pods[former].name,
            self.pods[next].name,
            from.elapsed()
        ));
        self.t.never_empty(&[LEADER], from)?;
        self.one_endpoint(from)?;
        let writes = self.t.writes().await?.split_off(written);
        let of = |resource: &str| {
            writes
                .iter()
                .filter(|entry| entry.resource == resource)
                .count()
        };
        ensure!(
            (writes.len(), of("endpointslices"), of("services")) == (2, 1, 1),
            "a move is one PATCH of the slice and one of the Service: {writes:?}"
        );
        if again {
            let pod = &self.pods[former].name;
            self.candidates[former] = Some(self.election.candidate(pod)?);
        }
        Ok(())
    }

    /// That each state of the slice since then had exactly one endpoint.
    fn one_endpoint(&self, from: Instant) -> Result<()> {
        let since = self.t.history(Slice, LEADER).into_iter();
        for seen in since.filter(|seen| seen.at >= from) {
            let count = endpoints(&seen.object).len();
            ensure!(count == 1, "{count} endpoints: {}", seen.object);
        }
        Ok(())
    }

    /// Ends the only candidate that is left.
    async fn ends_last(&mut self) -> Result<usize> {
        let last = self.led_by_another(None).await?;
        self.t.ask("web", "failover-min-delay", None).await?;
        self.t.canary().await?;
        if let Some(candidate) = self.candidates[last].take() {
            candidate.end(Signal::TERM).await?;
        }
        Ok(last)
    }
}

async fn electors_client_go(t: Arc<Test>) -> Result<()> {
    let kind = Kind::ClientGo { releases: false };
    let Some(mut world) = World::new(&t, kind, 3).await? else {
        return Ok(());
    };
    world.renews().await?;
    world.ends(Signal::TERM, false).await?;
    world.ends(Signal::KILL, false).await?;
    // The Lease names its last holder, and nothing else: a Ready pod stays, one that is not goes.
    let last = world.ends_last().await?;
    t.canary().await?;
    let slice = t.exists(Slice, LEADER).await?;
    ensure!(publishes(&slice, &world.pods[last]), "it was withdrawn");
    t.ready(&world.pods[last], false).await?;
    t.empties(LEADER).await.map(drop)
}

async fn electors_client_go_that_release(t: Arc<Test>) -> Result<()> {
    let kind = Kind::ClientGo { releases: true };
    let Some(mut world) = World::new(&t, kind, 3).await? else {
        return Ok(());
    };
    world.renews().await?;
    world.ends(Signal::TERM, false).await?;
    world.ends(Signal::KILL, false).await?;
    // A Lease that was given back names no pod.
    let last = world.ends_last().await?;
    t.empties(LEADER).await?;
    let pod = &world.pods[last].name;
    t.event("web", "NoLeaderToFollow", &[pod, "unnamed"])
        .await?;
    let next = (last + 1) % world.pods.len();
    world.candidates[next] = Some(world.election.candidate(&world.pods[next].name)?);
    t.leads(LEADER, &world.pods[next]).await.map(drop)
}

async fn electors_controller_managers(t: Arc<Test>) -> Result<()> {
    let Some(mut world) = World::new(&t, Kind::ControllerManager, 2).await? else {
        return Ok(());
    };
    let lease = world.lease().await;
    let holder = text(&lease, "/spec/holderIdentity");
    ensure!(
        holder.starts_with("web-") && holder.contains('_'),
        "{holder}"
    );
    world.renews().await?;
    world.ends(Signal::TERM, true).await?;
    world.ends(Signal::KILL, false).await
}

async fn electors_python(t: Arc<Test>) -> Result<()> {
    let Some(mut world) = World::new(&t, Kind::Python, 3).await? else {
        return Ok(());
    };
    world.renews().await?;
    world.ends(Signal::TERM, false).await?;
    world.ends(Signal::KILL, false).await
}
