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
use crate::event::NS;
use crate::fault::{Fault, FrameTrouble, Trouble};
use crate::judge::Judge;

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
    active: Vec<Active>,
    deaths: Vec<Death>,
    /// The replicas that have died in a request, and for how long.
    dead: Vec<(&'static str, u64)>,
    frames: u64,
    counts: BTreeMap<String, u64>,
}

#[derive(Clone)]
struct Active {
    until: Instant,
    /// The client that it hits; `None` means every client.
    client: Option<&'static str>,
    fault: Fault,
}

/// What a replica will die of.
struct Death {
    client: &'static str,
    of_writes: bool,
    /// Requests that it survives.
    skip: u8,
    applied: bool,
    down_ms: u64,
    kind: String,
}

impl Inner {
    /// What a replica dies of in this request, if it does.
    fn death(&mut self, request: &RequestInfo) -> Option<Death> {
        let is_write = request.verb.is_write() && request.kind != Some(Kind::Event);
        let mut now = None;
        for (at, death) in self.deaths.iter_mut().enumerate() {
            if death.client != request.client || (death.of_writes && !is_write) {
                continue;
            }
            if death.skip == 0 {
                now = now.or(Some(at));
            } else {
                death.skip -= 1;
            }
        }
        now.map(|at| self.deaths.remove(at))
    }
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

    /// A fault begins that lasts, or waits for a request of this client.
    pub(crate) fn begin(&self, fault: &Fault, client: Option<&'static str>) {
        let mut inner = self.inner.lock();
        let for_ms = match *fault {
            Fault::Requests { for_ms, .. }
            | Fault::Frames { for_ms, .. }
            | Fault::Lag { for_ms, .. }
            | Fault::Partition { for_ms, .. }
            | Fault::ServerRestart { for_ms }
            | Fault::Restore { for_ms, .. }
            | Fault::NoLeases { for_ms, .. }
            | Fault::Blackout { for_ms, .. } => for_ms,
            Fault::CrashInRequest {
                of_writes,
                skip,
                applied,
                down_ms,
                ..
            } => {
                inner.deaths.extend(client.map(|client| Death {
                    client,
                    of_writes,
                    skip,
                    applied,
                    down_ms,
                    kind: fault.kind(),
                }));
                return;
            }
            _ => return,
        };
        inner.active.push(Active {
            until: Instant::now() + ms(for_ms),
            client,
            fault: fault.clone(),
        });
    }

    /// The replicas that have died in a request since the last call, and for how many milliseconds.
    pub(crate) fn dead(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut self.inner.lock().dead)
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

    /// What hits this client at the moment.
    fn active(&self, client: &str) -> Vec<Fault> {
        let now = Instant::now();
        let mut inner = self.inner.lock();
        inner.active.retain(|active| now < active.until);
        let active = inner.active.iter();
        active
            .filter(|active| active.client.is_none_or(|hit| hit == client))
            .map(|active| active.fault.clone())
            .collect()
    }
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

impl Faults for Troubles {
    fn on_request(&self, request: &RequestInfo) -> Verdict {
        self.judge.asked(request);
        let death = self.inner.lock().death(request);
        if let Some(death) = death {
            self.count(death.kind);
            self.judge.hurt(Some(request));
            self.inner.lock().dead.push((death.client, death.down_ms));
            self.death.notify_one();
            return Verdict::Hang {
                applied: death.applied,
            };
        }
        let active = self.active(&request.client);
        if let Some(broken) = active.iter().find_map(is_cut_off) {
            self.judge.hurt(Some(request));
            return if broken {
                Verdict::Drop { applied: false }
            } else {
                Verdict::Hang { applied: false }
            };
        }
        if active.iter().any(|fault| hides_leases(fault, request)) {
            return Verdict::Answer {
                code: 403,
                retry_after: None,
                applied: false,
            };
        }
        let mut chance =
            Chance::new(self.seed ^ request.number.wrapping_mul(0x5851_f42d_4c95_7f2d));
        for fault in active {
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
                    self.judge.told_of_the_past(request, ago);
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
        for fault in self.active(&frame.client) {
            match fault {
                Fault::Partition { broken: true, .. }
                | Fault::ServerRestart { .. }
                | Fault::Restore { .. } => {
                    return FrameVerdict::Cut { bytes: 0 };
                }
                Fault::Partition { broken: false, .. } => {
                    return FrameVerdict::HoldUntil(Instant::now() + ms(1_000));
                }
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

/// Whether connections break, where nothing gets through.
fn is_cut_off(fault: &Fault) -> Option<bool> {
    match fault {
        Fault::Partition { broken, .. } => Some(*broken),
        Fault::ServerRestart { .. } | Fault::Restore { .. } => Some(true),
        _ => None,
    }
}

/// Whether RBAC refuses to show the Leases of applications. The controller's own is another matter.
fn hides_leases(fault: &Fault, request: &RequestInfo) -> bool {
    let Fault::NoLeases { of_all, .. } = *fault else {
        return false;
    };
    let is_read = matches!(request.verb, Verb::List | Verb::Watch);
    let is_hidden = request.namespace.is_empty() || (of_all && request.namespace == NS);
    is_read && request.kind == Some(Kind::Lease) && is_hidden
}

/// What a trouble does to a request; `None` if it cannot hit it.
fn verdict(trouble: Trouble, request: &RequestInfo, chance: &mut Chance) -> Option<Verdict> {
    let code = chance.pick(&[500, 503, 504]);
    Some(match trouble {
        Trouble::Slow => {
            let most = chance.pick(&[400, 400, 400, 2_500]);
            Verdict::Delay {
                before: ms(chance.below(most)),
                after: ms(chance.below(most)),
            }
        }
        Trouble::SlowAdmission | Trouble::HungAdmission if !is_admitted(request) => return None,
        Trouble::SlowAdmission => Verdict::Admit {
            takes: ms(chance.pick(&[500, 2_000, 6_000, 9_000])),
        },
        Trouble::HungAdmission => hung(chance.pick(&[10_000, 10_000, 30_000]), chance),
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

/// Whether an admission webhook for Services and slices would be asked.
fn is_admitted(request: &RequestInfo) -> bool {
    let is_covered = matches!(request.kind, Some(Kind::Service | Kind::EndpointSlice));
    request.verb.is_write() && is_covered
}

/// A webhook that does not answer: failurePolicy Ignore or Fail.
fn hung(timeout: u64, chance: &mut Chance) -> Verdict {
    let takes = ms(timeout);
    if chance.percent(50) {
        return Verdict::Admit { takes };
    }
    Verdict::Late {
        by: takes,
        then: Box::new(Verdict::Answer {
            code: 500,
            retry_after: None,
            applied: false,
        }),
    }
}
