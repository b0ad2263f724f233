//! The API server is upgraded under a running program, on the same data. Not one of `all()`: it needs
//! every version of Kubernetes that is pinned, and is asked for by `--upgrade`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::outage::insist_ready;
use crate::harness::SOON;
use crate::harness::api::Kind::{self, Service, Slice};
use crate::harness::controller::Controller;
use crate::harness::objects::Made;
use crate::harness::suite::version_of;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Alone RealOnly("simkube is of one version") upgraded_under_a_running_program "upgrades of the API server: nothing lost" "§7 zero writes when there is nothing to say";
}

/// Services to which nothing happens.
const STILL: [&str; 4] = ["still-0", "still-1", "still-2", "still-3"];

/// A Service of two pods that fails over from the one to the other and back.
struct Moving {
    app: &'static str,
    pods: Vec<Made>,
    /// The generation of its slice when it was first served.
    since: i64,
    moves: usize,
}

impl Moving {
    async fn new(t: &Test, app: &'static str) -> Result<Self> {
        let pods = t.served(app, 2).await?;
        Ok(Self {
            app,
            pods,
            since: generation(t, app)?,
            moves: 0,
        })
    }

    fn leader(&self) -> &Made {
        &self.pods[self.moves % 2]
    }

    fn other(&self) -> &Made {
        &self.pods[(self.moves + 1) % 2]
    }

    /// The leader fails; the other one is Ready.
    async fn fail(&mut self, t: &Test) -> Result<()> {
        insist_ready(t, self.leader(), false).await?;
        self.moves += 1;
        Ok(())
    }

    /// Waits for the failover, and mends the pod that failed.
    async fn moved(&self, t: &Test) -> Result<()> {
        let leader = format!("{}-leader", self.app);
        t.leads_within(&leader, self.leader(), SOON * 3).await?;
        t.identified(&leader, self.leader()).await?;
        insist_ready(t, self.other(), true).await
    }

    /// That its slice was written once for each failover.
    fn written_once_each(&self, t: &Test) -> Result<()> {
        let app = self.app;
        let count = generation(t, app)? - self.since;
        let expected = i64::try_from(self.moves)?;
        ensure!(
            count == expected,
            "{app}: {count} changes of the slice for {expected} failovers"
        );
        Ok(())
    }
}

/// What the server counts: how often a slice was changed.
fn generation(t: &Test, app: &str) -> Result<i64> {
    let name = format!("{app}-leader");
    let found = t.obs.look(|log| {
        let slice = log.get(Slice, &name)?;
        slice["metadata"]["generation"].as_i64()
    });
    found.with_context(|| format!("slice {name} has no generation"))
}

/// Versions of everything that belongs to the still Services.
fn still(t: &Test) -> Result<Vec<(Kind, String, String)>> {
    let mut found = Vec::new();
    for app in STILL {
        for (kind, name) in [
            (Service, app.to_owned()),
            (Service, format!("{app}-leader")),
            (Slice, format!("{app}-leader")),
        ] {
            let now = t.obs.look(|log| log.get(kind, &name).cloned());
            let now = now.with_context(|| format!("{kind:?} {name} is lost"))?;
            let version = now["metadata"]["resourceVersion"].to_string();
            found.push((kind, name, version));
        }
    }
    Ok(found)
}

/// Names of the objects that the program wrote in this namespace, once for each write that the
/// server carried out, and how many it refused.
async fn written(t: &Test) -> Result<(Vec<String>, usize)> {
    let (done, refused): (Vec<_>, Vec<_>) =
        t.writes().await?.into_iter().partition(|e| e.code < 300);
    let names = done
        .into_iter()
        .map(|e| format!("{} {}", e.resource, e.name));
    Ok((names.collect(), refused.len()))
}

/// Ends the API server the hard way and starts one of the next minor on its data, and with it its
/// controllers. A pod fails meanwhile: its kubelet reports it as soon as a server answers.
async fn upgrade(t: &Test, minor: &str, meanwhile: &mut Moving) -> Result<()> {
    let control = &t.suite.control;
    control.run(&["kill-apiserver"]).await?;
    let start = ["start-apiserver", "--kubernetes", minor];
    let (started, failed) = tokio::join!(control.run(&start), meanwhile.fail(t));
    started?;
    failed?;
    control.stop_controllers().await?;
    control.start_controllers("").await?;
    let (version, _) = version_of(&t.api).await?;
    ensure!(
        version.starts_with(&format!("v{minor}.")),
        "asked for {minor}, the server is {version}"
    );
    Ok(())
}

async fn upgraded_under_a_running_program(t: Arc<Test>) -> Result<()> {
    // As installed: one is active, one stands by. Which one is may change with every upgrade.
    let mut replicas = [t.controller(&[]).await?, t.controller(&[]).await?];
    for app in STILL {
        t.served(app, 2).await?;
    }
    let mut before = Moving::new(&t, "before").await?;
    let mut last = Moving::new(&t, "last").await?;
    let mut meanwhile = Moving::new(&t, "meanwhile").await?;
    let mut after = Moving::new(&t, "after").await?;
    t.served("fresh-0", 1).await?;
    t.canary().await?;
    let (unchanged, from) = (still(&t)?, Instant::now());
    let (already, _) = written(&t).await?;

    let minors = t.suite.control.upgrade.clone();
    for (round, minor) in minors.iter().enumerate().skip(1) {
        before.fail(&t).await?;
        before.moved(&t).await?;
        // The server may be gone before this one is dealt with.
        last.fail(&t).await?;
        upgrade(&t, minor, &mut meanwhile)
            .await
            .with_context(|| format!("upgrade to {minor}"))?;
        let back = Instant::now();
        for moving in [&last, &meanwhile] {
            moving
                .moved(&t)
                .await
                .with_context(|| format!("during the upgrade to {minor}"))?;
        }
        let took = back.elapsed();
        after.fail(&t).await?;
        after.moved(&t).await?;
        come_and_go(&t, round).await?;
        ensure!(
            replicas.iter_mut().all(Controller::is_running),
            "a replica ended by itself after the upgrade to {minor}"
        );
        let (all, refused) = written(&t).await?;
        t.say(format!(
            "{minor}: what failed during the upgrade moved {took:.1?} after; {} writes so far, \
             {refused} refused",
            all.len() - already.len()
        ));
    }

    t.canary().await?;
    ensure!(
        minors.len() > 1,
        "expected two minors or more, not {minors:?}"
    );
    ensure!(
        still(&t)? == unchanged,
        "what nothing happened to was written: {unchanged:?}, now {:?}",
        still(&t)?
    );
    for moving in [&before, &last, &meanwhile, &after] {
        moving.written_once_each(&t)?;
        t.never_empty(&[&format!("{}-leader", moving.app)], from)?;
    }
    needless(
        &written(&t).await?.0.split_off(already.len()),
        minors.len() - 1,
    )?;
    for replica in &mut replicas {
        replica.stop().await?;
    }
    Ok(())
}

/// A Service comes, the one of the round before goes.
async fn come_and_go(t: &Test, round: usize) -> Result<()> {
    t.served(&format!("fresh-{round}"), 1).await?;
    let old = format!("fresh-{}", round - 1);
    t.merge(
        Service,
        &old,
        json!({"metadata": {"annotations": {"zen-lead.io/enabled": null}}}),
    )
    .await?;
    t.withdrawn(&format!("{old}-leader")).await
}

/// That each failover outside of an outage cost one write of the slice and one of the Service, and
/// that nothing was written to which nothing happened.
fn needless(writes: &[String], rounds: usize) -> Result<()> {
    for app in ["before", "after"] {
        for resource in ["endpointslices", "services"] {
            let object = format!("{resource} {app}-leader");
            let count = writes.iter().filter(|written| **written == object).count();
            ensure!(
                count == rounds,
                "{object}: {count} writes for {rounds} failovers"
            );
        }
    }
    let still: Vec<_> = writes
        .iter()
        .filter(|written| written.contains(" still-"))
        .collect();
    ensure!(still.is_empty(), "needless writes: {still:?}");
    Ok(())
}
