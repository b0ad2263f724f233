//! `zen-lead status`: one line for each source. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use super::events::CHANGED;
use super::report::ServiceReport;
use super::table;
use crate::logic::duration::Go;

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// The namespace first.
    pub(super) has_namespace: bool,
    /// All there is.
    pub(super) is_wide: bool,
}

impl Columns {
    fn headings(self) -> Vec<&'static str> {
        let mut headings = vec![
            "SERVICE",
            "LEADER SERVICE",
            "STATE",
            "LEADER",
            "SINCE",
            "ELIGIBLE",
            "LAST REASON",
        ];
        if self.has_namespace {
            headings.insert(0, "NAMESPACE");
        }
        if self.is_wide {
            headings.extend(["NEXT", "ADDRESS", "NODE", "STRATEGY", "FOLLOWERS", "NOTES"]);
        }
        headings
    }

    fn row(self, report: &ServiceReport, now: jiff::Timestamp) -> Vec<String> {
        let leader = report.leader.as_ref();
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let mut row = vec![
            report.service.to_string(),
            text(report.leader_service.as_deref()),
            state(report),
            text(leader.map(|leader| &*leader.pod)),
            leader
                .and_then(|leader| leader.since.as_deref())
                .map_or_else(|| "-".into(), |since| age(since, now)),
            format!("{}/{}", report.pods.eligible, report.pods.matching),
            text(report.last_reason.as_deref()),
        ];
        if self.has_namespace {
            row.insert(0, report.namespace.to_string());
        }
        if self.is_wide {
            let notes = report.problems.iter().chain(&report.pending);
            let notes: Vec<&str> = notes.map(String::as_str).collect();
            row.extend([
                text(report.next.as_deref()),
                text(leader.and_then(|leader| leader.address.as_deref())),
                text(leader.and_then(|leader| leader.node.as_deref())),
                strategy(report),
                report.followers.as_ref().map_or_else(
                    || "-".into(),
                    |followers| format!("{} by {}", followers.pods.len(), followers.service),
                ),
                if notes.is_empty() {
                    "-".into()
                } else {
                    notes.join("; ")
                },
            ]);
        }
        row
    }

    /// All lines, below their headings.
    pub(super) fn table(self, reports: &[ServiceReport], now: jiff::Timestamp) -> String {
        table::table(&self.headings(), &self.rows(reports, now))
    }

    /// All lines without the headings, as wide as they are below them.
    pub(super) fn lines(self, reports: &[ServiceReport], now: jiff::Timestamp) -> String {
        table::rows(&self.headings(), &self.rows(reports, now))
    }

    fn rows(self, reports: &[ServiceReport], now: jiff::Timestamp) -> Vec<Vec<String>> {
        reports.iter().map(|report| self.row(report, now)).collect()
    }
}

/// By what the leader is chosen.
fn strategy(report: &ServiceReport) -> String {
    match (&report.follow, report.follow_state) {
        (Some(follow), Some(state)) => format!("{follow} ({state})"),
        (Some(follow), None) => follow.clone(),
        (None, _) => report.strategy.into(),
    }
}

/// The state, with what stands out about it.
fn state(report: &ServiceReport) -> String {
    let mut state = report.state.to_owned();
    if report.paused {
        state += ",Paused";
    }
    if report.guarded {
        state += ",Guarded";
    } else if report.pending.is_some() {
        state += ",Pending";
    }
    if !report.problems.is_empty() {
        state += "!";
    }
    state
}

/// How long ago that was: `12s`, `5m`, `3h`, `9d`, as kubectl has it.
pub(super) fn age(since: &str, now: jiff::Timestamp) -> String {
    let Ok(since) = since.parse::<jiff::Timestamp>() else {
        return "?".into();
    };
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Whole seconds, in Go's form.
pub(super) fn span(span: Duration) -> String {
    Go(Duration::from_secs(span.as_secs())).to_string()
}

/// All sources as one object; see `docs/CLI.md`.
pub(super) fn list(reports: &[ServiceReport]) -> Value {
    json!({ "kind": "StatusList", "version": 1, "items": reports })
}

/// Why the last leader was left, from the text of the event that says so: what stands first in its
/// parentheses.
pub(super) fn reason_of(message: &str) -> Option<String> {
    let (_, change) = message.split_once(CHANGED)?;
    let (_, inside) = change.split_once('(')?;
    let (reason, _) = inside.split_once(',')?;
    let is_word = !reason.is_empty() && reason.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_word.then(|| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::report::{Count, FollowersReport, ShownLeader};
    use super::*;

    fn report() -> ServiceReport {
        ServiceReport {
            namespace: "shop".into(),
            service: "web".into(),
            leader_service: Some("web-leader".into()),
            state: "Serving",
            leader: Some(ShownLeader {
                pod: "web-0".into(),
                uid: "u0".into(),
                address: Some("10.0.0.1".into()),
                node: Some("n1".into()),
                since: Some("2026-01-01T00:00:00Z".into()),
            }),
            next: Some("web-1".into()),
            pods: Count {
                eligible: 2,
                matching: 3,
            },
            strategy: "oldest",
            sticky: true,
            paused: false,
            preferred_leader: None,
            follow: None,
            follow_state: None,
            last_reason: Some("notReady".into()),
            pending: None,
            guarded: false,
            refused: false,
            problems: Vec::new(),
            followers: Some(FollowersReport {
                service: "web-ro".into(),
                pods: vec!["web-1".into()],
            }),
        }
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn a_table_in_three_forms() {
        let empty = ServiceReport {
            service: "jobs".into(),
            leader_service: None,
            state: "Electing",
            leader: None,
            next: None,
            pods: Count {
                eligible: 0,
                matching: 0,
            },
            last_reason: None,
            paused: true,
            pending: Some("it waits".into()),
            problems: vec!["NoPodsFound: none".into()],
            ..report()
        };
        let reports = [report(), empty];
        let now = at("2026-01-01T00:03:12Z");
        let columns = |has_namespace, is_wide| Columns {
            has_namespace,
            is_wide,
        };
        assert_eq!(
            columns(false, false).table(&reports, now),
            "\
SERVICE   LEADER SERVICE   STATE                      LEADER   SINCE   ELIGIBLE   LAST REASON
web       web-leader       Serving                    web-0    3m      2/3        notReady
jobs      -                Electing,Paused,Pending!   -        -       0/0        -
"
        );
        assert_eq!(
            columns(true, true).table(&reports[..1], now),
            "\
NAMESPACE   SERVICE   LEADER SERVICE   STATE     LEADER   SINCE   ELIGIBLE   LAST REASON   NEXT    ADDRESS    NODE   STRATEGY   FOLLOWERS     NOTES
shop        web       web-leader       Serving   web-0    3m      2/3        notReady      web-1   10.0.0.1   n1     oldest     1 by web-ro   -
"
        );
        let following = ServiceReport {
            follow: Some("lease/web".into()),
            follow_state: Some("silent"),
            ..report()
        };
        let line = columns(false, true).lines(&[following], now);
        assert!(line.contains("lease/web (silent)"), "{line}");
        let line = columns(false, true).lines(&reports[1..], now);
        assert!(line.starts_with("jobs      -  "), "{line}");
        assert!(line.ends_with("NoPodsFound: none; it waits\n"), "{line}");
    }

    #[test]
    fn json_is_stable() {
        let expected = serde_json::json!({
            "kind": "StatusList",
            "version": 1,
            "items": [{
                "namespace": "shop", "service": "web", "leaderService": "web-leader",
                "state": "Serving",
                "leader": {"pod": "web-0", "uid": "u0", "address": "10.0.0.1", "node": "n1",
                           "since": "2026-01-01T00:00:00Z"},
                "next": "web-1", "pods": {"eligible": 2, "matching": 3}, "strategy": "oldest",
                "sticky": true, "paused": false, "preferredLeader": null,
                "follow": null, "followState": null,
                "lastReason": "notReady", "pending": null, "guarded": false, "problems": [],
                "followers": {"service": "web-ro", "pods": ["web-1"]},
            }],
        });
        assert_eq!(list(&[report()]), expected);
    }

    #[test]
    fn ages_as_kubectl_has_them() {
        for (now, expected) in [
            ("2026-01-01T00:00:00Z", "0s"),
            ("2025-12-31T00:00:00Z", "0s"),
            ("2026-01-01T00:01:59Z", "119s"),
            ("2026-01-01T00:02:00Z", "2m"),
            ("2026-01-01T02:00:00Z", "2h"),
            ("2026-01-03T00:00:00Z", "2d"),
        ] {
            assert_eq!(age("2026-01-01T00:00:00Z", at(now)), expected, "{now}");
        }
        assert_eq!(age("yesterday", at("2026-01-01T00:00:00Z")), "?");
    }

    #[test]
    fn reasons_are_read_from_the_controllers_own_words() {
        for (text, expected) in [
            (
                "Leader changed from a to b (notReady, 3.1 ms). Routing available at x",
                Some("notReady"),
            ),
            (
                "Leader changed from a to none (noneReady, 3.1 ms). No pod is eligible to lead (Ready)",
                Some("noneReady"),
            ),
            (
                "(combined from similar events): Leader changed from a to b (deleted, 3.1 ms). x",
                Some("deleted"),
            ),
            ("No pod is eligible to lead (Ready, not terminating)", None),
            ("Leader changed", None),
            ("x (3.1 ms)", None),
            ("x (, 3.1 ms)", None),
        ] {
            assert_eq!(reason_of(text).as_deref(), expected, "{text}");
        }
    }
}
