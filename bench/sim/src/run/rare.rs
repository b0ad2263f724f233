//! A restore of etcd, and parts of leader Services that admission refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use simkube::{Backup, Kind, Refusal, Verb};
use tokio::time::Instant;

use super::host::Host;
use super::{Due, Stage};
use crate::event::NS;
use crate::facts::text;
use crate::fault::Field;
use crate::oracle;

/// By this time after the server is back, a watch has compared its version with the server's twice, and
/// every Service is served again.
const NOTICED_MS: u64 = 20_000;
/// A replica that has not noticed the restore by this time, because of another fault, is restarted.
const REMEDY_MS: u64 = 60_000;
/// Before each watch has compared twice, a server that is back reaches fewer versions than this: 4 seconds
/// after it was back, fewer than 30 were measured. A watch that was shown no version beyond these may miss
/// the restore: decision 008.
const REACHED_MAX: u64 = 50;
/// After a fault, the next retry may be this far away.
const RETRIED: Duration = Duration::from_secs(30);
/// What follows from an event is done after this time.
const STILL: Duration = Duration::from_secs(10);
/// What each replica watches.
const WATCHED: [Kind; 4] = [Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Lease];

/// A fault that is looked at when it is over, if it was the only one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// The number of faults with this one.
    faults: u64,
    /// The end of those before it.
    troubled: Instant,
    /// When it began.
    at: Instant,
}

/// A backup of etcd.
pub(super) struct Saved {
    version: u64,
    backup: Backup,
    /// The lives of the hosts when the server ended.
    lives: Vec<Option<u64>>,
}

/// A part of the leader Services that is refused.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    field: Field,
    mark: Mark,
    /// Whether a change of it was refused.
    is_hit: Arc<AtomicBool>,
}

impl Stage {
    /// A fault begins, after these troubles.
    pub(super) fn mark(&self, troubled: Instant) -> Mark {
        Mark {
            faults: self.faults,
            troubled,
            at: Instant::now(),
        }
    }

    /// Whether all that is seen now comes from that fault alone.
    fn is_alone(&self, mark: Mark) -> bool {
        let now = Instant::now();
        mark.faults == self.faults
            && mark.troubled + RETRIED <= now
            && self.stirred + STILL <= now
            && self.hosts.iter().all(Host::is_up)
    }

    /// A backup is made.
    pub(super) fn back_up(&mut self) {
        self.saved = Some(Saved {
            version: self.kube.resource_version(),
            backup: self.kube.backup(),
            lives: Vec::new(),
        });
    }

    /// The server ends, and is not seen again as it was.
    pub(super) fn shut_down(&mut self, for_ms: u64, mark: Mark) {
        let lives = self.hosts.iter().map(Host::life).collect();
        if let Some(saved) = &mut self.saved {
            saved.lives = lives;
        }
        for kind in Kind::ALL {
            self.kube.break_watches(kind);
        }
        self.after(for_ms, Due::Restore(mark));
    }

    /// The server is back, with the backup.
    pub(super) fn restore(&mut self, mark: Mark) {
        let Some(saved) = &self.saved else {
            return;
        };
        let lost = self.kube.resource_version();
        let line = format!("back from version {lost} to {}", saved.version);
        self.trace.say(&line);
        self.judge.restored();
        self.kube.restore(&saved.backup);
        self.after(NOTICED_MS, Due::Noticed(mark));
        self.after(REMEDY_MS, Due::Remedy);
    }

    /// The hosts on which a watch that was shown this version of the lost history has not noticed the
    /// restore.
    fn unaware(&self, beyond: u64) -> Vec<usize> {
        let Some(saved) = &self.saved else {
            return Vec::new();
        };
        let is_unaware = |host: &Host, life: Option<u64>| {
            let mut kinds = WATCHED.into_iter();
            host.is_up()
                && host.life() == life
                && kinds.any(|kind| {
                    let shown = self.judge.shown_before_restore(host.name, kind);
                    shown > saved.version + beyond && !host.has_noticed(kind)
                })
        };
        let hosts = self.hosts.iter().zip(&saved.lives).enumerate();
        hosts
            .filter(|(_, (host, life))| is_unaware(host, **life))
            .map(|(at, _)| at)
            .collect()
    }

    /// Each replica has noticed by now, and every Service is served again.
    pub(super) fn check_noticed(&mut self, mark: Mark) -> Result<(), String> {
        if !self.is_alone(mark) || mark.at < mark.troubled + STILL {
            return Ok(());
        }
        if let Some(host) = self.unaware(REACHED_MAX).first() {
            let name = self.hosts[*host].name;
            return Err(format!("{name} has not noticed that etcd was restored"));
        }
        self.count("looks after a restore".into());
        oracle::check(&self.kube, &self.judge).map_err(|what| format!("after a restore: {what}"))
    }

    /// A replica that could not notice is restarted, as an operator does.
    pub(super) async fn remedy(&mut self) {
        let unaware = self.unaware(0);
        if unaware.is_empty() {
            self.count("restore noticed".into());
        }
        for host in unaware {
            self.count("restart after a restore".into());
            self.faults += 1;
            self.crash(host, 0).await;
        }
    }

    /// Admission refuses what changes this part of the present leader Services.
    pub(super) fn freeze(&mut self, field: Field, what: String, mark: Mark) {
        let services = self.kube.list(Kind::Service, NS);
        let parts: BTreeMap<String, Value> = services
            .iter()
            .filter(|service| self.judge.made(service))
            .map(|service| (text(&service["metadata"]["uid"]), part(field, service)))
            .collect();
        let is_hit = Arc::new(AtomicBool::new(false));
        self.frozen = Some(Frozen {
            field,
            mark,
            is_hit: Arc::clone(&is_hit),
        });
        let (judge, trace) = (Arc::clone(&self.judge), self.trace.clone());
        let refuse = move |verb: Verb, kind: Kind, object: &Value| {
            if kind != Kind::Service || verb == Verb::Delete {
                return None;
            }
            let before = parts.get(&text(&object["metadata"]["uid"]))?;
            (part(field, object) != *before).then(|| {
                is_hit.store(true, Ordering::Relaxed);
                trace.count(what.clone());
                judge.hurt(None);
                Refusal {
                    message: format!("{field:?} must not change"),
                    forbidden: false,
                }
            })
        };
        self.kube.set_admission(Some(Arc::new(refuse)));
    }

    /// What is refused holds up nothing else. Then it is let through.
    pub(super) fn thaw(&mut self, mark: Mark) -> Result<(), String> {
        let is_last = |frozen: &mut Frozen| frozen.mark.faults == mark.faults;
        let Some(frozen) = self.frozen.take_if(is_last) else {
            return Ok(());
        };
        self.kube.set_admission(None);
        if !self.is_alone(mark) || !frozen.is_hit.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.count(format!("look, {:?} refused", frozen.field));
        oracle::check_refused(&self.kube, &self.judge)
            .map_err(|what| format!("while a part is refused: {what}"))
    }
}

fn part(field: Field, service: &Value) -> Value {
    let meta = &service["metadata"];
    match field {
        Field::Ports => {
            let ports = service["spec"]["ports"].as_array();
            let plain = ports.into_iter().flatten();
            plain
                .map(|port| json!([port["name"], port["port"], port["targetPort"]]))
                .collect()
        }
        Field::Type => service["spec"]["type"].clone(),
        Field::Labels => meta["labels"]["color"].clone(),
        Field::Annotations => meta["annotations"]["team"].clone(),
    }
}
