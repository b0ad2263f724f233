//! The Lease changes hands in time, and its holder says so.

use simkube::Kind;

use super::host::Host;
use super::{Due, Stage};
use crate::event::LEASE_NS;

/// From the death of a holder to the next one, beyond the Lease's duration.
const TAKEN_AFTER_CRASH_MS: u64 = 1_000;
/// The same after a stop in good order, which releases the Lease.
const TAKEN_AFTER_STOP_MS: u64 = 200;

impl Stage {
    /// A holder has died or stopped, and others are well: one of them has to take over.
    pub(super) fn expect_take_over(&mut self, is_crash: bool) {
        if !self.hosts.iter().any(Host::is_up) {
            return;
        }
        let (ms, after) = if is_crash {
            (self.lease_ms + TAKEN_AFTER_CRASH_MS, "a crash")
        } else {
            (TAKEN_AFTER_STOP_MS, "a stop")
        };
        let faults = self.faults;
        self.after(ms, Due::TakenOver { after, faults });
    }

    pub(super) fn check_taken_over(&mut self, after: &str, faults: u64) -> Result<(), String> {
        if faults != self.faults {
            return Ok(());
        }
        self.count(format!("take-over after {after}"));
        if self.hosts.iter().any(Host::is_active) {
            Ok(())
        } else {
            Err(format!("no replica has taken over in time after {after}"))
        }
    }

    /// In peace one replica holds the Lease, and every replica says of itself what is so.
    pub(super) fn check_holder(&self) -> Result<(), String> {
        let active: Vec<&Host> = self.hosts.iter().filter(|host| host.is_active()).collect();
        let [holder] = active[..] else {
            return Err(format!("{} replicas are active in peace", active.len()));
        };
        let lease = self
            .kube
            .list(Kind::Lease, LEASE_NS)
            .pop()
            .unwrap_or_default();
        if !holder.holds(&lease) {
            return Err(format!(
                "{} is active, and the Lease says {}",
                holder.name, lease["spec"]
            ));
        }
        let mut hosts = self.hosts.iter();
        match hosts.find(|host| host.says_active() != host.is_active()) {
            Some(host) => Err(format!("zen_lead_is_active of {} is wrong", host.name)),
            None => Ok(()),
        }
    }
}
