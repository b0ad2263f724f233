//! A model of a server, with all it may do wrong, against the machine: whatever happens, the map
//! that the changes make is the server's map once the stream has caught up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::tests::{Thing, backoff, thing};
use super::*;
use crate::logic::model::Object;

/// Objects per page, and names there are.
const PAGE: usize = 2;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// An object with this value does not parse.
const ODD: u64 = 3;

type Map = BTreeMap<Key, Thing>;

#[derive(Clone, Debug)]
enum Op {
    /// Creates or changes; with `told`, the answer enters the map as that of an own write does.
    Write { name: usize, value: u64, told: bool },
    /// Deletes.
    Delete { name: usize },
    /// Forgets history up to now, or all but the last change.
    Compact { all: bool },
    /// Switches streaming lists on or off.
    Upgrade { streaming: bool },
    /// Answers the request, or sends one more frame.
    Serve { stale: u64 },
    /// Sends a bookmark, if a watch is open.
    Bookmark,
    /// Ends the stream, if one is open.
    Close { late: bool },
    /// Lets the request or stream fail.
    Fail(Failure),
    /// Goes back by so many versions, as a cluster does that is restored from a backup.
    Restore { by: u64 },
}

fn failures() -> impl Strategy<Value = Failure> {
    let code = prop::sample::select(vec![401, 403, 404, 410, 429, 500, 503, 504]);
    prop_oneof![
        Just(Failure::Timeout),
        Just(Failure::Transport("reset".into())),
        Just(Failure::Malformed("html".into())),
        code.prop_map(|code| Failure::Status(ApiStatus {
            code,
            ..ApiStatus::default()
        })),
    ]
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..NAMES.len(), 0..4_u64, any::<bool>())
            .prop_map(|(name, value, told)| Op::Write { name, value, told }),
        3 => (0..NAMES.len()).prop_map(|name| Op::Delete { name }),
        1 => any::<bool>().prop_map(|all| Op::Compact { all }),
        1 => any::<bool>().prop_map(|streaming| Op::Upgrade { streaming }),
        12 => (0..4_u64).prop_map(|stale| Op::Serve { stale }),
        1 => Just(Op::Bookmark),
        1 => any::<bool>().prop_map(|late| Op::Close { late }),
        2 => failures().prop_map(Op::Fail),
        1 => (1..6_u64).prop_map(|by| Op::Restore { by }),
    ]
}

/// A versioned map with its whole history; what is compacted is kept, but not served.
struct Server {
    version: u64,
    log: Vec<Frame<Thing>>,
    compacted: u64,
    streaming: bool,
}

fn version_of(frame: &Frame<Thing>) -> u64 {
    let version = match frame {
        Frame::Applied(thing) => thing.version(),
        Frame::Deleted(tombstone) => &tombstone.version,
        Frame::Bookmark(_) | Frame::Unreadable(_) => unreachable!("never in the log"),
    };
    let Version::Number(number) = version else {
        unreachable!("the model makes numbers")
    };
    *number
}

fn apply(map: &mut Map, frame: &Frame<Thing>) {
    match frame {
        Frame::Applied(thing) => {
            map.insert(thing.key(), thing.clone());
        }
        Frame::Deleted(tombstone) => {
            map.remove(&tombstone.key);
        }
        Frame::Bookmark(_) | Frame::Unreadable(_) => {}
    }
}

/// What the parser makes of an object.
fn parsed(thing: &Thing) -> Result<Thing, Unreadable> {
    if thing.value != ODD {
        return Ok(thing.clone());
    }
    Err(Unreadable {
        key: Some(thing.key()),
        version: Some(thing.version().clone()),
        reason: "odd".into(),
    })
}

fn sent(frame: &Frame<Thing>) -> Frame<Thing> {
    match frame {
        Frame::Applied(thing) => match parsed(thing) {
            Ok(thing) => Frame::Applied(thing),
            Err(unreadable) => Frame::Unreadable(unreadable),
        },
        frame => frame.clone(),
    }
}

fn gone() -> Failure {
    Failure::Status(ApiStatus {
        code: 410,
        reason: "Expired".into(),
        ..ApiStatus::default()
    })
}

impl Server {
    fn at(&self, version: u64) -> Map {
        let mut map = Map::new();
        for frame in self.log.iter().filter(|frame| version_of(frame) <= version) {
            apply(&mut map, frame);
        }
        map
    }

    fn write(&mut self, name: usize, value: u64) -> Thing {
        let key = Key::new("n", NAMES[name]);
        let known = self.at(self.version).remove(&key);
        self.version += 1;
        let uid = known.map_or_else(|| format!("u{}", self.version), |old| old.uid().to_string());
        let written = thing(NAMES[name], &uid, self.version, value);
        self.log.push(Frame::Applied(written.clone()));
        written
    }

    fn delete(&mut self, name: usize) {
        let key = Key::new("n", NAMES[name]);
        if let Some(old) = self.at(self.version).remove(&key) {
            self.version += 1;
            self.log.push(Frame::Deleted(Tombstone {
                key,
                uid: old.uid().clone(),
                version: Version::Number(self.version),
            }));
        }
    }

    fn restore(&mut self, by: u64) {
        self.version = self.version.saturating_sub(by).max(1);
        let now = self.version;
        self.log.retain(|frame| version_of(frame) <= now);
        // It is started again for that, and remembers nothing.
        self.compacted = now;
    }

    /// A token names the version of the list and how many objects were sent.
    fn page(&self, token: Option<&str>) -> Result<Page<Thing>, Failure> {
        let (version, skip) = match token.and_then(|token| token.split_once('/')) {
            Some((version, skip)) => (
                version.parse().expect("our own token"),
                skip.parse().expect("our own token"),
            ),
            None => (self.version, 0_usize),
        };
        if version < self.compacted {
            return Err(gone());
        }
        let map = self.at(version);
        let end = skip + PAGE;
        let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
        for object in map.values().skip(skip).take(PAGE) {
            match parsed(object) {
                Ok(object) => objects.push(object),
                Err(odd) => unreadable.push(odd),
            }
        }
        Ok(Page {
            objects,
            unreadable,
            version: Version::Number(version),
            continue_token: (end < map.len()).then(|| format!("{version}/{end}").into()),
        })
    }
}

struct Stream {
    /// Initial events, up to `position`.
    initial: VecDeque<Frame<Thing>>,
    position: u64,
}

impl Stream {
    /// As from a cache that lags `stale` versions behind: old objects first, then what happened
    /// to them, and the bookmark when it is up to date.
    fn list(server: &Server, stale: u64) -> Self {
        let from = server.version.saturating_sub(stale).max(server.compacted);
        let old = server.at(from);
        let mut initial: VecDeque<_> = old.into_values().map(Frame::Applied).collect();
        initial.extend(
            server
                .log
                .iter()
                .filter(|frame| version_of(frame) > from)
                .cloned(),
        );
        initial.push_back(Frame::Bookmark(Bookmark {
            version: Version::Number(server.version),
            initial_events_end: true,
        }));
        Self {
            initial,
            position: server.version,
        }
    }

    fn next(&mut self, server: &Server) -> Option<Result<Frame<Thing>, Failure>> {
        if let Some(frame) = self.initial.pop_front() {
            return Some(Ok(sent(&frame)));
        }
        if self.position < server.compacted {
            return Some(Err(gone()));
        }
        let mut log = server.log.iter();
        let frame = log.find(|frame| version_of(frame) > self.position)?;
        self.position = version_of(frame);
        Some(Ok(sent(frame)))
    }
}

struct World {
    server: Server,
    stream: Option<Stream>,
    reflector: Option<Reflector>,
    request: Request,
    /// What the changes have made.
    map: Map,
    /// What of it was known before the server was restored.
    outdated: BTreeSet<Key>,
    synced: bool,
}

impl World {
    fn new() -> Self {
        let reflector = Reflector::new(backoff());
        Self {
            server: Server {
                version: 1,
                log: Vec::new(),
                compacted: 0,
                streaming: true,
            },
            stream: None,
            request: reflector.request(),
            reflector: Some(reflector),
            map: Map::new(),
            outdated: BTreeSet::new(),
            synced: false,
        }
    }

    fn respond(&mut self, response: Response<Thing>) {
        let reflector = self.reflector.take().expect("it is always put back");
        let (reflector, step) = reflector.step(response, || 0.5);
        for change in step.changes {
            self.change(change);
        }
        if let Some(request) = step.request {
            self.stream = None;
            self.request = request;
        }
        self.reflector = Some(reflector);
    }

    /// As the store does it: per object the higher version wins.
    fn change(&mut self, change: Change<Thing>) {
        match change {
            Change::Upsert(thing) => {
                let known = self.map.get(&thing.key());
                let known = known.filter(|_| !self.outdated.remove(&thing.key()));
                if !known.is_some_and(|known| thing.version().is_older_than(known.version())) {
                    self.map.insert(thing.key(), thing);
                }
            }
            Change::Delete(tombstone) => {
                let known = self.map.get(&tombstone.key);
                let is_outdated = self.outdated.remove(&tombstone.key);
                if known.is_some_and(|known| {
                    is_outdated || !tombstone.version.is_older_than(known.version())
                }) {
                    self.map.remove(&tombstone.key);
                }
            }
            Change::Retain { keys, version } => {
                let outdated = &mut self.outdated;
                self.map.retain(|key, known| {
                    let is_newer = version.is_older_than(known.version());
                    keys.contains(key) || (is_newer && !outdated.remove(key))
                });
                self.synced = true;
            }
            Change::Restored => self.outdated = self.map.keys().cloned().collect(),
            Change::Progress(_) | Change::Skipped(_) => {}
        }
    }

    fn serve(&mut self, stale: u64) {
        if let Some(stream) = &mut self.stream {
            match stream.next(&self.server) {
                Some(Ok(frame)) => self.respond(Response::Frame(frame)),
                Some(Err(failure)) => self.break_off(failure),
                None => {}
            }
            return;
        }
        match self.request.clone() {
            Request::Wait(_) => self.respond(Response::Waited),
            Request::Check => {
                let page = self.server.page(None);
                self.respond(page.map_or_else(Response::Failed, Response::Page));
            }
            Request::List { continue_token } => {
                let page = self.server.page(continue_token.as_deref());
                self.respond(page.map_or_else(Response::Failed, Response::Page));
            }
            Request::StreamingList if !self.server.streaming => {
                self.respond(Response::Failed(Failure::Status(ApiStatus {
                    code: 422,
                    ..ApiStatus::default()
                })));
            }
            Request::StreamingList => {
                self.stream = Some(Stream::list(&self.server, stale));
                self.respond(Response::Opened);
            }
            Request::Watch { version } => {
                let Version::Number(position) = version else {
                    unreachable!("the model makes numbers")
                };
                assert!(position <= self.server.version, "it would be silent");
                // As an HTTP status or as a frame of an open stream.
                if position < self.server.compacted && stale.is_multiple_of(2) {
                    self.respond(Response::Failed(gone()));
                } else {
                    let initial = VecDeque::new();
                    self.stream = Some(Stream { initial, position });
                    self.respond(Response::Opened);
                }
            }
        }
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Write { name, value, told } => {
                let written = self.server.write(name, value);
                if told && value != ODD && self.synced {
                    self.change(Change::Upsert(written));
                }
            }
            Op::Delete { name } => self.server.delete(name),
            Op::Compact { all } => {
                self.server.compacted = self.server.version - u64::from(!all);
            }
            Op::Upgrade { streaming } => self.server.streaming = streaming,
            Op::Serve { stale } => self.serve(stale),
            Op::Bookmark => {
                if let Some(stream) = self.stream.as_ref().filter(|it| it.initial.is_empty()) {
                    let bookmark = Bookmark {
                        version: Version::Number(stream.position),
                        initial_events_end: false,
                    };
                    self.respond(Response::Frame(Frame::Bookmark(bookmark)));
                }
            }
            Op::Close { late } => {
                if self.stream.is_some() {
                    let after = Duration::from_secs(if late { 300 } else { 0 });
                    self.respond(Response::Closed { after });
                }
            }
            Op::Fail(failure) => self.break_off(failure),
            // What was never shown cannot be missed, and it is looked at again before it has written as
            // much as it lost.
            Op::Restore { by } => {
                self.catch_up();
                self.server.restore(by);
                self.break_off(Failure::Transport("reset".into()));
                self.catch_up();
            }
        }
    }

    fn catch_up(&mut self) {
        for _ in 0..200 {
            if self.has_caught_up() {
                return;
            }
            self.serve(0);
        }
    }

    fn break_off(&mut self, failure: Failure) {
        if self.stream.is_some() {
            let after = Duration::ZERO;
            self.respond(Response::Broken { after, failure });
        } else if !matches!(self.request, Request::Wait(_)) {
            self.respond(Response::Failed(failure));
        }
    }

    fn has_caught_up(&self) -> bool {
        let sent = |stream: &Stream| {
            stream.initial.is_empty()
                && stream.position >= self.server.compacted
                && stream.position == self.server.version
        };
        self.synced && self.stream.as_ref().is_some_and(sent)
    }

    /// Of an odd object only its existence is known, and what it was before may stay.
    fn check(&self) {
        let truth = self.server.at(self.server.version);
        for (key, object) in &truth {
            let known = self.map.get(key);
            assert!(
                object.value == ODD || known == Some(object),
                "{key}: {known:?}"
            );
        }
        for key in self.map.keys() {
            assert!(truth.contains_key(key), "{key} is gone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 768,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_map_is_the_servers_map(ops in prop::collection::vec(ops(), 0..120)) {
        let mut world = World::new();
        for op in ops {
            world.perform(op);
            if world.has_caught_up() {
                world.check();
            }
        }
        // The faults stop. Every object, page and pause takes a step.
        let mut steps = 0;
        while !world.has_caught_up() {
            world.serve(0);
            steps += 1;
            prop_assert!(steps < 200, "no end in sight: {:?}", world.request);
        }
        world.check();
    }
}
