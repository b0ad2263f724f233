//! The tour: what is done to the application, and what has to be seen before it goes on. Pure:
//! it looks at the [`Model`] and at the time that it is given.

use std::sync::Arc;
use std::time::Duration;

use zen_lead::logic::well_known::reason;

use super::model::{Kind, Model, Move};
use super::news::{At, Route};

/// Nothing in the tour takes that long; if it does, something is wrong.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is done to the application or its Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Annotates the Service.
    OptIn,
    /// Crashes the leader's process, or the first pod's without a leader.
    CrashLeader,
    /// Deletes the leader's pod gracefully.
    DeleteLeader,
    /// Crashes all processes, the leader's last.
    CrashAll,
    /// Starts all processes again.
    Restore,
    /// Takes the annotation away.
    OptOut,
}

/// One step of the tour.
#[derive(Debug)]
pub(super) struct Scene {
    /// In few words.
    pub(super) title: &'static str,
    /// What is done, and what should follow.
    pub(super) text: &'static str,
    act: Act,
    /// What the client of the leader Service has to see.
    expects: Kind,
    /// The Event by which zen-lead tells of it; none when the leader Service goes.
    tells: Option<&'static str>,
}

/// The tour.
pub(super) const SCENES: [Scene; 6] = [
    Scene {
        title: "opt-in",
        text: "zen-lead.io/enabled=true on the Service: zen-lead makes my-app-leader beside it",
        act: Act::OptIn,
        expects: Kind::First,
        tells: Some(reason::LEADER_ROUTING_AVAILABLE),
    },
    Scene {
        title: "crash failover",
        text: "the leader's process crashes, its readiness fails: the next pod takes over",
        act: Act::CrashLeader,
        expects: Kind::Failover,
        tells: Some(reason::LEADER_CHANGED),
    },
    Scene {
        title: "graceful termination",
        text: "the leader's pod is deleted: traffic moves while it still serves",
        act: Act::DeleteLeader,
        expects: Kind::Failover,
        tells: Some(reason::LEADER_CHANGED),
    },
    Scene {
        title: "none ready",
        text: "every process crashes: no endpoint is better than a dead one",
        act: Act::CrashAll,
        expects: Kind::Loss,
        tells: Some(reason::NO_READY_PODS),
    },
    Scene {
        title: "recovery",
        text: "the processes start again: the last leader is back the moment it is Ready",
        act: Act::Restore,
        expects: Kind::Recovery,
        tells: Some(reason::LEADER_ROUTING_AVAILABLE),
    },
    Scene {
        title: "opt-out",
        text: "the annotation goes, and with it everything that zen-lead made",
        act: Act::OptOut,
        expects: Kind::Withdrawn,
        tells: None,
    },
];

impl Scene {
    /// Whether it can begin.
    fn is_prepared(&self, model: &Model) -> bool {
        let all_ready = model.pods.len() == super::kubelet::REPLICAS
            && model.ready() == super::kubelet::REPLICAS;
        match self.act {
            Act::OptIn => model.is_synced && all_ready && model.route == Route::Absent,
            Act::Restore => model.route == Route::Empty,
            Act::CrashLeader | Act::DeleteLeader | Act::CrashAll | Act::OptOut => {
                all_ready && matches!(model.route, Route::To { .. })
            }
        }
    }

    /// The change that was waited for, if it was seen after so many others, and told of.
    fn outcome(&self, model: &Model, since: At, moves_before: usize) -> Option<Move> {
        let seen = model.moves.get(moves_before..)?;
        let change = seen.iter().find(|change| change.kind == self.expects)?;
        let is_whole = match self.tells {
            Some(reason) => {
                let mut events = model.events.iter();
                events.any(|(at, told)| *at >= since && told.reason == reason)
            }
            None => model.leader_service.is_none(),
        };
        is_whole.then(|| change.clone())
    }
}

/// What came of a scene.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Which one.
    pub(super) title: &'static str,
    /// What was seen; none when it did not come.
    pub(super) seen: Option<Move>,
}

/// Where the tour is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The scene waits until it can begin.
    Preparing { since: At },
    /// Its act is done.
    Watching { since: At, moves_before: usize },
    /// It was seen; time to look at it.
    Resting { until: At },
}

/// The tour, as far as it has gone.
#[derive(Debug)]
pub(super) struct Story {
    scene: usize,
    stage: Stage,
    pause: Duration,
    /// What came of the scenes so far.
    pub(super) outcomes: Vec<Outcome>,
}

/// What the tour wants now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To wait.
    Wait,
    /// To begin this scene.
    Begin {
        /// Its number, from 1.
        number: usize,
        /// What is to be done.
        act: Act,
        /// The leader to which it is done, if there is one.
        leader: Option<Arc<str>>,
    },
    /// To tell what came of the scene.
    Ended(Outcome),
}

impl Story {
    /// A tour that rests so long after each scene.
    #[must_use]
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            scene: 0,
            stage: Stage::Preparing { since: At::ZERO },
            pause,
            outcomes: Vec::new(),
        }
    }

    /// The scene that is on, and its number from 1; none once all were.
    #[must_use]
    pub(super) fn scene(&self) -> Option<(usize, &'static Scene)> {
        Some((self.scene + 1, SCENES.get(self.scene)?))
    }

    /// Whether its act was done.
    #[must_use]
    pub(super) fn has_acted(&self) -> bool {
        !matches!(self.stage, Stage::Preparing { .. })
    }

    /// Whether the tour is over, because all was seen or because something was not.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        let has_failed = self.outcomes.iter().any(|outcome| outcome.seen.is_none());
        has_failed || self.scene().is_none()
    }

    /// How many scenes came out as expected.
    #[must_use]
    pub(super) fn succeeded(&self) -> usize {
        let seen = self.outcomes.iter().filter(|one| one.seen.is_some());
        seen.count()
    }

    /// What to do now.
    pub(super) fn advance(&mut self, model: &Model, now: At) -> Next {
        let Some((number, scene)) = self.scene().filter(|_| !self.is_over()) else {
            return Next::Wait;
        };
        match self.stage {
            Stage::Preparing { .. } if scene.is_prepared(model) => {
                let moves_before = model.moves.len();
                self.stage = Stage::Watching {
                    since: now,
                    moves_before,
                };
                Next::Begin {
                    number,
                    act: scene.act,
                    leader: model.route.pod().cloned(),
                }
            }
            Stage::Watching {
                since,
                moves_before,
            } if let Some(seen) = scene.outcome(model, since, moves_before) => {
                self.stage = Stage::Resting {
                    until: now + self.pause,
                };
                self.end(scene, Some(seen))
            }
            Stage::Preparing { since } | Stage::Watching { since, .. } => {
                if now.saturating_sub(since) < PATIENCE {
                    return Next::Wait;
                }
                self.end(scene, None)
            }
            Stage::Resting { until } => {
                if now >= until {
                    self.scene += 1;
                    self.stage = Stage::Preparing { since: now };
                }
                Next::Wait
            }
        }
    }

    fn end(&mut self, scene: &Scene, seen: Option<Move>) -> Next {
        let outcome = Outcome {
            title: scene.title,
            seen,
        };
        self.outcomes.push(outcome.clone());
        Next::Ended(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::super::news::{News, PodSeen, Stage as PodStage, Told, What};
    use super::*;

    const fn secs(count: u64) -> At {
        Duration::from_secs(count)
    }

    fn pods(stage: PodStage) -> What {
        let pod = |number: usize| PodSeen {
            name: format!("my-app-{number}").into(),
            uid: format!("{number}").as_str().into(),
            ip: None,
            stage,
        };
        What::Pods((0..3).map(pod).collect())
    }

    fn to(number: usize) -> What {
        What::Route(Route::To {
            pod: format!("my-app-{number}").into(),
            uid: format!("{number}").as_str().into(),
            ip: "10.0.0.1".into(),
        })
    }

    fn told(reason: &str) -> What {
        What::Told(Told {
            is_warning: false,
            reason: reason.into(),
            message: String::new(),
        })
    }

    /// What the tour wants, in a word.
    fn word(next: &Next) -> String {
        match next {
            Next::Wait => String::new(),
            Next::Begin { act, leader, .. } => {
                format!("{act:?} {}", leader.as_deref().unwrap_or("-"))
            }
            Next::Ended(outcome) => {
                let seen = if outcome.seen.is_some() {
                    "seen"
                } else {
                    "missed"
                };
                format!("{} {seen}", outcome.title)
            }
        }
    }

    #[test]
    fn each_scene_waits_for_what_it_needs_and_for_what_it_expects() {
        let (mut model, mut story) = (Model::default(), Story::new(secs(1)));
        let nothing = || What::State("Serving".into());
        let rows = [
            (0, nothing(), ""),
            (1, What::Synced, ""),
            (2, pods(PodStage::Ready), "OptIn -"),
            (3, What::Route(Route::Empty), ""),
            (3, to(0), ""),
            (3, told("LeaderRoutingAvailable"), "opt-in seen"),
            (3, nothing(), ""),
            (4, nothing(), ""),
            (4, nothing(), "CrashLeader my-app-0"),
            (5, to(1), ""),
            (5, told("LeaderChanged"), "crash failover seen"),
            (6, pods(PodStage::NotReady), ""),
            (7, nothing(), ""),
            (7, pods(PodStage::Ready), "DeleteLeader my-app-1"),
            (8, to(2), ""),
            (8, told("LeaderChanged"), "graceful termination seen"),
            (9, nothing(), ""),
            (9, nothing(), "CrashAll my-app-2"),
            (10, pods(PodStage::NotReady), ""),
            (10, What::Route(Route::Empty), ""),
            (10, told("NoReadyPods"), "none ready seen"),
            (11, nothing(), ""),
            (11, nothing(), "Restore -"),
            (12, to(2), ""),
            (12, told("LeaderRoutingAvailable"), "recovery seen"),
            (13, pods(PodStage::Ready), ""),
            (
                13,
                What::LeaderService(Some(("l".into(), "i".into()))),
                "OptOut my-app-2",
            ),
            (14, What::Route(Route::Absent), ""),
            (14, What::LeaderService(None), "opt-out seen"),
            (15, nothing(), ""),
            (99, nothing(), ""),
        ];
        for (row, (at, what, expected)) in rows.into_iter().enumerate() {
            model.learn(News { at: secs(at), what });
            assert_eq!(
                word(&story.advance(&model, secs(at))),
                expected,
                "row {row}"
            );
        }
        assert_eq!((story.succeeded(), story.is_over()), (SCENES.len(), true));
    }

    #[test]
    fn what_does_not_come_ends_the_tour() {
        let (mut model, mut story) = (Model::default(), Story::new(secs(1)));
        assert_eq!(story.advance(&model, secs(14)), Next::Wait);
        assert_eq!(word(&story.advance(&model, secs(15))), "opt-in missed");
        assert!(story.is_over());
        for what in [What::Synced, pods(PodStage::Ready)] {
            model.learn(News { at: secs(16), what });
        }
        assert_eq!(story.advance(&model, secs(16)), Next::Wait, "it is over");
        assert_eq!(story.succeeded(), 0);
    }
}
