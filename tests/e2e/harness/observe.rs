//! Keeps everything that happened in one namespace, by watch, from the start of a scenario: what
//! is asserted about "never" and "at no time" is asserted on this history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::SHORT;
use super::api::{Api, Kind, Refused};
use super::objects::{name_of, summary, text};

/// So many objects are shown by a failure.
const SHOWN_MAX: usize = 14;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It came.
    Added,
    /// It changed.
    Modified,
    /// It went.
    Deleted,
}

/// One event of the history.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it arrived.
    pub at: Instant,
    /// The kind of the object.
    pub kind: Kind,
    /// What happened.
    pub change: Change,
    /// The object as the server sent it.
    pub object: Arc<Value>,
}

impl Seen {
    /// The revision of the server's storage that made it so.
    pub fn version(&self) -> u64 {
        let version = self.object["metadata"]["resourceVersion"].as_str();
        version
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        name_of(&self.object)
    }
}

/// Everything seen so far.
#[derive(Default)]
pub struct Log {
    /// In the order of arrival; per kind that is the server's order.
    pub history: Vec<Seen>,
    now: BTreeMap<(Kind, String), Arc<Value>>,
}

impl Log {
    /// The object as it is now.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Arc<Value>> {
        self.now.get(&(kind, name.to_owned()))
    }

    /// All objects of a kind as they are now.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &Arc<Value>> {
        self.now
            .iter()
            .filter(move |((of, _), _)| *of == kind)
            .map(|(_, object)| object)
    }

    /// Services and slices in the order in which the server changed them: the watches of two
    /// kinds may arrive in any order, the resource versions tell.
    pub fn ordered(&self) -> Vec<&Seen> {
        let is_ours = |seen: &&Seen| matches!(seen.kind, Kind::Service | Kind::Slice);
        let mut history: Vec<_> = self.history.iter().filter(is_ours).collect();
        history.sort_by_key(|seen| seen.version());
        history
    }

    fn take(&mut self, kind: Kind, change: Change, object: Value) {
        let object = Arc::new(object);
        let key = (kind, name_of(&object).to_owned());
        match change {
            Change::Deleted => self.now.remove(&key),
            Change::Added | Change::Modified => self.now.insert(key, Arc::clone(&object)),
        };
        self.history.push(Seen {
            at: Instant::now(),
            kind,
            change,
            object,
        });
    }

    /// After a gap: what is listed replaces what was known, and the differences are history too.
    fn relist(&mut self, kind: Kind, items: Vec<Value>) {
        let mut gone: BTreeMap<_, _> = self.now.clone();
        gone.retain(|(of, _), _| *of == kind);
        for item in items {
            match gone.remove(&(kind, name_of(&item).to_owned())) {
                Some(known) if *known == item => {}
                Some(_) => self.take(kind, Change::Modified, item),
                None => self.take(kind, Change::Added, item),
            }
        }
        for object in gone.into_values() {
            self.take(kind, Change::Deleted, (*object).clone());
        }
    }
}

struct Shared {
    log: Mutex<Log>,
    news: Notify,
}

/// Watches the kinds of [`Kind::ALL`] in one namespace until it is dropped.
pub struct Observer {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Observer {
    /// Starts; returns when the first list of every kind is in.
    pub async fn start(api: &Api, namespace: &str) -> Result<Self> {
        let shared = Arc::new(Shared {
            log: Mutex::default(),
            news: Notify::new(),
        });
        let mut observer = Self {
            shared,
            tasks: Vec::new(),
        };
        for kind in Kind::ALL {
            let mut reader = Reader {
                api: api.clone(),
                kind,
                path: kind.path(namespace),
                version: String::new(),
                shared: Arc::clone(&observer.shared),
            };
            reader.list().await?;
            observer.tasks.push(tokio::spawn(reader.run()));
        }
        Ok(observer)
    }

    /// Looks at the log.
    pub fn look<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.shared.log.lock())
    }

    /// The events of one object, oldest first.
    pub fn history(&self, kind: Kind, name: &str) -> Vec<Seen> {
        self.look(|log| {
            let of_it = |seen: &&Seen| seen.kind == kind && seen.name() == name;
            log.history.iter().filter(of_it).cloned().collect()
        })
    }

    /// Waits until `probe` finds what it looks for.
    pub async fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        mut probe: impl FnMut(&Log) -> Option<T>,
    ) -> Result<T> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let news = self.shared.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(found) = self.look(&mut probe) {
                return Ok(found);
            }
            if tokio::time::timeout_at(deadline, news).await.is_err() {
                let state = self.look(|log| {
                    let lines = log.now.iter().filter(|((kind, _), _)| *kind != Kind::Event);
                    let lines = lines.map(|((kind, _), object)| summary(*kind, object));
                    lines.take(SHOWN_MAX).collect::<Vec<_>>().join("\n      ")
                });
                bail!("{what}: not within {within:?}; there is\n      {state}");
            }
        }
    }
}

/// Follows one kind.
struct Reader {
    api: Api,
    kind: Kind,
    path: String,
    version: String,
    shared: Arc<Shared>,
}

impl Reader {
    async fn list(&mut self) -> Result<(), Refused> {
        let mut list = self.api.get(&self.path).await?;
        list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.version);
        let items = match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        };
        self.shared.log.lock().relist(self.kind, items);
        self.shared.news.notify_waiters();
        Ok(())
    }

    async fn run(mut self) {
        loop {
            if self.follow().await.is_err() || self.is_past().await {
                // The server is away, or does not know the version any more.
                while self.list().await.is_err() {
                    tokio::time::sleep(SHORT).await;
                }
            }
        }
    }

    /// Whether more has been seen than the server knows of, since it went back to a backup.
    async fn is_past(&self) -> bool {
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        let list = self.api.get(&format!("{}?limit=1", self.path)).await;
        list.is_ok_and(|list| {
            number(text(&list, "/metadata/resourceVersion")) < number(&self.version)
        })
    }

    async fn follow(&mut self) -> Result<(), Refused> {
        let mut watch = self.api.watch(&self.path, &self.version).await?;
        while let Some((kind, object)) = watch.next().await {
            let change = match kind.as_str() {
                "ADDED" => Some(Change::Added),
                "MODIFIED" => Some(Change::Modified),
                "DELETED" => Some(Change::Deleted),
                "BOOKMARK" => None,
                _ => {
                    return Err(Refused {
                        code: 410,
                        message: object.to_string(),
                    });
                }
            };
            if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
                version.clone_into(&mut self.version);
            }
            if let Some(change) = change {
                self.shared.log.lock().take(self.kind, change, object);
                self.shared.news.notify_waiters();
            }
        }
        Ok(())
    }
}
