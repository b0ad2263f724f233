//! The simulated cluster on a thread of its own: the API server behind a loopback port, and the
//! application in it.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use simkube::{Authority, Committed, Kind, Observer, Options, SimKube};
use tokio::sync::mpsc;
use zen_lead::logic::model::{Family, Pod, PodPhase, Uid};
use zen_lead::logic::well_known::ENABLED;
use zen_lead::shell::clock::Clock;

use super::kubelet::{Order, Workload, make_service};
use super::news::{News, What};
use super::story::Act;
use super::{APP, NAMESPACE, Outlet};

/// A cluster that runs until the process ends.
pub(super) struct Cluster {
    sim: SimKube,
    orders: mpsc::UnboundedSender<Order>,
    folder: Folder,
}

impl Cluster {
    /// Starts it, and writes a kubeconfig for it into a new folder.
    pub(super) fn start(clock: &Clock, outlet: &Outlet) -> anyhow::Result<Self> {
        let sim = SimKube::new(Options {
            epoch: jiff::Timestamp::now(),
            seed: u64::from(std::process::id()),
            ..Options::default()
        });
        sim.set_observer(Arc::new(Recorder {
            clock: clock.clone(),
            outlet: outlet.clone(),
        }));
        let authority = Authority::new().context("cannot make certificates")?;
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on loopback")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let folder = Folder::make()?;
        folder.write_kubeconfig(&authority.kubeconfig(address))?;

        let (orders, given) = mpsc::unbounded_channel();
        let workload = Workload::new(sim.clone());
        let served = sim.clone();
        super::on_thread("cluster", outlet, clock, async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::select! {
                biased;
                served = served.serve(listener, &authority, "", std::future::pending()) => served?,
                () = workload.run(given) => {}
            }
            Ok(())
        })?;
        Ok(Self {
            sim,
            orders,
            folder,
        })
    }

    /// Where kubectl finds it.
    #[must_use]
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.folder.kubeconfig
    }

    /// Does something to the application. What is not there any more is left alone.
    pub(super) fn perform(&self, act: Act, leader: Option<&str>) {
        let opt = |value| {
            self.sim
                .annotate(Kind::Service, NAMESPACE, APP, ENABLED, value)
        };
        let order = |order| self.orders.send(order).is_ok();
        match (act, leader) {
            (Act::OptIn, _) => {
                // The user may have deleted it from the second terminal.
                make_service(&self.sim);
                opt(Some("true"))
            }
            (Act::OptOut, _) => opt(None),
            (Act::CrashLeader, Some(leader)) => order(Order::Crash(leader.into())),
            (Act::DeleteLeader, Some(leader)) => self.sim.delete(Kind::Pod, NAMESPACE, leader),
            (Act::CrashLeader | Act::DeleteLeader, None) => false,
            (Act::CrashAll, last) => order(Order::CrashAll {
                last: last.map(Into::into),
            }),
            (Act::Restore, _) => order(Order::Restore),
        };
    }

    /// Whether the Service is opted in.
    #[must_use]
    pub(super) fn is_opted_in(&self) -> bool {
        let service = self.sim.get(Kind::Service, NAMESPACE, APP);
        service.is_some_and(|service| is_opted_in(&service))
    }
}

fn is_opted_in(service: &Value) -> bool {
    service["metadata"]["annotations"][ENABLED] == "true"
}

/// Notes when the API server has stored what concerns the application: where latency counts from.
struct Recorder {
    clock: Clock,
    outlet: Outlet,
}

impl Observer for Recorder {
    fn committed(&self, change: &Committed<'_>) {
        let at = Duration::from_micros(self.clock.moment().0.unsigned_abs());
        let what = match change.kind {
            Kind::Pod => stored(change.old, change.new),
            Kind::Service => opted(change.old, change.new),
            _ => None,
        };
        if let Some(what) = what {
            // The receiver is gone once the demo ends.
            let _ = self.outlet.send(News { at, what });
        }
    }
}

fn stored(old: Option<&Value>, new: Option<&Value>) -> Option<What> {
    let uid = |object: &Value| Some(Uid::from(object["metadata"]["uid"].as_str()?));
    let Some(new) = new else {
        return Some(What::PodStored {
            uid: uid(old?)?,
            serves: false,
            ready: false,
        });
    };
    let pod: Pod = serde_json::from_value(new.clone()).ok()?;
    let has_address = pod.ips.of(Family::IPv4).is_some();
    let runs = pod.phase == PodPhase::Running;
    let is_selected = pod.labels.get("app") == Some(APP);
    Some(What::PodStored {
        serves: pod.ready && runs && has_address && is_selected && !pod.terminating,
        ready: pod.ready,
        uid: pod.uid,
    })
}

fn opted(old: Option<&Value>, new: Option<&Value>) -> Option<What> {
    let any = new.or(old)?;
    let is_ours = any["metadata"]["name"] == APP && any["metadata"]["namespace"] == NAMESPACE;
    is_ours.then(|| What::OptStored(new.is_some_and(is_opted_in)))
}

/// A folder that no other user can read; it is removed with this value.
struct Folder {
    path: PathBuf,
    kubeconfig: PathBuf,
}

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("zen-lead-demo-{}", std::process::id()));
        // Fails when it exists: another user who made it must not choose our API server.
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        let kubeconfig = path.join("kubeconfig");
        Ok(Self { path, kubeconfig })
    }

    fn write_kubeconfig(&self, text: &str) -> anyhow::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.kubeconfig)
            .with_context(|| format!("cannot write {}", self.kubeconfig.display()))?;
        Ok(file.write_all(text.as_bytes())?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is a file in the folder for temporary ones.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(edit: impl FnOnce(&mut Value)) -> Value {
        let mut pod = json!({
            "metadata": {"name": "my-app-0", "namespace": "default", "uid": "u", "labels": {"app": APP}},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}],
                       "conditions": [{"type": "Ready", "status": "True"}]},
        });
        edit(&mut pod);
        pod
    }

    #[test]
    fn what_counts_as_serving() {
        let says = |what: &str, new: Option<Value>, expected: (bool, bool)| {
            let old = pod(|_| {});
            let Some(What::PodStored { serves, ready, .. }) = stored(Some(&old), new.as_ref())
            else {
                panic!("{what}: it is a pod");
            };
            assert_eq!((serves, ready), expected, "{what}");
        };
        says("all well", Some(pod(|_| {})), (true, true));
        says("gone", None, (false, false));
        let ends = |pod: &mut Value| {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        };
        says("terminating", Some(pod(ends)), (false, true));
        let fails = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = "False".into();
        says("not ready", Some(pod(fails)), (false, false));
        let left = |pod: &mut Value| pod["metadata"]["labels"] = json!({});
        says("unlabelled", Some(pod(left)), (false, true));
        let lost = |pod: &mut Value| pod["status"]["podIPs"] = json!([]);
        says("no address", Some(pod(lost)), (false, true));
    }

    #[test]
    fn what_counts_as_opted_in() {
        let service = |name: &str, enabled: &str| {
            json!({"metadata": {"name": name, "namespace": NAMESPACE,
                   "annotations": {"zen-lead.io/enabled": enabled}}})
        };
        let yes = service(APP, "true");
        assert_eq!(opted(None, Some(&yes)), Some(What::OptStored(true)));
        let no = service(APP, "false");
        assert_eq!(opted(Some(&yes), Some(&no)), Some(What::OptStored(false)));
        assert_eq!(opted(Some(&yes), None), Some(What::OptStored(false)));
        assert_eq!(opted(None, Some(&service("other", "true"))), None);
    }
}
