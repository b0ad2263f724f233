//! etcd is restored from a backup while the controller runs: versions start over at a lower number.

use simkube::{Backup, Kind};
use tokio::time::sleep;

use crate::support::{LEASE_NS, NS, Replica, World, ms, secs};

/// What is watched by every replica.
const WATCHED: [&str; 4] = ["services", "endpointslices", "pods", "leases"];

/// How often the watches of a resource were restarted because the server was restored.
fn restored(replica: &Replica, resource: &str) -> bool {
    let series =
        format!("zen_lead_watch_restarts_total{{resource=\"{resource}\",reason=\"restored\"}} ");
    let text = replica.metrics.encode(replica.clock.now());
    text.lines().any(|line| line.starts_with(&series))
}

async fn until_noticed(world: &World, replica: &Replica) {
    let what = "the restore being noticed";
    let noticed = |_: &World| WATCHED.iter().all(|resource| restored(replica, resource));
    let took = world.until(what, noticed).await;
    assert!(took <= secs(10), "{took:?}");
}

/// Much that a backup of before does not have: a failover, a Service, a pod, hundreds of versions.
async fn live_on(world: &World) {
    world.kube.set_ready(NS, "a", false);
    world.until_leader("web", "b").await;
    world.source("late").create();
    world.pod("late", "l");
    world.until_leader("late", "l").await;
    for number in 0..300 {
        let value = number.to_string();
        world
            .kube
            .annotate(Kind::Pod, NS, "b", "note", Some(&value));
    }
    sleep(secs(20)).await;
}

/// The next failovers are as quick as ever, and what was lost is made again.
async fn goes_on(world: &World) {
    world
        .until("the backup's Services being served", |world| {
            world.leader("web").is_some() && world.slice("late").is_none()
        })
        .await;
    sleep(secs(5)).await;
    for _ in 0..2 {
        let leader = world.leader("web").expect("one leads");
        let other = if leader == "a" { "b" } else { "a" };
        world.kube.set_ready(NS, other, true);
        sleep(secs(1)).await;
        world.kube.set_ready(NS, &leader, false);
        let took = world.until_leader("web", other).await;
        assert!(took <= ms(100), "{took:?}");
    }
    world.source("late").create();
    world.pod("late", "l");
    let took = world.until_leader("late", "l").await;
    // Its source may have the address that the leader Service had before: that one is requested for
    // two seconds (§1 "taken meanwhile: a new address").
    assert!(took <= secs(3), "{took:?}");
}

fn without_lease(world: &World) -> Backup {
    for lease in world.kube.list(Kind::Lease, LEASE_NS) {
        let name = lease["metadata"]["name"].as_str().unwrap_or_default();
        world.kube.delete(Kind::Lease, LEASE_NS, name);
    }
    world.kube.backup()
}

#[tokio::test(start_paused = true)]
async fn a_restored_cluster_is_followed_by_the_replica_that_writes() {
    let world = World::serving(&["a", "b"]).await;
    let backup = world.kube.backup();
    live_on(&world).await;
    world.kube.restore(&backup);
    until_noticed(&world, world.replica()).await;
    goes_on(&world).await;
    world.settle().await;
    world.clear();
    sleep(secs(60)).await;
    world.assert_words("it is at rest", &[]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_backup_lacks_is_made_again() {
    let world = World::serving(&["a", "b"]).await;
    let backup = without_lease(&world);
    sleep(secs(5)).await;
    live_on(&world).await;
    world.kube.restore(&backup);
    let what = "this replica holding the Lease";
    let took = world
        .until(what, |world| {
            !world.kube.list(Kind::Lease, LEASE_NS).is_empty() && world.replica().tenure.is_active()
        })
        .await;
    assert!(took <= secs(10), "{took:?}");
    goes_on(&world).await;
}

/// It writes nothing, so that no answer could tell it.
#[tokio::test(start_paused = true)]
async fn a_restored_cluster_is_followed_by_a_replica_that_stands_by() {
    for old_holder in [false, true] {
        let mut world = World::new();
        world.source("web").create();
        world.pods("web", &["a", "b"]);
        let zero = world.another("-0", "");
        world
            .until("it being active", |_| zero.tenure.is_active())
            .await;
        world.until_leader("web", "a").await;
        sleep(secs(3)).await;
        // The Lease in the backup names a replica that may be gone since.
        let early = world.kube.backup();
        zero.crash();
        let first = world.another("-1", "");
        world
            .until("it being active", |_| first.tenure.is_active())
            .await;
        let second = world.another("-2", "");
        sleep(secs(5)).await;
        let backup = if old_holder {
            early
        } else {
            world.kube.backup()
        };
        live_on(&world).await;
        world.kube.restore(&backup);
        until_noticed(&world, &second).await;
        until_noticed(&world, &first).await;
        world
            .until("one of them being active", |_| {
                first.tenure.is_active() || second.tenure.is_active()
            })
            .await;
        let (writer, standby) = if first.tenure.is_active() {
            (first, second)
        } else {
            (second, first)
        };
        goes_on(&world).await;
        writer.crash();
        world
            .until("the standby being active", |_| standby.tenure.is_active())
            .await;
        world.kube.delete(Kind::Service, NS, "late");
        world.kube.delete_pod(NS, "l", 0);
        world.until_gone("late").await;
        goes_on(&world).await;
    }
}
