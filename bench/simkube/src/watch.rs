//! The body of a watch: a cursor into the log of changes that is polled, and nothing that runs by itself.

mod open;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::api::accept::Form;
use crate::api::kind::Kind;
use crate::api::selector::Selector;
use crate::api::status::ApiError;
use crate::audit::{Audited, Stage};
use crate::fault::{ConnectionReset, FrameInfo, FrameVerdict};
use crate::frames::{Content, Next, Step, too_old};
use crate::protobuf;
use crate::server::Core;
use crate::store::{Change, Compacted, Object, text};

/// Bookmarks come at least this long before the end, so that a client can resume from it.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

pub(crate) struct WatchBody {
    core: Arc<Core>,
    client: String,
    id: u64,
    /// The kind that is stored.
    kind: Kind,
    /// The kind that was asked for.
    shape: Kind,
    namespace: String,
    selector: Selector,
    /// The form of its events.
    form: Form,
    /// Changes up to this one have been dealt with.
    cursor: u64,
    /// Objects that were there at the start and are still to be sent.
    initial: VecDeque<Arc<Object>>,
    /// The bookmark that ends a streaming list, until it is sent.
    initial_end: Option<u64>,
    opened: Instant,
    deadline_at: Instant,
    deadline: Pin<Box<Sleep>>,
    /// None unless the client allows bookmarks.
    bookmark: Option<Pin<Box<Sleep>>>,
    hold: Option<Pin<Box<Sleep>>>,
    /// It started from too far back: this is all it will say.
    expired: Option<Compacted>,
    out: VecDeque<Bytes>,
    end: Option<End>,
    /// What the audit log says when it ends.
    audited: Option<Audited>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Broken,
}

impl WatchBody {
    pub(crate) fn audit_end(&mut self, entry: Audited) {
        self.audited = Some(entry);
    }

    /// A minute from now, or just before the end, whichever comes first.
    fn next_bookmark(&self) -> Instant {
        let now = Instant::now();
        let regular = now + self.core.options.bookmark_every;
        match self.deadline_at.checked_sub(LAST_BOOKMARK) {
            Some(last) if last > now => regular.min(last),
            _ => regular,
        }
    }

    /// What comes next; `None` if nothing is due. Skips what the watch does not see.
    fn next(&mut self, bookmark_due: bool) -> Result<Option<Next>, Compacted> {
        if let Some(compacted) = self.expired {
            return Err(compacted);
        }
        if let Some(object) = self.initial.front() {
            return Ok(Some(Next {
                event: "ADDED",
                object: Content::Object(Arc::clone(object)),
                rv: object.rv,
                at: self.opened,
                step: Step::Initial,
            }));
        }
        if let Some(rv) = self.initial_end {
            let (object, at) = (Content::Bookmark { initial_end: true }, self.opened);
            return Ok(Some(Next {
                event: "BOOKMARK",
                object,
                rv,
                at,
                step: Step::InitialEnd,
            }));
        }
        let core = Arc::clone(&self.core);
        let state = core.state.lock();
        while let Some(change) = state.store.next_change(self.kind, self.cursor)? {
            if let Some((event, object)) = self.view(&change) {
                let object = Content::Object(object);
                let (rv, at) = (change.rv, change.at);
                return Ok(Some(Next {
                    event,
                    object,
                    rv,
                    at,
                    step: Step::Change,
                }));
            }
            self.cursor = change.rv;
        }
        if !bookmark_due {
            return Ok(None);
        }
        let (object, at) = (Content::Bookmark { initial_end: false }, Instant::now());
        let rv = state.store.rv().max(self.cursor);
        Ok(Some(Next {
            event: "BOOKMARK",
            object,
            rv,
            at,
            step: Step::Bookmark,
        }))
    }

    /// A change as it looks through the selector.
    fn view(&self, change: &Change) -> Option<(&'static str, Arc<Object>)> {
        let visible = |object: &&Arc<Object>| {
            (self.namespace.is_empty() || text(&object.value, "namespace") == self.namespace)
                && self.selector.matches(&object.value)
        };
        let before = change.old.as_ref().filter(visible);
        let after = change.new.as_ref().filter(visible);
        match (before, after) {
            (None, None) => None,
            (None, Some(new)) => Some(("ADDED", Arc::clone(new))),
            (Some(_), Some(new)) => Some(("MODIFIED", Arc::clone(new))),
            // Gone or out of sight: the last state that was seen, with the version of the change.
            (Some(old), None) => Some(("DELETED", Arc::new(old.at_version(change.rv)))),
        }
    }

    /// Moves on behind what has been sent.
    fn finish(&mut self, next: &Next) {
        match next.step {
            Step::Initial => {
                self.initial.pop_front();
            }
            Step::InitialEnd => self.initial_end = None,
            Step::Change => self.cursor = next.rv,
            Step::Bookmark => {}
        }
        if matches!(next.step, Step::InitialEnd | Step::Bookmark) {
            let at = self.next_bookmark();
            if let Some(timer) = &mut self.bookmark {
                timer.as_mut().reset(at);
            }
        }
    }

    fn render(&self, next: &Next) -> Vec<u8> {
        match self.form {
            Form::Json => next.render(self.shape, None),
            Form::Table => next.render(self.shape, Some(self.core.state.lock().wall())),
            Form::Protobuf => next.render_protobuf(self.shape),
        }
    }

    /// Queues bytes, in pieces if the options want to test a client's reassembly.
    fn push(&mut self, line: &[u8]) {
        match self.core.options.chunk {
            Some(size) if size > 0 => {
                self.out
                    .extend(line.chunks(size).map(Bytes::copy_from_slice));
            }
            _ => self.out.push_back(Bytes::copy_from_slice(line)),
        }
    }

    /// The last thing that a watch says.
    fn expire(&mut self, error: &ApiError) {
        let line = if self.form == Form::Protobuf {
            protobuf::event("ERROR", &protobuf::encode_status(&error.body()))
        } else {
            let mut line = b"{\"type\":\"ERROR\",\"object\":".to_vec();
            line.extend_from_slice(&error.body());
            line.extend_from_slice(b"}\n");
            line
        };
        self.push(&line);
        self.end = Some(End::Clean);
    }

    /// Sends one frame, or does what the fault plan wants instead.
    fn send(&mut self, next: &Next) {
        let (namespace, name) = match &next.object {
            Content::Object(object) => object.key(),
            Content::Bookmark { .. } => (String::new(), String::new()),
        };
        let info = FrameInfo {
            client: self.client.clone(),
            watch: self.id,
            kind: self.kind,
            scope: self.namespace.clone(),
            event: next.event,
            namespace,
            name,
            rv: next.rv,
            at: next.at,
            initial: matches!(next.step, Step::Initial),
        };
        // Asked without the lock: a plan may look at the server.
        let verdict = self.core.faults().on_frame(&info);
        match verdict {
            FrameVerdict::HoldUntil(until) if until > Instant::now() => {
                self.hold = Some(Box::pin(sleep_until(until)));
            }
            FrameVerdict::Deliver | FrameVerdict::HoldUntil(_) => {
                let line = self.render(next);
                self.push(&line);
                self.finish(next);
            }
            FrameVerdict::Twice => {
                let line = self.render(next);
                self.push(&line);
                self.push(&line);
                self.finish(next);
            }
            FrameVerdict::Cut { bytes } => {
                let line = self.render(next);
                self.push(&line[..bytes.min(line.len())]);
                self.end = Some(End::Broken);
            }
            FrameVerdict::End => self.end = Some(End::Clean),
            FrameVerdict::Expire => {
                let compacted = Compacted { floor: next.rv };
                self.expire(&too_old(self.cursor, compacted));
            }
        }
    }

    /// Notes which task to wake, and whether this watch was ended from outside.
    fn register(&mut self, context: &Context<'_>) {
        let core = Arc::clone(&self.core);
        let mut state = core.state.lock();
        let cut = state.cuts.get(&self.kind).copied().unwrap_or_default();
        if self.id < cut.before {
            self.end = Some(if cut.broken { End::Broken } else { End::Clean });
        }
        state
            .waiting
            .insert(self.id, (self.kind, context.waker().clone()));
    }

    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionReset>>> {
        // Registered before looking: a change that comes in between wakes us again.
        self.register(context);
        loop {
            if let Some(chunk) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            match self.end {
                Some(End::Clean) => return Poll::Ready(None),
                Some(End::Broken) => {
                    self.end = Some(End::Clean);
                    return Poll::Ready(Some(Err(ConnectionReset)));
                }
                None => {}
            }
            if self.deadline.as_mut().poll(context).is_ready() {
                self.end = Some(End::Clean);
                continue;
            }
            if let Some(hold) = &mut self.hold {
                if hold.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.hold = None;
            }
            let due = self
                .bookmark
                .as_mut()
                .is_some_and(|b| b.as_mut().poll(context).is_ready());
            match self.next(due) {
                Ok(Some(next)) => self.send(&next),
                Ok(None) => return Poll::Pending,
                Err(compacted) => {
                    let error = too_old(self.cursor, compacted);
                    self.expire(&error);
                }
            }
        }
    }
}

impl Drop for WatchBody {
    fn drop(&mut self) {
        let now = {
            let mut state = self.core.state.lock();
            state.open.remove(&self.id);
            state.waiting.remove(&self.id);
            state.wall()
        };
        if let Some(mut entry) = self.audited.take() {
            (entry.stage, entry.at) = (Stage::ResponseComplete, now);
            self.core.audit(&entry);
        }
    }
}
