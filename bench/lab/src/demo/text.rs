//! The demo in plain lines, and its summary. Pure.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zen_lead::logic::duration::Brief;

use super::model::{Kind, Model, Move};
use super::news::{At, Told};
use super::story::{Outcome, SCENES, Scene, Story};
use super::{APP, LEADER};

/// Lines for a second terminal; the last ones end the leader's pod.
#[must_use]
pub(super) fn hints(kubeconfig: &Path, leader: Option<&str>) -> Vec<String> {
    let leader = leader.map_or_else(|| format!("{APP}-0"), str::to_owned);
    vec![
        format!("export KUBECONFIG={}", kubeconfig.display()),
        format!("kubectl get endpointslices -l kubernetes.io/service-name={LEADER} -w"),
        "kubectl get pods,services,events".into(),
        format!("kubectl delete pod {leader}"),
    ]
}

/// What is said before anything else.
#[must_use]
pub(super) fn opening() -> String {
    "zen-lead demo: the real controller, a simulated API server, three simulated pods\n".into()
}

/// How to look at it from outside.
#[must_use]
pub(super) fn invitation(kubeconfig: &Path) -> String {
    let mut text = String::from("\nTry these beside it, in a second terminal:\n");
    for line in hints(kubeconfig, None) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// A scene begins.
#[must_use]
pub(super) fn scene(number: usize, scene: &Scene) -> String {
    format!(
        "\n{number}/{} {}: {}\n",
        SCENES.len(),
        scene.title,
        scene.text
    )
}

/// A change of the route.
#[must_use]
pub(super) fn change(change: &Move) -> String {
    let mut text = format!("{} leader {}", time(change.at), arrow(change));
    if let Some(latency) = change.latency {
        let _ = write!(text, " after {}", Brief(latency));
    }
    if change.kind == Kind::Failover && change.from_ready {
        let _ = write!(text, ", while {} still serves", name(change.from.as_ref()));
    }
    text + "\n"
}

/// An Event.
#[must_use]
pub(super) fn event(at: At, told: &Told) -> String {
    let kind = if told.is_warning { "Warning " } else { "" };
    let message = printable(&told.message);
    format!(
        "{} event  {kind}{}: {message}\n",
        time(at),
        printable(&told.reason)
    )
}

/// A scene did not come out.
#[must_use]
pub(super) fn missed(outcome: &Outcome) -> String {
    format!(
        "{}: what was expected did not come; did another client change something?\n",
        outcome.title
    )
}

/// What it all came to.
#[must_use]
pub(super) fn summary(model: &Model, story: &Story) -> String {
    let mut text = String::from("\n");
    if !story.outcomes.is_empty() {
        let _ = writeln!(text, "{:<22}{:<28}latency", "step", "what the client saw");
    }
    for Outcome { title, seen } in &story.outcomes {
        let (seen, latency) = match seen {
            Some(seen) => (arrow(seen), seen.latency),
            None => ("nothing".into(), None),
        };
        let latency = latency.map_or_else(|| "-".into(), |latency| Brief(latency).to_string());
        let _ = writeln!(text, "{title:<22}{seen:<28}{latency}");
    }
    if let Some(latencies) = model.latencies() {
        let _ = writeln!(
            text,
            "\nfailovers: {}, latency median {}, worst {}",
            latencies.count,
            Brief(latencies.median),
            Brief(latencies.max),
        );
        text += "Latency: from the moment the API server had stored the change of the pod, until a\n\
                 watching client had the changed EndpointSlice; over TLS and HTTP/2 on loopback.\n";
    }
    if !story.outcomes.is_empty() {
        let _ = writeln!(
            text,
            "{} of {} steps as expected",
            story.succeeded(),
            SCENES.len()
        );
    }
    text
}

/// `a -> b`; an absent leader is `none`.
#[must_use]
pub(super) fn arrow(change: &Move) -> String {
    let to = match change.kind {
        Kind::Withdrawn => "all gone",
        _ => name(change.to.as_ref()),
    };
    format!("{} -> {to}", name(change.from.as_ref()))
}

fn name(pod: Option<&Arc<str>>) -> &str {
    pod.map_or("none", |pod| pod)
}

/// Seconds since the start, in a column.
#[must_use]
pub(super) fn time(at: At) -> String {
    format!("{:>6.1} s", seconds(at))
}

fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}

/// What others wrote, without anything that a terminal would act upon.
#[must_use]
pub(super) fn printable(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failover() -> Move {
        Move {
            at: Duration::from_millis(12_340),
            kind: Kind::Failover,
            from: Some("my-app-0".into()),
            to: Some("my-app-1".into()),
            latency: Some(Duration::from_micros(3_100)),
            from_ready: true,
        }
    }

    #[test]
    fn changes_in_a_line() {
        let still = Move {
            from_ready: false,
            latency: None,
            ..failover()
        };
        let loss = Move {
            kind: Kind::Loss,
            to: None,
            ..failover()
        };
        let withdrawn = Move {
            kind: Kind::Withdrawn,
            ..loss.clone()
        };
        for (of, expected) in [
            (
                failover(),
                "  12.3 s leader my-app-0 -> my-app-1 after 3.1 ms, while my-app-0 still serves\n",
            ),
            (still, "  12.3 s leader my-app-0 -> my-app-1\n"),
            (loss, "  12.3 s leader my-app-0 -> none after 3.1 ms\n"),
            (
                withdrawn,
                "  12.3 s leader my-app-0 -> all gone after 3.1 ms\n",
            ),
        ] {
            assert_eq!(change(&of), expected);
        }
    }

    #[test]
    fn events_cannot_steer_the_terminal() {
        let told = Told {
            is_warning: true,
            reason: "InvalidAnnotation".into(),
            message: "got \u{1b}[2J\nand \u{9b}more".into(),
        };
        assert_eq!(
            event(Duration::from_secs(3), &told),
            "   3.0 s event  Warning InvalidAnnotation: got ?[2J?and ?more\n"
        );
    }

    #[test]
    fn the_summary_counts_what_was_seen() {
        let mut model = Model::default();
        let mut story = Story::new(Duration::ZERO);
        assert_eq!(summary(&model, &story), "\n", "nothing was done");
        model.moves.push(failover());
        story.outcomes = vec![
            Outcome {
                title: "crash failover",
                seen: Some(failover()),
            },
            Outcome {
                title: "none ready",
                seen: None,
            },
        ];
        assert_eq!(
            summary(&model, &story),
            "
step                  what the client saw         latency
crash failover        my-app-0 -> my-app-1        3.1 ms
none ready            nothing                     -

failovers: 1, latency median 3.1 ms, worst 3.1 ms
Latency: from the moment the API server had stored the change of the pod, until a
watching client had the changed EndpointSlice; over TLS and HTTP/2 on loopback.
1 of 6 steps as expected
"
        );
    }
}
