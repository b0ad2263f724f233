//! What is broken at the moment, and what that does to each request and frame. Which of them it
//! hits depends on the seed and the request alone, so that a smaller schedule is a similar one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use simkube::{Faults, FrameInfo, FrameVerdict, Kind, RequestInfo, Verb, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::Chance;
use crate::judge::Judge;
use crate::plan::{Fault, FrameTrouble, Trouble};

/// The faults in force. Locks are held for one question.
pub(crate) struct Troubles {
    seed: u64,
    inner: Mutex<Inner>,
    pub(crate) judge: Arc<Judge>,
    /// The controller is to die now.
    pub(crate) death: Notify,
}

#[derive(Default)]
struct Inner {
    active: Vec<(Instant, Fault)>,
    deaths: Vec<bool>,
    frames: u64,
    counts: BTreeMap<String, u64>,
}

impl Troubles {
    pub(crate) fn new(seed: u64, judge: Arc<Judge>) -> Self {
        Self {
            seed,
            inner: Mutex::default(),
            judge,
            death: Notify::new(),
        }
    }

    /// A fault begins that lasts, or waits for a write.
    pub(crate) fn begin(&self, fault: &Fault) {
        let mut inner = self.inner.lock();
        let for_ms = match *fault {
            Fault::Requests { for_ms, .. }
            | Fault::Frames { for_ms, .. }
            | Fault::Lag { for_ms, .. }
            | Fault::Blackout { for_ms, .. } => for_ms,
            Fault::CrashInWrite { applied, .. } => {
                inner.deaths.push(applied);
                return;
            }
            _ => return,
        };
        let until = Instant::now() + Duration::from_millis(for_ms);
        inner.active.push((until, fault.clone()));
    }

    /// Nothing is wrong any more.
    pub(crate) fn end(&self) {
        let mut inner = self.inner.lock();
        inner.active.clear();
        inner.deaths.clear();
    }

    /// How often each one hit.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.inner.lock().counts.clone()
    }

    fn count(&self, what: String) {
        *self.inner.lock().counts.entry(what).or_default() += 1;
    }

    fn active(&self) -> Vec<Fault> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.active.retain(|(until, _)| now < *until);
        inner
            .active
            .iter()
            .map(|(_, fault)| fault.clone())
            .collect()
    }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Faults for Troubles {
    fn on_request(&self, request: &RequestInfo) -> Verdict {
        self.judge.asked(request);
        let is_core = request.verb.is_write() && request.kind != Some(Kind::Event);
        let death = is_core.then(|| self.inner.lock().deaths.pop()).flatten();
        if let Some(applied) = death {
            self.count("CrashInWrite".into());
            self.judge.hurt(Some(request));
            self.death.notify_one();
            return Verdict::Hang { applied };
        }
        let mut chance =
            Chance::new(self.seed ^ request.number.wrapping_mul(0x5851_f42d_4c95_7f2d));
        for fault in self.active() {
            let Fault::Requests {
                trouble, percent, ..
            } = fault
            else {
                continue;
            };
            if !chance.percent(percent.into()) {
                continue;
            }
            if let Some(verdict) = verdict(trouble, request, &mut chance) {
                if let Verdict::Stale { ago } = verdict {
                    self.judge.told_of_the_past(request.kind, ago);
                }
                self.count(fault.kind());
                self.judge.hurt(Some(request));
                return verdict;
            }
        }
        Verdict::Pass
    }

    fn on_frame(&self, frame: &FrameInfo) -> FrameVerdict {
        let number = {
            let mut inner = self.inner.lock();
            inner.frames += 1;
            inner.frames
        };
        let mut chance = Chance::new(self.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        for fault in self.active() {
            match fault {
                Fault::Blackout { kind, .. } if kind == frame.kind => {
                    return FrameVerdict::HoldUntil(Instant::now() + ms(1_000));
                }
                Fault::Lag { kind, by_ms, .. } if kind == frame.kind => {
                    let until = frame.at + ms(by_ms);
                    if until > Instant::now() {
                        self.count(fault.kind());
                        return FrameVerdict::HoldUntil(until);
                    }
                }
                Fault::Frames {
                    trouble, percent, ..
                } if chance.percent(percent.into()) => {
                    self.count(fault.kind());
                    self.judge.hurt(None);
                    let verdict = match trouble {
                        FrameTrouble::Twice => FrameVerdict::Twice,
                        FrameTrouble::Cut => FrameVerdict::Cut {
                            bytes: usize::try_from(chance.below(80)).unwrap_or(0),
                        },
                        FrameTrouble::End => FrameVerdict::End,
                        FrameTrouble::Expire => FrameVerdict::Expire,
                    };
                    if verdict == FrameVerdict::Twice {
                        self.judge.shown(frame);
                    }
                    return verdict;
                }
                _ => {}
            }
        }
        self.judge.shown(frame);
        FrameVerdict::Deliver
    }
}

/// What a trouble does to a request; `None` if it cannot hit it.
fn verdict(trouble: Trouble, request: &RequestInfo, chance: &mut Chance) -> Option<Verdict> {
    let code = chance.pick(&[500, 503, 504]);
    Some(match trouble {
        Trouble::Slow => Verdict::Delay {
            before: ms(chance.below(400)),
            after: ms(chance.below(400)),
        },
        Trouble::LostBefore => Verdict::Drop { applied: false },
        Trouble::LostAfter => Verdict::Drop { applied: true },
        Trouble::HangBefore => Verdict::Hang { applied: false },
        Trouble::HangAfter => Verdict::Hang { applied: true },
        // A watch that is opened twice is one too many and nothing else.
        Trouble::Twice | Trouble::Truncated if request.verb == Verb::Watch => return None,
        Trouble::Twice => Verdict::Twice,
        Trouble::Throttled => Verdict::Answer {
            code: 429,
            retry_after: chance.pick(&[None, Some(1), Some(3)]),
            applied: false,
        },
        Trouble::Broken => Verdict::Answer {
            code,
            retry_after: None,
            applied: false,
        },
        Trouble::BrokenAfter => Verdict::Answer {
            code,
            retry_after: None,
            applied: true,
        },
        Trouble::Truncated => Verdict::Truncate {
            bytes: usize::try_from(chance.below(200)).unwrap_or(0),
        },
        Trouble::Stale if request.verb == Verb::List => Verdict::Stale {
            ago: ms(chance.pick(&[100, 3_000, 30_000])),
        },
        Trouble::Stale => return None,
    })
}
