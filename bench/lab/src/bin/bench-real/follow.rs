//! Following the application: from the request that names another leader to the slice that shows it, in
//! turns with failovers by readiness.
//!
//! Three Services of two pods each: one is served by election, one follows a label, one follows a Lease.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};
use zen_bench::figures::{Table, Times};
use zen_lead::logic::model::Key;

use crate::api::{PODS, SERVICES, path};
use crate::cluster::{Cluster, OURS, app, leader_service, leader_slice};
use crate::contest::{How, SOON};
use crate::observe::Seen;
use crate::{SETTLED, Stage};

/// The application that is served by election; those that follow a label and a Lease come next.
const FIRST: usize = 8_000;
/// A collection, as the path of a namespace has it.
const LEASES: (&str, &str) = ("/apis/coordination.k8s.io/v1", "leases");
/// For work that no measurement waits for: events.
const PAUSE: Duration = Duration::from_millis(30);

/// How an application names its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Label,
    Lease,
}

impl By {
    const ALL: [Self; 2] = [Self::Label, Self::Lease];

    fn app(self) -> String {
        app(match self {
            Self::Label => FIRST + 1,
            Self::Lease => FIRST + 2,
        })
    }

    fn annotation(self) -> String {
        match self {
            Self::Label => "label/role=primary".to_owned(),
            Self::Lease => format!("lease/{}", self.app()),
        }
    }
}

impl Stage<'_> {
    /// Compares moves of a label and of a Lease with failovers by readiness.
    pub async fn follow(&self, table: &mut Table) -> Result<()> {
        let mut subject = self.start()?;
        subject.ready().await?;
        let cluster = &self.cluster;
        cluster.prepare_following().await?;
        tokio::time::sleep(SETTLED).await;
        let (mut failovers, mut labels, mut leases) =
            (Times::default(), Times::default(), Times::default());
        for round in 0..2 * self.plan.rounds {
            // The order rotates, so that none always has the caches that another one warmed.
            for turn in 0..3 {
                match (round + turn) % 3 {
                    0 => failovers.push(cluster.our_round(How::Readiness, &app(FIRST)).await?),
                    1 => labels.push(cluster.followed_round(By::Label).await?),
                    _ => leases.push(cluster.followed_round(By::Lease).await?),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        for (what, times) in [("label", &labels), ("Lease", &leases)] {
            let what = format!("a {what} that moves, failover by readiness");
            table.compared(&what, &failovers, times, 1.1);
        }
        cluster.forget_following().await?;
        subject.process.stop()?;
        Ok(())
    }
}

impl Cluster {
    /// Makes the three applications. Those that follow do so once they are served: that moves nothing, and
    /// neither does it that the application then names the pod that is published.
    async fn prepare_following(&self) -> Result<()> {
        self.populate(OURS, FIRST..FIRST + 3).await?;
        for number in FIRST..FIRST + 3 {
            let key = leader_slice(OURS, &app(number));
            let served = |seen: &Seen| seen.slices.get(&key)?.1.leader().map(|_| ());
            self.observer.wait("a leader", SOON, served).await?;
        }
        for by in By::ALL {
            let app = by.app();
            if by == By::Lease {
                let lease = json!({"metadata": {"name": app}, "spec": {}});
                self.api.ensure(&path(LEASES, OURS, ""), &lease).await?;
            }
            self.name(by, self.leader(&app)?).await?;
            let follow = json!({"metadata": {"annotations": {
                "zen-lead.io/follow": by.annotation(),
            }}});
            let service = path(SERVICES, OURS, &app);
            self.api.call("PATCH", &service, &follow).await?;
        }
        Ok(())
    }

    /// Takes the Services away, so that no other part counts them.
    async fn forget_following(&self) -> Result<()> {
        for number in FIRST..FIRST + 3 {
            self.api.delete(&path(SERVICES, OURS, &app(number))).await?;
            let key = leader_slice(OURS, &app(number));
            let gone = |seen: &Seen| (!seen.slices.contains_key(&key)).then_some(());
            self.observer.wait("the end of a slice", SOON, gone).await?;
        }
        Ok(())
    }

    /// The application names a pod; the moment before the request was sent.
    async fn name(&self, by: By, pod: usize) -> Result<Instant> {
        let app = by.app();
        let pod = format!("{app}-{pod}");
        let (path, change) = match by {
            By::Label => (path(PODS, OURS, &pod), role(&json!("primary"))),
            By::Lease => {
                let now = format!("{:.6}", jiff::Timestamp::now());
                let spec = json!({"holderIdentity": pod, "acquireTime": now, "renewTime": now});
                (path(LEASES, OURS, &app), json!({"spec": spec}))
            }
        };
        let from = Instant::now();
        self.api.call("PATCH", &path, &change).await.map(|_| from)
    }

    async fn followed_round(&self, by: By) -> Result<Duration> {
        let app = by.app();
        let former = self.leader(&app)?;
        let from = self.name(by, 1 - former).await?;
        let (at, uid) = self.moved_from(&app, former).await?;
        let service = Key::new(OURS, leader_service(&app));
        self.named(&service, &uid).await?;
        if by == By::Label {
            let pod = path(PODS, OURS, &format!("{app}-{former}"));
            self.api.call("PATCH", &pod, &role(&Value::Null)).await?;
        }
        Ok(at.saturating_duration_since(from))
    }
}

/// A change of a pod's role.
fn role(value: &Value) -> Value {
    json!({"metadata": {"labels": {"role": value}}})
}
