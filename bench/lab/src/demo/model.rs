//! What has been seen so far, and how long it took. Pure: time comes with the news.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use zen_lead::logic::model::Uid;

use super::news::Route::{Absent, Empty, To};
use super::news::{At, News, PodSeen, Route, Stage, Told, What};

/// Events that are kept; more than any screen shows.
const EVENTS_KEPT: usize = 100;
/// Columns of the timeline that are kept; more than any screen is wide.
const COLUMNS_KEPT: usize = 500;
/// What the server stored of a pod that has been gone for so long is forgotten.
const STORED_KEPT: Duration = Duration::from_mins(1);

/// Everything that has been seen.
#[derive(Default)]
pub(super) struct Model {
    /// The pods, by name.
    pub(super) pods: Vec<PodSeen>,
    /// Where clients get to.
    pub(super) route: Route,
    /// Since when they get there.
    pub(super) routed_since: At,
    /// Name and address of the leader Service.
    pub(super) leader_service: Option<(Arc<str>, Arc<str>)>,
    /// State of the controller's machine.
    pub(super) state: String,
    /// Why the demo cannot go on.
    pub(super) broken: Option<String>,
    /// Whether the controller has seen everything once.
    pub(super) is_synced: bool,
    /// Every change of the route, in order.
    pub(super) moves: Vec<Move>,
    /// The last Events.
    pub(super) events: VecDeque<(At, Told)>,
    /// What it was like at regular intervals, the latest last.
    pub(super) timeline: VecDeque<Column>,
    stored: BTreeMap<Uid, Stored>,
    opted: Option<(bool, At)>,
    /// Whether a pod has led since there was no slice.
    has_led: bool,
}

/// A change of the route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// When a watching client saw it.
    pub(super) at: At,
    /// What it means.
    pub(super) kind: Kind,
    /// The pod that was left.
    pub(super) from: Option<Arc<str>>,
    /// The pod that is led to.
    pub(super) to: Option<Arc<str>>,
    /// From the moment at which the API server had stored what made it necessary and possible, to
    /// `at`; none when no pod gave a reason, as in a planned switchover.
    pub(super) latency: Option<Duration>,
    /// Whether the pod that was left was still Ready at that moment.
    pub(super) from_ready: bool,
}

/// What a change of the route means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// From nothing to the first leader.
    First,
    /// From one pod to another.
    Failover,
    /// From a pod to no leader.
    Loss,
    /// From no leader to a pod.
    Recovery,
    /// The slice is gone.
    Withdrawn,
}

/// One column of the timeline: what there was of each pod name.
pub(super) type Column = Vec<(Arc<str>, Mark)>;

/// What there was of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was led to.
    Leads,
    /// It could have been.
    Ready,
    /// It could not.
    NotReady,
    /// It was on its way out.
    Terminating,
}

/// What the server has stored of a pod.
#[derive(Clone, Copy, Debug)]
struct Stored {
    serves: bool,
    /// Since when it has served, or not.
    since: At,
    ready: bool,
}

/// Latencies of the failovers so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latencies {
    /// Failovers that a pod gave a reason for.
    pub(super) count: usize,
    /// Of the latest.
    pub(super) last: Duration,
    /// Half of them took no longer.
    pub(super) median: Duration,
    /// Of the slowest.
    pub(super) max: Duration,
}

impl Model {
    /// Takes note of what happened.
    pub(super) fn learn(&mut self, news: News) {
        let News { at, what } = news;
        match what {
            What::PodStored { uid, serves, ready } => self.store(uid, serves, ready, at),
            What::OptStored(is_in) => {
                if self.opted.is_none_or(|(was_in, _)| was_in != is_in) {
                    self.opted = Some((is_in, at));
                }
            }
            What::Synced => self.is_synced = true,
            What::State(state) => self.state = state,
            What::Pods(pods) => {
                self.pods = pods;
                self.forget(at);
            }
            What::Route(route) => self.follow(route, at),
            What::LeaderService(service) => self.leader_service = service,
            What::Broken(why) => self.broken = Some(why),
            What::Told(told) => {
                if self.events.len() >= EVENTS_KEPT {
                    self.events.pop_front();
                }
                self.events.push_back((at, told));
            }
        }
    }

    /// Adds a column to the timeline.
    pub(super) fn sample(&mut self) {
        let leader = match &self.route {
            To { uid, .. } => Some(uid),
            Absent | Empty => None,
        };
        let column = self.pods.iter().map(|pod| {
            let mark = match pod.stage {
                _ if leader == Some(&pod.uid) => Mark::Leads,
                Stage::Ready => Mark::Ready,
                Stage::NotReady => Mark::NotReady,
                Stage::Terminating => Mark::Terminating,
            };
            (Arc::clone(&pod.name), mark)
        });
        let column = column.collect();
        if self.timeline.len() >= COLUMNS_KEPT {
            self.timeline.pop_front();
        }
        self.timeline.push_back(column);
    }

    /// How many pods are Ready and stay.
    #[must_use]
    pub(super) fn ready(&self) -> usize {
        let ready = self.pods.iter().filter(|pod| pod.stage == Stage::Ready);
        ready.count()
    }

    /// The latest failover.
    #[must_use]
    pub(super) fn last_failover(&self) -> Option<&Move> {
        self.failovers().next_back()
    }

    /// All failovers.
    pub(super) fn failovers(&self) -> impl DoubleEndedIterator<Item = &Move> {
        let moves = self.moves.iter();
        moves.filter(|change| change.kind == Kind::Failover)
    }

    /// How long the failovers took; none before the first.
    #[must_use]
    pub(super) fn latencies(&self) -> Option<Latencies> {
        let mut all: Vec<Duration> = self
            .failovers()
            .filter_map(|change| change.latency)
            .collect();
        let last = *all.last()?;
        all.sort_unstable();
        Some(Latencies {
            count: all.len(),
            last,
            median: all[(all.len() - 1) / 2],
            max: all[all.len() - 1],
        })
    }

    fn store(&mut self, uid: Uid, serves: bool, ready: bool, at: At) {
        let same = self.stored.get(&uid).filter(|was| was.serves == serves);
        let since = same.map_or(at, |was| was.since);
        let stored = Stored {
            serves,
            since,
            ready,
        };
        self.stored.insert(uid, stored);
    }

    fn forget(&mut self, now: At) {
        let pods = &self.pods;
        self.stored.retain(|uid, stored| {
            let is_there = pods.iter().any(|pod| pod.uid == *uid);
            is_there || now.saturating_sub(stored.since) < STORED_KEPT
        });
    }

    fn follow(&mut self, route: Route, at: At) {
        let kind = match (&self.route, &route) {
            (Absent | Empty, To { .. }) if !self.has_led => Kind::First,
            (Absent | Empty, To { .. }) => Kind::Recovery,
            (To { uid: from, .. }, To { uid: to, .. }) if from != to => Kind::Failover,
            (To { .. }, Empty) => Kind::Loss,
            (To { .. } | Empty, Absent) => Kind::Withdrawn,
            // The first slice has no endpoint yet, or the same pod has another address.
            _ => {
                self.route = route;
                return;
            }
        };
        let before = std::mem::replace(&mut self.route, route);
        self.routed_since = at;
        self.has_led = self.route != Absent;
        let left = self.left(&before);
        self.moves.push(Move {
            at,
            kind,
            from: before.pod().cloned(),
            to: self.route.pod().cloned(),
            latency: self
                .cause(kind, &before)
                .map(|since| at.saturating_sub(since)),
            from_ready: left.is_some_and(|stored| stored.ready),
        });
    }

    fn left(&self, route: &Route) -> Option<Stored> {
        match route {
            To { uid, .. } => self.stored.get(uid).copied(),
            Absent | Empty => None,
        }
    }

    /// When the server had stored what made a change necessary and possible.
    fn cause(&self, kind: Kind, before: &Route) -> Option<At> {
        let ended = || self.left(before).filter(|was| !was.serves);
        let began = || self.left(&self.route).filter(|is| is.serves);
        let asked = |wanted| self.opted.filter(|(is_in, _)| *is_in == wanted);
        match kind {
            Kind::First => Some(asked(true)?.1.max(began()?.since)),
            Kind::Failover => Some(ended()?.since.max(began()?.since)),
            Kind::Loss => Some(ended()?.since),
            Kind::Recovery => Some(began()?.since),
            Kind::Withdrawn => Some(asked(false)?.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> At {
        Duration::from_millis(count)
    }

    fn to(name: &str, uid: &str) -> What {
        What::Route(To {
            pod: name.into(),
            uid: uid.into(),
            ip: "10.0.0.1".into(),
        })
    }

    fn stored(uid: &str, serves: bool, ready: bool) -> What {
        What::PodStored {
            uid: uid.into(),
            serves,
            ready,
        }
    }

    fn after(news: Vec<(u64, What)>) -> Model {
        let mut model = Model::default();
        for (at, what) in news {
            model.learn(News { at: ms(at), what });
        }
        model
    }

    /// The last move in a few words.
    fn last(news: Vec<(u64, What)>) -> String {
        let model = after(news);
        let Some(change) = model.moves.last() else {
            return "none".into();
        };
        let name = |pod: &Option<Arc<str>>| pod.as_deref().unwrap_or("-").to_owned();
        format!(
            "{:?} {}>{} {:?} {}",
            change.kind,
            name(&change.from),
            name(&change.to),
            change.latency,
            if change.from_ready { "ready" } else { "" }
        )
    }

    #[test]
    fn latency_counts_from_what_made_it_possible() {
        const FIRST: &str = "First ->a Some(3ms) ";
        let rows = [
            ("opted in", vec![], FIRST),
            (
                "readiness fails",
                vec![(20, stored("a", false, false)), (22, to("b", "b"))],
                "Failover a>b Some(2ms) ",
            ),
            (
                "it terminates and still serves",
                vec![
                    (20, stored("a", false, true)),
                    (21, stored("a", false, true)),
                    (24, to("b", "b")),
                ],
                "Failover a>b Some(4ms) ready",
            ),
            (
                "there was no other pod for a while",
                vec![
                    (20, stored("b", false, false)),
                    (30, stored("a", false, true)),
                    (40, stored("b", true, true)),
                    (43, to("b", "b")),
                ],
                "Failover a>b Some(3ms) ready",
            ),
            (
                "a planned switchover",
                vec![(20, to("b", "b"))],
                "Failover a>b None ready",
            ),
            (
                "the same pod has another address",
                vec![(25, to("a", "a"))],
                FIRST,
            ),
            (
                "no pod is left",
                vec![(20, stored("a", false, false)), (25, What::Route(Empty))],
                "Loss a>- Some(5ms) ",
            ),
            (
                "it recovers",
                vec![
                    (20, stored("a", false, false)),
                    (25, What::Route(Empty)),
                    (30, stored("a", true, true)),
                    (31, to("a", "a")),
                ],
                "Recovery ->a Some(1ms) ",
            ),
            (
                "opted out",
                vec![(50, What::OptStored(false)), (53, What::Route(Absent))],
                "Withdrawn a>- Some(3ms) ready",
            ),
            (
                "a user deleted the slice",
                vec![(53, What::Route(Absent))],
                "Withdrawn a>- None ready",
            ),
            (
                "opted out, and in again",
                vec![
                    (50, What::OptStored(false)),
                    (53, What::Route(Absent)),
                    (60, What::OptStored(true)),
                    (62, What::Route(Empty)),
                    (64, to("b", "b")),
                ],
                "First ->b Some(4ms) ",
            ),
        ];
        for (what, news, expected) in rows {
            let mut all = vec![
                (1, stored("a", true, true)),
                (2, stored("b", true, true)),
                (10, What::OptStored(true)),
                (11, What::OptStored(true)),
                (13, to("a", "a")),
            ];
            all.extend(news);
            assert_eq!(last(all), expected, "{what}");
        }
    }

    #[test]
    fn figures_of_failovers() {
        assert_eq!(Model::default().latencies(), None);
        let mut news = vec![(1, What::OptStored(true)), (1, stored("p0", true, true))];
        news.push((2, to("p0", "p0")));
        for (at, (number, took)) in (1..).zip([(1, 9), (2, 3), (3, 5), (4, 4)]) {
            let began = at * 100;
            news.push((began, stored(&format!("p{number}"), true, true)));
            news.push((began, stored(&format!("p{}", number - 1), false, false)));
            let name = format!("p{number}");
            news.push((began + took, to(&name, &name)));
        }
        let latencies = after(news).latencies().expect("four of them");
        assert_eq!(
            latencies,
            Latencies {
                count: 4,
                last: ms(4),
                median: ms(4),
                max: ms(9)
            }
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut model = Model::default();
        for number in 0..10_000 {
            let at = Duration::from_secs(number);
            let uid = format!("u{number}");
            let learn = [
                stored(&uid, true, true),
                What::Pods(Vec::new()),
                What::Told(Told {
                    is_warning: false,
                    reason: "LeaderChanged".into(),
                    message: uid,
                }),
            ];
            for what in learn {
                model.learn(News { at, what });
            }
            model.sample();
        }
        assert_eq!(model.events.len(), EVENTS_KEPT);
        assert_eq!(model.timeline.len(), COLUMNS_KEPT);
        assert_eq!(model.stored.len(), 60);
    }
}
