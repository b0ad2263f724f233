//! Whether the server has gone back behind a version that it has shown.

use std::time::Duration;

use super::machine::again;
use super::state::{Pace, ReflectState};
use super::{Change, ReflectStep, Response, RestartReason};
use crate::logic::model::Object;

/// Time that a server with an older version gets to catch up.
const CATCH_UP: Duration = Duration::from_secs(1);

impl Pace {
    pub(super) fn in_checking<T: Object>(
        &mut self,
        doubted: bool,
        then: Box<ReflectState>,
        response: Response<T>,
        jitter: impl FnOnce() -> f64,
    ) -> (ReflectState, ReflectStep<T>) {
        match response {
            Response::Page(page) if self.is_past(&page.version) => self.gone_back(doubted, *then),
            Response::Page(_) => {
                let step = ReflectStep::ask(Vec::new(), &then);
                (*then, step)
            }
            Response::Failed(failure) | Response::Broken { failure, .. } => {
                self.after_failure(ReflectState::Checking { doubted, then }, &failure, jitter)
            }
            Response::Opened | Response::Frame(_) | Response::Closed { .. } | Response::Waited => {
                again(ReflectState::Checking { doubted, then })
            }
        }
    }

    /// The server shows an older version than before. It may only lag behind; if it was `doubted`
    /// before, it was restored.
    pub(super) fn gone_back<T>(
        &mut self,
        doubted: bool,
        then: ReflectState,
    ) -> (ReflectState, ReflectStep<T>) {
        if doubted {
            self.begin_history();
            self.progress();
            let state = self.list();
            let step = ReflectStep {
                changes: vec![Change::Restored],
                request: Some(state.request()),
                restart: Some(RestartReason::Restored),
            };
            return (state, step);
        }
        let then = ReflectState::Checking {
            doubted: true,
            then: Box::new(then),
        };
        again(ReflectState::Waiting {
            delay: CATCH_UP,
            then: Box::new(then),
        })
    }
}
