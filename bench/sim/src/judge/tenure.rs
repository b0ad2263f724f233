//! Two replicas, one writer: which one may write, and what a deposed one may still bring about.

use simkube::{Committed, Kind, RequestInfo};
use tokio::time::Instant;

use super::ledger::Ledger;

impl Ledger {
    /// At no instant two replicas may write.
    pub(super) fn check_tenures(&self) -> Result<(), String> {
        let tenures = self.tenures.iter();
        let active: Vec<&str> = tenures
            .filter(|(_, tenure)| tenure.is_active())
            .map(|(client, _)| client.as_str())
            .collect();
        if let [holder] = active[..] {
            return self.check_term(holder);
        }
        // The Lease of the backup may name another replica, which then holds it as well. The versions guard
        // their writes.
        if active.is_empty() || self.is_restored_lately() {
            return Ok(());
        }
        Err(format!("{} may write, all at once", active.join(" and ")))
    }

    /// A replica that may write has asked for a renewal not long ago, and it was done: it counts from
    /// when it asked, since that is when others may begin to count.
    fn check_term(&self, holder: &str) -> Result<(), String> {
        let asked = self.renewed.get(holder);
        if asked.is_some_and(|asked| Instant::now() < *asked + self.renewal) {
            return Ok(());
        }
        Err(format!(
            "{holder} may write, and has asked for no renewal that was done within {:?}",
            self.renewal
        ))
    }

    /// Notes which replica renewed the Lease, and when it asked for it.
    pub(super) fn note_renewal(&mut self, change: &Committed<'_>) {
        let asked = change.request.and_then(|request| {
            let asked = self.asked.get(&request.number)?;
            Some((request.client.clone(), asked.at))
        });
        self.renewed.extend(asked);
    }

    fn is_active(&self, client: &str) -> bool {
        let tenure = self.tenures.get(client);
        tenure.is_some_and(zen_lead::shell::lease::WritePermit::is_active)
    }

    /// Only the holder of the Lease asks for writes; one that was held still for a moment may have
    /// asked itself before, once per object.
    pub(super) fn check_holds(
        &mut self,
        request: &RequestInfo,
        now: Instant,
    ) -> Result<(), String> {
        if request.kind == Some(Kind::Lease) || !self.tenures.contains_key(&request.client) {
            return Ok(());
        }
        if self.is_active(&request.client) {
            self.late.retain(|(client, ..)| *client != request.client);
            return Ok(());
        }
        if self.resumed.get(&request.client) == Some(&now) {
            return Ok(());
        }
        Err(format!(
            "{} asks to {} {:?} {} and does not hold the Lease",
            request.client,
            request.verb.name(),
            request.kind,
            request.name
        ))
    }

    /// A write was planned with all changes in view that others made to the object, and at most one
    /// late write per object of a deposed replica lands.
    pub(super) fn check_fence(
        &mut self,
        change: &Committed<'_>,
        request: &RequestInfo,
    ) -> Result<(), String> {
        let known = self.asked.get(&request.number).map(|asked| asked.rv);
        let old = change.old.and_then(|old| {
            let version = old["metadata"]["resourceVersion"].as_str()?;
            version.parse::<u64>().ok()
        });
        if let (Some(known), Some(old)) = (known, old)
            && old > known
        {
            return Err(format!(
                "{} {} by {} (request {}) overwrites version {old}, which is newer than the request",
                change.kind.name(),
                request.name,
                request.client,
                request.number
            ));
        }
        let is_fenced = matches!(change.kind, Kind::Service | Kind::EndpointSlice);
        if !is_fenced || self.is_active(&request.client) {
            return Ok(());
        }
        let object = (request.client.clone(), change.kind, request.name.clone());
        if !self.tenures.contains_key(&request.client) || self.late.insert(object) {
            return Ok(());
        }
        Err(format!(
            "{} {} by {}: more than one write after it was deposed",
            change.kind.name(),
            request.name,
            request.client
        ))
    }
}
