//! The state machine itself: one function for each state, the state by value.

use std::time::Duration;

use super::state::{Pace, ReflectState};
use super::{Change, Failure, Frame, Keys, ReflectStep, Request, Response, RestartReason};
use crate::logic::backoff::Backoff;
use crate::logic::model::{Object, Version};

/// A stream that was open for this long has served its time, even if nothing came and however it
/// ended.
const SERVED: Duration = Duration::from_secs(5);

/// After this many breaks a streaming list that is cut in the middle gives way to a paged one.
const STREAMS_CUT: u32 = 3;

/// The protocol machine. It holds names and versions only; the objects pass through.
#[derive(Clone, Debug)]
pub struct Reflector {
    state: ReflectState,
    pace: Pace,
}

impl Reflector {
    /// A machine that knows nothing yet; `backoff` spaces its attempts.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self {
            state: ReflectState::streaming(),
            pace: Pace::new(backoff),
        }
    }

    /// The same, where others have shown objects up to `version`: a server that is behind it is checked as
    /// one that this machine has seen there itself.
    #[must_use]
    pub fn having_reached(mut self, version: &Version) -> Self {
        self.pace.reach(version);
        self
    }

    /// What is being asked for; what to do first.
    #[must_use]
    pub fn request(&self) -> Request {
        self.state.request()
    }

    /// Whether a list is under way or next, and so the map possibly incomplete.
    #[must_use]
    pub fn is_listing(&self) -> bool {
        self.state.is_listing()
    }

    /// Takes what came back. `jitter` in `[0, 1)` is drawn when a delay needs it.
    ///
    /// A response that does not belong to the request changes nothing and has the request made
    /// again.
    pub fn step<T: Object>(
        self,
        response: Response<T>,
        jitter: impl FnOnce() -> f64,
    ) -> (Self, ReflectStep<T>) {
        let Self { state, mut pace } = self;
        let (state, step) = match state {
            ReflectState::Streaming { seen, opened } => {
                pace.in_streaming(seen, opened, response, jitter)
            }
            ReflectState::Paging {
                seen,
                version,
                token,
            } => pace.in_paging(seen, version, token, response, jitter),
            ReflectState::Watching { version } => pace.in_watching(version, response, jitter),
            ReflectState::Checking { doubted, then } => {
                pace.in_checking(doubted, then, response, jitter)
            }
            ReflectState::Waiting { delay, then } => match response {
                Response::Waited => {
                    let step = ReflectStep::ask(Vec::new(), &then);
                    (*then, step)
                }
                Response::Page(_)
                | Response::Opened
                | Response::Frame(_)
                | Response::Closed { .. }
                | Response::Failed(_)
                | Response::Broken { .. } => again(ReflectState::Waiting { delay, then }),
            },
        };
        (Self { state, pace }, step)
    }
}

pub(super) fn again<T>(state: ReflectState) -> (ReflectState, ReflectStep<T>) {
    let step = ReflectStep::ask(Vec::new(), &state);
    (state, step)
}

// === The transitions: one function for each state ===

impl Pace {
    fn in_streaming<T: Object>(
        &mut self,
        mut seen: Keys,
        opened: bool,
        response: Response<T>,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        let frame = match response {
            Response::Opened => {
                let state = ReflectState::Streaming { seen, opened: true };
                return (state, ReflectStep::read(Vec::new()));
            }
            Response::Failed(failure) | Response::Broken { failure, .. } => {
                return self.streaming_failed(opened, &failure, jitter);
            }
            Response::Closed { .. } => {
                let then = self.list_after(opened);
                let state = self.pause(then, None, jitter);
                return restarted(state, RestartReason::Closed);
            }
            Response::Page(_) | Response::Waited => return again(ReflectState::streaming()),
            Response::Frame(frame) => frame,
        };
        let change = match frame {
            Frame::Applied(object) => {
                seen.insert(self.share(object.key()));
                Change::Upsert(object)
            }
            Frame::Deleted(tombstone) => {
                seen.remove(&tombstone.key);
                Change::Delete(tombstone)
            }
            Frame::Bookmark(bookmark)
                if bookmark.initial_events_end && self.is_past(&bookmark.version) =>
            {
                return self.gone_back(false, ReflectState::streaming());
            }
            Frame::Bookmark(bookmark) if bookmark.initial_events_end => {
                let version = bookmark.version.clone();
                self.reach(&version);
                let retain = Change::Retain {
                    keys: seen,
                    version: bookmark.version,
                };
                return (
                    ReflectState::Watching { version },
                    ReflectStep::read(vec![retain]),
                );
            }
            Frame::Bookmark(bookmark) => Change::Progress(bookmark.version),
            Frame::Unreadable(unreadable) => {
                seen.extend(unreadable.key.clone());
                Change::Skipped(unreadable)
            }
        };
        let state = ReflectState::Streaming { seen, opened: true };
        (state, ReflectStep::read(vec![change]))
    }

    fn streaming_failed<T>(
        &mut self,
        opened: bool,
        failure: &Failure,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        match failure {
            Failure::Status(status) if status.refuses_streaming() => again(self.refuse_streaming()),
            // A server too old to know the option ignores it and never says that it is done.
            Failure::Timeout if opened => {
                let then = self.refuse_streaming();
                self.after_failure(then, failure, jitter)
            }
            _ => {
                let then = self.list_after(opened);
                self.after_failure(then, failure, jitter)
            }
        }
    }

    /// A list in the place of a streaming one that broke. Pages survive a break, so they come to
    /// an end where streams keep being cut.
    fn list_after(&mut self, opened: bool) -> ReflectState {
        if opened && self.breaks >= STREAMS_CUT {
            self.refuse_streaming()
        } else {
            self.list()
        }
    }

    fn in_paging<T: Object>(
        &mut self,
        mut seen: Keys,
        version: Option<Version>,
        token: Option<Box<str>>,
        response: Response<T>,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        let page = match response {
            Response::Page(page) => page,
            Response::Failed(failure) | Response::Broken { failure, .. } => {
                let then = if token.is_some() && forgot_token(&failure) {
                    ReflectState::paging()
                } else {
                    ReflectState::Paging {
                        seen,
                        version,
                        token,
                    }
                };
                return self.after_failure(then, &failure, jitter);
            }
            Response::Opened | Response::Frame(_) | Response::Closed { .. } | Response::Waited => {
                return again(ReflectState::Paging {
                    seen,
                    version,
                    token,
                });
            }
        };
        if version.is_none() && self.is_past(&page.version) {
            return self.gone_back(false, ReflectState::paging());
        }
        seen.extend(page.objects.iter().map(|object| self.share(object.key())));
        seen.extend(page.unreadable.iter().filter_map(|item| item.key.clone()));
        let skipped = page.unreadable.into_iter().map(Change::Skipped);
        let objects = page.objects.into_iter().map(Change::Upsert);
        let mut changes: Vec<_> = objects.chain(skipped).collect();
        let version = version.unwrap_or(page.version);
        let state = if page.continue_token.is_some() {
            ReflectState::Paging {
                seen,
                version: Some(version),
                token: page.continue_token,
            }
        } else {
            self.reach(&version);
            changes.push(Change::Retain {
                keys: seen,
                version: version.clone(),
            });
            ReflectState::Watching { version }
        };
        let step = ReflectStep::ask(changes, &state);
        (state, step)
    }

    fn in_watching<T: Object>(
        &mut self,
        mut version: Version,
        response: Response<T>,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        let frame = match response {
            Response::Opened => {
                return (
                    ReflectState::Watching { version },
                    ReflectStep::read(Vec::new()),
                );
            }
            Response::Failed(failure) => return self.watching_failed(version, &failure, jitter),
            Response::Broken { after, failure } => {
                self.served(after);
                return self.watching_failed(version, &failure, jitter);
            }
            Response::Closed { after } => {
                let then = if self.served(after) {
                    ReflectState::Watching { version }
                } else {
                    ReflectState::resuming(version)
                };
                let state = self.pause(then, None, jitter);
                return restarted(state, RestartReason::Closed);
            }
            Response::Page(_) | Response::Waited => {
                return again(ReflectState::Watching { version });
            }
            Response::Frame(frame) => frame,
        };
        let change = match frame {
            Frame::Applied(object) => {
                self.advance(&mut version, Some(object.version()));
                Change::Upsert(object)
            }
            Frame::Deleted(tombstone) => {
                self.advance(&mut version, Some(&tombstone.version));
                Change::Delete(tombstone)
            }
            Frame::Bookmark(bookmark) => {
                self.advance(&mut version, Some(&bookmark.version));
                Change::Progress(version.clone())
            }
            Frame::Unreadable(unreadable) => {
                self.advance(&mut version, unreadable.version.as_ref());
                Change::Skipped(unreadable)
            }
        };
        (
            ReflectState::Watching { version },
            ReflectStep::read(vec![change]),
        )
    }

    pub(super) fn after_failure<T>(
        &mut self,
        then: ReflectState,
        failure: &Failure,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        let state = self.pause(then, Some(failure), jitter);
        restarted(state, failure.reason())
    }

    /// Notes how long the stream was open. Returns whether that counts as progress.
    fn served(&mut self, time: Duration) -> bool {
        let has_served = time >= SERVED;
        if has_served {
            self.progress();
        }
        has_served
    }

    fn watching_failed<T>(
        &mut self,
        version: Version,
        failure: &Failure,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        let useless = match failure {
            // Once, the server may only lag behind. 400 and 422: it does not understand a version
            // that another server made.
            Failure::Status(status) => {
                status.is_gone()
                    || matches!(status.code, 400 | 422)
                    || (status.is_ahead() && self.breaks > 0)
            }
            Failure::Timeout | Failure::Transport(_) | Failure::Malformed(_) => false,
        };
        let then = if useless {
            self.list()
        } else {
            ReflectState::resuming(version)
        };
        self.after_failure(then, failure, jitter)
    }

    /// Moves `version` forward, and counts that as progress; a frame without a usable version, or
    /// with an old one, is not.
    fn advance(&mut self, version: &mut Version, to: Option<&Version>) {
        let Some(to) = to else { return };
        if to != version && !to.is_older_than(version) && *to != Version::default() {
            version.clone_from(to);
            self.reach(to);
            self.progress();
        }
    }
}

/// 410 by rule; 400 when another server does not understand the token.
fn forgot_token(failure: &Failure) -> bool {
    matches!(failure, Failure::Status(status) if status.is_gone() || status.code == 400)
}

fn restarted<T>(state: ReflectState, reason: RestartReason) -> (ReflectState, ReflectStep<T>) {
    let step = ReflectStep {
        changes: Vec::new(),
        request: Some(state.request()),
        restart: Some(reason),
    };
    (state, step)
}

impl<T> ReflectStep<T> {
    fn read(changes: Vec<Change<T>>) -> Self {
        Self {
            changes,
            request: None,
            restart: None,
        }
    }

    pub(super) fn ask(changes: Vec<Change<T>>, state: &ReflectState) -> Self {
        Self {
            changes,
            request: Some(state.request()),
            restart: None,
        }
    }
}
