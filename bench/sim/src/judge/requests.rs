//! Requests: guarded, never against our own answers, and no more than what has a cause.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use simkube::{Kind, Record, RequestInfo, Verb};
use tokio::time::Instant;

use super::ECHO;
use super::ledger::Ledger;

/// How long an object's requests are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Requests that one object may take in a window in which nothing happens: a decision of a timer
/// (three), and the retries of a back-off that starts again (20 ms, 500 ms, then seconds).
const REQUESTS_IDLE: usize = 12;
/// A change can cause two decisions, one at once and one by a timer, of three requests each.
const REQUESTS_PER_CHANGE: usize = 6;
/// A request that went wrong is made again, and a conflict is looked into.
const REQUESTS_PER_FAULT: usize = 3;
/// Faults that count in a window: each delays the next attempt, from 20 ms to seconds.
const FAULTS_MAX: usize = 6;
/// Requests of one client at one moment; more is a loop that waits for nothing.
const AT_ONCE_MAX: u32 = 500;

impl Ledger {
    /// Looks through all requests in the end.
    pub(super) fn check_requests(&self, all: &[Record]) -> Result<(), String> {
        let mut answered: BTreeMap<(&str, Kind, &str), u64> = BTreeMap::new();
        for record in all {
            if self.lives.contains(&record.number) {
                answered.retain(|(client, ..), _| *client != record.client);
            }
            if record.kind == Some(Kind::Lease) {
                check_guard(record)?;
            }
            let Some(kind @ (Kind::Service | Kind::EndpointSlice)) =
                record.kind.filter(|_| record.is_write())
            else {
                continue;
            };
            check_guard(record)?;
            let object = (record.client.as_str(), kind, record.name.as_str());
            // Two sources may ask for the same name at the same moment.
            let is_create = record.verb == Verb::Create;
            if record.status == 409 && !is_create && !self.hurt.contains(&record.number) {
                self.check_race(record, answered.get(&object).copied())?;
            }
            let is_answered =
                (200..300).contains(&record.status) && !self.hurt.contains(&record.number);
            if is_answered {
                answered.insert(object, record.number);
            } else {
                answered.remove(&object);
            }
        }
        Ok(())
    }

    /// No replica loses a race against itself: the answer to a write is a fact.
    fn check_race(&self, record: &Record, answered: Option<u64>) -> Result<(), String> {
        let Some(kind) = record.kind else {
            return Ok(());
        };
        let writers = self
            .writers
            .get(&(kind, record.name.clone()))
            .map_or(&[][..], Vec::as_slice);
        let before = writers
            .iter()
            .rfind(|(at, _)| *at < record.number)
            .map(|(_, by)| *by);
        match (before, answered) {
            (Some(Some(by)), Some(answered)) if by == answered => Err(format!(
                "{} {} (request {}) conflicts with request {by}, whose answer had come",
                record.verb.name(),
                record.name,
                record.number
            )),
            _ => Ok(()),
        }
    }

    /// Time goes on between requests.
    pub(super) fn check_pace(&mut self, now: Instant) -> Result<(), String> {
        let (at, count) = self.pace.filter(|(at, _)| *at == now).unwrap_or((now, 0));
        self.pace = Some((at, count + 1));
        if count < AT_ONCE_MAX {
            return Ok(());
        }
        Err(format!("more than {AT_ONCE_MAX} requests at one moment"))
    }

    /// Requests for one object are bounded by what can have caused them.
    pub(super) fn check_budget(
        &mut self,
        request: &RequestInfo,
        now: Instant,
    ) -> Result<(), String> {
        let since = |times: &[Instant], window: Duration| {
            let times = times.iter().rev();
            times.take_while(|at| now < **at + window).count()
        };
        let changes = self.changes.iter().rev();
        let changes = changes
            .take_while(|(at, _)| now < *at + ECHO)
            .filter(|(_, by)| by.as_ref() != Some(&request.client))
            .count();
        let faults = since(&self.faults, WINDOW).min(FAULTS_MAX);
        let all = self
            .requests
            .entry((request.client.clone(), request.kind, request.name.clone()))
            .or_default();
        all.push(now);
        let count = since(all, WINDOW);
        let allowed = REQUESTS_IDLE + REQUESTS_PER_CHANGE * changes + REQUESTS_PER_FAULT * faults;
        if count <= allowed {
            return Ok(());
        }
        Err(format!(
            "{count} writes of {:?} {} within {WINDOW:?}, of which {allowed} can have a cause ({changes} changes, {faults} faults)",
            request.kind, request.name
        ))
    }
}

/// Writes are fenced by the version that they were planned against.
fn check_guard(record: &Record) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    let is_guarded = match record.verb {
        Verb::Patch => body[0]["op"] == "replace" && body[0]["path"] == "/metadata/resourceVersion",
        Verb::Delete => {
            body["preconditions"]["resourceVersion"].is_string()
                && body["preconditions"]["uid"].is_string()
        }
        _ => true,
    };
    if is_guarded {
        Ok(())
    } else {
        Err(format!(
            "{} {} is not guarded: {body}",
            record.verb.name(),
            record.name
        ))
    }
}
