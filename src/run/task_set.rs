//! The tasks that the controller is made of. None of them ever ends by itself; all of them are
//! dropped together with this.

use std::future::Future;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::shell::write::Spawn;

/// Tasks of which the first to end ends the process.
pub(super) struct TaskSet {
    spawn: Spawn,
    running: Vec<AbortHandle>,
    /// One message per part, sent when the part is dropped: unbounded, and never long.
    farewell: mpsc::UnboundedSender<&'static str>,
    ended: mpsc::UnboundedReceiver<&'static str>,
    ended_count: usize,
}

/// Says that a part ended, however it did.
struct Farewell(&'static str, mpsc::UnboundedSender<&'static str>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _the_receiver_may_be_gone = self.1.send(self.0);
    }
}

impl TaskSet {
    pub(super) fn new(spawn: Spawn) -> Self {
        let (farewell, ended) = mpsc::unbounded_channel();
        Self {
            spawn,
            running: Vec::new(),
            farewell,
            ended,
            ended_count: 0,
        }
    }

    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let farewell = Farewell(name, self.farewell.clone());
        let handle = (self.spawn)(Box::pin(async move {
            let _farewell = farewell;
            part.await;
        }));
        self.running.push(handle);
    }

    /// The name of the next part that ends or panics.
    pub(super) async fn first_to_end(&mut self) -> &'static str {
        let name = self.ended.recv().await;
        self.ended_count += 1;
        name.unwrap_or("a part")
    }

    /// Ends all parts and waits until they are no more.
    pub(super) async fn shutdown(mut self) {
        self.running.iter().for_each(AbortHandle::abort);
        while self.ended_count < self.running.len() {
            self.first_to_end().await;
        }
    }
}

impl Drop for TaskSet {
    fn drop(&mut self) {
        self.running.iter().for_each(AbortHandle::abort);
    }
}
