//! Numbers: failovers that all succeed, many Services, a restart that writes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::SOON;
use crate::harness::api::Kind::{self, Pod as PodKind, Service, Slice};
use crate::harness::audit::Entry;
use crate::harness::objects::{
    Made, Pod, Svc, annotation, endpoints, is_our_slice, target_uid, text, uid_of,
};
use crate::harness::observe::Seen;
use crate::harness::scrape::Metrics;
use crate::harness::test::Test;
use crate::scenarios;

scenarios! {
    Alone Both fifty_failovers_by_readiness "§3 notReady, 50 of 50";
    Alone Both fifty_failovers_by_deletion "§3 deleted, 50 of 50";
    Alone Both restart_with_nothing_changed_writes_nothing "restart: no write at all, over 100 Services";
    Alone Both thousand_services_cold_start "1,000 Services, and one failover among them";
}

/// How many Services are made side by side.
const WRITERS: usize = 16;

fn figures(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!(
        "min {:.1?}, p50 {:.1?}, p95 {:.1?}, max {:.1?}",
        at(0),
        at(50),
        at(95),
        at(100)
    )
}

/// The floor: a loop that sends a bare PATCH the moment it sees the pod turn. Taken in turns with
/// what it is compared to, so that both have the same machine.
struct Floor {
    pod: Made,
    times: Vec<Duration>,
}

impl Floor {
    async fn new(t: &Test) -> Result<Self> {
        let pod = t.pod(Pod::new("floor", "floor"), true).await?;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "floor", "labels": {"kubernetes.io/service-name": "floor"}},
            "addressType": "IPv4", "ports": [], "endpoints": [{"addresses": ["192.0.2.1"]}],
        });
        t.create(Slice, &slice).await?;
        let times = Vec::new();
        Ok(Self { pod, times })
    }

    /// From the pod's patch to the slice's event.
    async fn round(&mut self, t: &Test) -> Result<()> {
        let round = self.times.len();
        let ready = round % 2 == 1;
        let word = if ready { "True" } else { "False" };
        let address = format!("192.0.2.{}", round % 200 + 2);
        let turned = t.until(PodKind, "floor", "the pod turns", |now| {
            now["status"]["conditions"][0]["status"] == word
        });
        let react = async {
            turned.await?;
            let patch = json!({"endpoints": [{"addresses": [address]}]});
            t.merge(Slice, "floor", patch).await
        };
        let (from, reacted) = tokio::join!(t.ready(&self.pod, ready), react);
        reacted?;
        let moved = t.obs.wait("the slice moves", SOON, |log| {
            let mut backwards = log.history.iter().rev();
            let last = backwards.find(|seen| seen.kind == Slice && seen.name() == "floor")?;
            let moved = last.object["endpoints"][0]["addresses"][0] == json!(address);
            moved.then_some(last.at)
        });
        self.times
            .push(moved.await?.saturating_duration_since(from?));
        Ok(())
    }
}

/// Prints both, and how they compare.
fn compare(t: &Test, times: &[Duration], floor: &[Duration]) {
    let middle = |times: &[Duration]| {
        let mut times = times.to_vec();
        times.sort();
        times[times.len() / 2].as_secs_f64()
    };
    t.say(format!("50 of 50 failovers: {}", figures(times)));
    t.say(format!("floor, bare PATCH:  {}", figures(floor)));
    t.say(format!(
        "ratio of the medians: {:.2}",
        middle(times) / middle(floor)
    ));
}

async fn fifty_failovers_by_readiness(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let pods = t.served("web", 2).await?;
    let mut floor = Floor::new(&t).await?;
    let mut times = Vec::new();
    for round in 0..50 {
        let (leader, other) = (&pods[round % 2], &pods[(round + 1) % 2]);
        let from = t.ready(leader, false).await?;
        let seen = t.leads("web-leader", other).await?;
        times.push(seen.saturating_duration_since(from));
        t.identified("web-leader", other).await?;
        t.ready(leader, true).await?;
        floor.round(&t).await?;
    }
    let slices = t.history(Slice, "web-leader");
    let single = |seen: &Seen| endpoints(&seen.object).len() == 1;
    ensure!(slices.iter().skip(1).all(single), "empty for a moment");
    compare(&t, &times, &floor.times);
    controller.stop().await
}

async fn fifty_failovers_by_deletion(t: Arc<Test>) -> Result<()> {
    let mut controller = t.controller(&[]).await?;
    let mut pods = t.served("web", 2).await?;
    let mut floor = Floor::new(&t).await?;
    let mut times = Vec::new();
    for round in 0..50 {
        let leader = pods.remove(0);
        let from = t.delete_pod(&leader, 0).await?;
        let seen = t.leads("web-leader", &pods[0]).await?;
        times.push(seen.saturating_duration_since(from));
        t.identified("web-leader", &pods[0]).await?;
        let name = format!("web-{}", round % 3 + 2);
        pods.push(t.pod(Pod::new(&name, "web"), true).await?);
        floor.round(&t).await?;
    }
    compare(&t, &times, &floor.times);
    controller.stop().await
}

/// Does something for each number, some of them side by side.
async fn each<F>(count: usize, act: impl Fn(usize) -> F) -> Result<Duration>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let from = Instant::now();
    let slots = Arc::new(Semaphore::new(WRITERS));
    let mut running = JoinSet::new();
    for number in 0..count {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let task = act(number);
        running.spawn(async move {
            let _slot = slot;
            task.await
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(from.elapsed())
}

async fn populate(t: &Arc<Test>, count: usize) -> Result<()> {
    each(count, |number| {
        let t = Arc::clone(t);
        async move {
            let app = format!("app-{number}");
            t.pod(Pod::new(&app, &app), true).await?;
            t.service(Svc::opted_in(&app)).await.map(drop)
        }
    })
    .await
    .map(drop)
}

/// Waits until so many slices of ours have a leader, and until so many leader Services name it.
async fn all_served(t: &Test, count: usize, within: Duration) -> Result<(Instant, Instant)> {
    let published = t
        .obs
        .wait(&format!("{count} slices have a leader"), within, |log| {
            let serves = |slice: &&Arc<Value>| is_our_slice(slice) && target_uid(slice).is_some();
            (log.all(Slice).filter(serves).count() == count).then(Instant::now)
        })
        .await?;
    let named = t
        .obs
        .wait(&format!("{count} leader Services name it"), within, |log| {
            let named =
                |service: &&Arc<Value>| annotation(service, "zen-lead.io/leader-pod-uid").is_some();
            (log.all(Service).filter(named).count() == count).then(Instant::now)
        })
        .await?;
    Ok((published, named))
}

/// Writes of what we manage, by the API server's own count.
async fn writes_counted(t: &Test) -> Result<f64> {
    let page = t.api.get("/metrics").await?;
    let metrics = Metrics::parse(page.as_str().context("no page of metrics")?);
    let is_write = |verb: &str| !matches!(verb, "GET" | "LIST" | "WATCH");
    let counted = metrics.0.iter().filter(|sample| {
        let of = |key: &str| sample.labels.get(key).map_or("", String::as_str);
        sample.name == "apiserver_request_total"
            && is_write(of("verb"))
            && ["services", "endpointslices", "events", "pods"].contains(&of("resource"))
    });
    Ok(counted.map(|sample| sample.value).sum())
}

async fn restart_with_nothing_changed_writes_nothing(t: Arc<Test>) -> Result<()> {
    populate(&t, 100).await?;
    let mut controller = t.controller(&[]).await?;
    all_served(&t, 100, SOON * 2).await?;
    controller.stop().await?;
    t.suite.control.stop_controllers().await?;
    let outcome = restarted(&t).await;
    t.suite.control.start_controllers("").await?;
    outcome
}

async fn restarted(t: &Test) -> Result<()> {
    let before = writes_counted(t).await?;
    let mark = t.suite.audit.mark()?;
    let mut controller = t.controller(&[]).await?;
    // A change that is none, seen by the program, ends the wait; then it has looked at everything.
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline {
        ensure!(controller.is_running());
        tokio::time::sleep(crate::harness::SHORT).await;
    }
    let after = writes_counted(t).await?;
    let user = crate::harness::suite::USER;
    let requests = t.suite.audit.since(mark, user, None)?;
    t.say(format!(
        "{} writes and {} requests in all",
        after - before,
        requests.len()
    ));
    let writes: Vec<_> = requests.iter().filter(|entry| entry.is_write()).collect();
    ensure!(
        (after - before).abs() < 0.5,
        "{} writes: {writes:?}",
        after - before
    );
    controller.stop().await
}

async fn thousand_services_cold_start(t: Arc<Test>) -> Result<()> {
    const COUNT: usize = 1_000;
    t.suite.control.stop_controllers().await?;
    let outcome = cold_start(&t, COUNT).await;
    t.suite.control.start_controllers("").await?;
    outcome
}

async fn cold_start(t: &Arc<Test>, count: usize) -> Result<()> {
    populate(t, count).await?;
    let floor = bare_creates(t, count).await?;
    let from = Instant::now();
    let mut controller = t.launch(&[])?;
    let (published, named) = all_served(t, count, SOON * 8).await?;
    t.say(format!(
        "{count} Services routed {:.1?} after the start of the process, all annotated after {:.1?}; \
         {} bare creates took {floor:.1?}",
        published.duration_since(from),
        named.duration_since(from),
        2 * count
    ));
    let requests = t.requests().await?;
    let of = |verb: &str, resource: &str| {
        let is = |entry: &&Entry| entry.verb == verb && entry.resource == resource;
        requests.iter().filter(is).count()
    };
    t.say(format!(
        "requests: {} Services and {} slices created, {} and {} patched, {} events",
        of("create", "services"),
        of("create", "endpointslices"),
        of("patch", "services"),
        of("patch", "endpointslices"),
        of("create", "events"),
    ));
    let spare = t.pod(Pod::new("app-7-spare", "app-7"), true).await?;
    let leader = t.get(PodKind, "app-7").await?;
    let leader = Made {
        name: "app-7".into(),
        uid: uid_of(&leader).into(),
        ips: vec![text(&leader, "/status/podIP").into()],
    };
    let lost = t.ready(&leader, false).await?;
    let seen = t.leads("app-7-leader", &spare).await?;
    t.say(format!(
        "a failover among them took {:.1?}",
        seen.saturating_duration_since(lost)
    ));
    let refused = t
        .writes()
        .await?
        .iter()
        .filter(|entry| entry.code >= 400)
        .count();
    ensure!(refused == 0, "{refused} writes were refused");
    controller.stop().await
}

/// What the same objects cost when a script makes them.
async fn bare_creates(t: &Arc<Test>, count: usize) -> Result<Duration> {
    let other = Arc::new(Test::start(&t.suite, "bare_creates").await?);
    each(count, |number| {
        let other = Arc::clone(&other);
        async move {
            let name = format!("bare-{number}");
            let service = Svc::new(&name).spec("selector", Value::Null);
            other.service(service).await?;
            let slice = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4", "ports": [{"name": "main", "port": 8080}],
                "endpoints": [{"addresses": ["192.0.2.1"]}],
            });
            other.create(Kind::Slice, &slice).await.map(drop)
        }
    })
    .await
}
