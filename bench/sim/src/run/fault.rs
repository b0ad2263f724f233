//! Faults as they begin, and the lives of the controllers.

use std::time::Duration;

use simkube::{Kind, Rule};
use tokio::time::Instant;

use super::kubelet::lead;
use super::rare::Mark;
use super::{Due, Stage};
use crate::event::LEASE_NS;
use crate::fault::{Fault, Whom};

impl Stage {
    /// `is_calm`: before it, nothing was wrong for a while.
    pub(super) async fn fault(
        &mut self,
        fault: &Fault,
        is_calm: bool,
        mark: Mark,
    ) -> Result<(), String> {
        let what = fault.kind();
        // Silent nodes are what is looked for, everything else may hide them.
        if !matches!(fault, Fault::Silence { .. } | Fault::Mute { .. }) {
            let lasts = Duration::from_millis(fault.lasts_ms());
            self.judge.trouble(Instant::now() + lasts);
        }
        match *fault {
            Fault::Requests { .. } | Fault::Frames { .. } | Fault::Lag { .. } => {
                self.troubles.begin(fault, None);
            }
            Fault::Mute { app, for_ms } => {
                self.count(format!("fault {what}"));
                self.electors.mute(app, for_ms);
            }
            Fault::NoLeases { .. } => {
                self.count(format!("fault {what}"));
                self.troubles.begin(fault, None);
                self.kube.break_watches(Kind::Lease);
            }
            Fault::Silence { nodes, for_ms } => {
                if lead(&self.kube, nodes) {
                    self.count(format!("fault {what}"));
                }
                self.kubelets.silence(nodes, for_ms);
            }
            Fault::Blackout { kind, for_ms } => {
                self.count(format!("fault {what}"));
                self.troubles.begin(fault, None);
                self.after(for_ms, Due::Forget(kind));
            }
            Fault::Partition { whom, .. } => {
                let host = self.host(whom);
                self.count(format!("fault {what}"));
                self.troubles.begin(fault, Some(self.hosts[host].name));
            }
            Fault::ServerRestart { for_ms } => {
                self.count(format!("fault {what}"));
                self.troubles.begin(fault, None);
                for kind in Kind::ALL {
                    self.kube.break_watches(kind);
                }
                self.after(for_ms, Due::Forget(Kind::Pod));
            }
            Fault::Restore { for_ms, .. } => {
                self.count(format!("fault {what}"));
                self.troubles.begin(fault, None);
                self.shut_down(for_ms, mark);
            }
            Fault::Freeze { field, for_ms } => {
                self.freeze(field, format!("fault {what}"), mark);
                self.after(for_ms, Due::Thaw(mark));
            }
            Fault::CrashInRequest { whom, .. } => {
                let host = &self.hosts[self.host(whom)];
                if host.is_up() {
                    self.troubles.begin(fault, Some(host.name));
                }
            }
            Fault::Forbid {
                verb,
                resource,
                for_ms,
            } => {
                self.count(format!("fault {what}"));
                self.judge.forbidden();
                let until = Instant::now() + Duration::from_millis(for_ms);
                self.denied.push((until, Rule::new(verb, resource, "")));
                self.deny();
                self.after(for_ms, Due::Allow);
            }
            Fault::Compact => {
                self.count(format!("fault {what}"));
                self.kube.compact_to_now();
            }
            Fault::Unwatch { kind, broken } => {
                self.count(format!("fault {what}"));
                if broken {
                    self.kube.break_watches(kind);
                } else {
                    self.kube.close_watches(kind);
                }
            }
            Fault::Pause { whom, for_ms } => {
                let host = self.host(whom);
                if self.hosts[host].is_up() {
                    self.count(format!("fault {what}"));
                    self.hosts[host].pause();
                    self.after(for_ms, Due::Resume(host));
                }
            }
            Fault::Jump { whom, by_s } => {
                self.count(format!("fault {what}"));
                self.judge.wall_jumped();
                self.hosts[self.host(whom)].wall.jump(by_s);
            }
            Fault::Crash { whom, down_ms } => {
                let host = self.host(whom);
                if self.hosts[host].is_up() {
                    self.count(format!("fault {what}"));
                    let is_holder = self.hosts[host].is_active();
                    self.crash(host, down_ms).await;
                    if is_calm && is_holder {
                        self.expect_take_over(true);
                    }
                }
            }
            Fault::Restart { whom, down_ms } => {
                let host = self.host(whom);
                if self.hosts[host].is_up() {
                    self.count(format!("fault {what}"));
                    let is_holder = self.hosts[host].is_active();
                    self.hosts[host].stop().await?;
                    self.judge.serves(self.hosts[host].name, None);
                    self.after(down_ms, Due::Start(host));
                    if is_calm && is_holder {
                        self.expect_take_over(false);
                    }
                }
            }
        }
        Ok(())
    }

    /// The replica that a fault means at the moment: without a holder of the Lease it is the first.
    fn host(&self, whom: Whom) -> usize {
        match whom {
            Whom::Number(number) => usize::from(number) % self.hosts.len(),
            Whom::Holder => {
                let lease = self
                    .kube
                    .list(Kind::Lease, LEASE_NS)
                    .pop()
                    .unwrap_or_default();
                let holder = self.hosts.iter().position(|host| host.holds(&lease));
                holder.unwrap_or(0)
            }
        }
    }

    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].is_up() {
            return;
        }
        self.judge.born(self.hosts[host].name);
        let life = self.hosts[host].start(&self.kube);
        let name = self.hosts[host].name;
        self.judge.serves(name, self.hosts[host].tenure());
        self.trace.say(&format!("{name} starts, life {life}"));
    }

    pub(super) fn resume(&mut self, host: usize) {
        self.trace
            .say(&format!("{} goes on", self.hosts[host].name));
        self.judge.goes_on(self.hosts[host].name);
        self.hosts[host].resume();
    }

    pub(super) async fn crash(&mut self, host: usize, down_ms: u64) {
        self.trouble_for(down_ms);
        self.judge.trouble(Instant::now());
        self.trace
            .say(&format!("{} crashes", self.hosts[host].name));
        self.hosts[host].crash().await;
        self.judge.serves(self.hosts[host].name, None);
        self.after(down_ms, Due::Start(host));
    }

    /// Those that die in a request.
    pub(super) async fn bury(&mut self) {
        for (name, down_ms) in self.troubles.dead() {
            if let Some(host) = self.hosts.iter().position(|host| host.name == name) {
                self.faults += 1;
                self.crash(host, down_ms).await;
            }
        }
    }
}
