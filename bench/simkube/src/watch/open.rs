//! Where a watch begins, or why it does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::WatchBody;
use crate::api::accept::Form;
use crate::api::path::{Query, Target};
use crate::api::selector::Selector;
use crate::api::status::ApiError;
use crate::frames::too_old;
use crate::options::Expiry;
use crate::read;
use crate::server::Core;
use crate::state::State;
use crate::store::{Compacted, Object};

impl State {
    /// Starts a watch, or says why not.
    pub(crate) fn open_watch(
        &mut self,
        core: &Arc<Core>,
        client: &str,
        target: &Target,
        query: &Query,
        form: Form,
    ) -> Result<WatchBody, ApiError> {
        read::validate_options(query, true, self.options.watch_list)?;
        let kind = target.kind.stored();
        let selector = Selector::parse(
            target.kind,
            query.get("labelSelector"),
            query.get("fieldSelector"),
        )?;
        let wanted = read::version(query)?;
        let streaming = query.flag("sendInitialEvents");
        let now = self.store.rv();
        let bookmarks = query.flag("allowWatchBookmarks");
        let start = self.start(target, &selector, wanted, streaming)?;
        let opened = Instant::now();
        let seconds = query
            .number("timeoutSeconds")
            .filter(|s| *s > 0)
            .map(Duration::from_secs);
        let deadline_at = opened + seconds.unwrap_or(self.options.watch_timeout);
        let id = self.watches;
        self.watches += 1;
        self.open.insert(id, kind);
        let mut body = WatchBody {
            core: Arc::clone(core),
            client: client.to_owned(),
            id,
            kind,
            shape: target.kind,
            namespace: target.namespace.clone(),
            selector,
            form,
            cursor: start.cursor,
            initial: start.initial,
            initial_end: (streaming && bookmarks).then_some(now),
            opened,
            deadline_at,
            deadline: Box::pin(sleep_until(deadline_at)),
            bookmark: None,
            hold: None,
            expired: start.expired,
            out: VecDeque::new(),
            end: None,
            audited: None,
        };
        if bookmarks {
            body.bookmark = Some(Box::pin(sleep_until(body.next_bookmark())));
        }
        Ok(body)
    }

    /// Where a watch begins: with the state of now, or after a version that the client has seen.
    fn start(
        &self,
        target: &Target,
        selector: &Selector,
        wanted: Option<u64>,
        streaming: bool,
    ) -> Result<Start, ApiError> {
        let (kind, now) = (target.kind, self.store.rv());
        match wanted {
            Some(rv) if streaming && rv > now => Err(ApiError::future_version(rv, now)),
            Some(rv) if !streaming => {
                let expired = self.store.check_start(kind, rv).err();
                match expired {
                    // The two layers that can notice answer in different ways.
                    Some(compacted) if self.options.expiry == Expiry::Status => {
                        Err(too_old(rv, compacted))
                    }
                    _ => Ok(Start {
                        cursor: rv,
                        initial: VecDeque::new(),
                        expired,
                    }),
                }
            }
            // A streaming list from an old version may show a newer state: `NotOlderThan`.
            _ => {
                let objects = self.store.list(kind, &target.namespace);
                let initial = objects
                    .filter(|o| selector.matches(&o.value))
                    .cloned()
                    .collect();
                Ok(Start {
                    cursor: now,
                    initial,
                    expired: None,
                })
            }
        }
    }
}

struct Start {
    cursor: u64,
    initial: VecDeque<Arc<Object>>,
    expired: Option<Compacted>,
}
