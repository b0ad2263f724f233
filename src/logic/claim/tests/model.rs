//! Several replicas and one Lease: requests and watches are delayed, lost, applied late; replicas
//! are stopped for a while; clocks differ and do not tick equally fast. One seed decides it all.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::jitter::{self, Jitter};
use crate::logic::claim::{Claim, ClaimEvent, LeaseAnswer, LeaseParams, LeaseRequest};
use crate::logic::model::{Key, Lease};
use crate::logic::tests::config;
use crate::logic::time::{Moment, Now};

/// The API server's side.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// What watches show, in this order.
    log: Vec<ClaimEvent>,
}

impl Server {
    fn put(&mut self, mut lease: Value) -> LeaseAnswer {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        self.log.push(ClaimEvent::Seen(Box::new(read(&lease))));
        LeaseAnswer::Lease(Box::new(read(&lease)))
    }

    fn delete(&mut self) {
        if self.lease.take().is_some() {
            self.version += 1;
            let version = self.version.to_string();
            self.log.push(ClaimEvent::Gone(version.as_str().into()));
        }
    }

    fn answer(&mut self, request: &LeaseRequest) -> LeaseAnswer {
        match (request, self.lease.clone()) {
            (LeaseRequest::Read, Some(lease)) => LeaseAnswer::Lease(Box::new(read(&lease))),
            (LeaseRequest::Read | LeaseRequest::Patch(..), None) => LeaseAnswer::Absent,
            (LeaseRequest::Create(_), Some(_)) => LeaseAnswer::Overtaken,
            (LeaseRequest::Create(lease), None) => self.put(lease.clone()),
            (LeaseRequest::Patch(_, ops), Some(mut lease)) => {
                for op in ops.as_array().expect("a patch") {
                    let path = op["path"].as_str().expect("a path");
                    if path == "/metadata/resourceVersion" {
                        if lease["metadata"]["resourceVersion"] != op["value"] {
                            return LeaseAnswer::Overtaken;
                        }
                    } else if path == "/spec" {
                        lease["spec"] = op["value"].clone();
                    } else {
                        let field = path.strip_prefix("/spec/").expect("of the spec");
                        lease["spec"][field] = op["value"].clone();
                    }
                }
                self.put(lease)
            }
        }
    }
}

fn read(lease: &Value) -> Lease {
    serde_json::from_value(lease.clone()).expect("it is a Lease")
}

/// Something that will happen, in microseconds of true time.
enum Happening {
    /// A replica's timer, unless a later one was set.
    Timer(usize, u64),
    /// A request reaches the server.
    Arrives(usize, u64, LeaseRequest),
    /// An answer, or a time-out, reaches the replica.
    Returns(usize, u64, LeaseAnswer),
    /// A replica's watch gets on.
    Shows(usize),
    Pause(usize),
    Resume(usize),
    /// A process dies and another one takes its place, in its pod or in a new one.
    Restart(usize),
    Stop(usize),
    Delete,
}

struct Replica {
    claim: Option<Claim>,
    /// How fast its clock ticks, and where it stands.
    rate: f64,
    ahead: i64,
    /// In which pod it runs: a number for its name, and one for its uid.
    pod: (usize, u64),
    lives: u64,
    /// Numbers its requests; an answer to an earlier one is ignored.
    request: u64,
    timer: u64,
    shown: usize,
    is_paused: bool,
    is_stopped: bool,
    /// Of the times for which it could not run.
    missed: Vec<ClaimEvent>,
}

struct World {
    server: Server,
    replicas: Vec<Replica>,
    agenda: BTreeMap<(i64, u64), Happening>,
    sequence: u64,
    now: i64,
    chance: Jitter,
    /// How likely is trouble, 0 to 1.
    trouble: f64,
    rates: f64,
    handovers: u32,
    was_deleted: bool,
    /// Whether the first two replicas are processes of one pod, which should not be.
    has_twins: bool,
}

const SECOND: i64 = 1_000_000;

impl World {
    fn new(seed: u64, replicas: usize, trouble: f64, rates: f64, has_twins: bool) -> Self {
        let mut world = Self {
            server: Server::default(),
            replicas: Vec::new(),
            agenda: BTreeMap::new(),
            sequence: 0,
            now: 0,
            chance: jitter::from_seed(seed),
            trouble,
            rates,
            handovers: 0,
            was_deleted: false,
            has_twins,
        };
        for number in 0..replicas {
            world.replicas.push(Replica {
                claim: None,
                rate: 1.0,
                ahead: 0,
                pod: (if has_twins { number.max(1) } else { number }, 0),
                lives: 0,
                request: 0,
                timer: 0,
                shown: 0,
                is_paused: false,
                is_stopped: false,
                missed: Vec::new(),
            });
            world.start(number);
        }
        world
    }

    fn draw(&self, below: i64) -> i64 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "small"
        )]
        let drawn = ((self.chance)() * below as f64) as i64;
        drawn
    }

    fn is_trouble(&self) -> bool {
        (self.chance)() < self.trouble
    }

    fn plan(&mut self, after: i64, what: Happening) {
        self.sequence += 1;
        self.agenda
            .insert((self.now + after.max(0), self.sequence), what);
    }

    fn start(&mut self, number: usize) {
        let rate = 1.0 + self.rates * (2.0 * (self.chance)() - 1.0);
        let ahead = self.draw(1_000 * SECOND);
        let shown = self.server.log.len();
        let replica = &mut self.replicas[number];
        replica.lives += 1;
        let pod = format!("pod-{}_{}", replica.pod.0, replica.pod.1);
        (replica.rate, replica.ahead, replica.shown) = (rate, ahead, shown);
        replica.is_stopped = false;
        replica.request += 1;
        replica.missed.clear();
        replica.claim = Some(Claim::new(LeaseParams {
            lease: Key::new("n", "l"),
            identity: format!("{pod}_{number}-{}", replica.lives).into(),
            pod: Some(pod.into()),
            duration: Duration::from_secs(4),
            renew_deadline: Duration::from_secs(3),
            retry_period: Duration::from_secs(1),
        }));
        self.tell(number, ClaimEvent::Tick);
        let synced = self.draw(SECOND);
        let timer = self.replicas[number].timer;
        self.plan(synced, Happening::Timer(number, timer));
        self.tell(number, ClaimEvent::Synced);
        self.plan(0, Happening::Shows(number));
    }

    /// What a replica's own clock says now.
    fn local(&self, number: usize) -> Now {
        let replica = &self.replicas[number];
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "days"
        )]
        let at = (self.now as f64 * replica.rate) as i64 + replica.ahead;
        Now {
            moment: Moment(at),
            // Wall clocks are anywhere.
            wall: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn tell(&mut self, number: usize, event: ClaimEvent) {
        if self.replicas[number].is_paused {
            self.replicas[number].missed.push(event);
            return;
        }
        let (now, jitter) = (self.local(number), (self.chance)());
        let claim = self.replicas[number].claim.take().expect("it was put back");
        let was_active = claim.active_until().is_some();
        let step = claim.step(event, now, jitter);
        if step.claim.active_until().is_some() && !was_active {
            self.handovers += 1;
        }
        let replica = &mut self.replicas[number];
        replica.claim = Some(step.claim);
        replica.timer += 1;
        if let Some(at) = step.deadline {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                reason = "days"
            )]
            let after = ((at.0.saturating_sub(now.moment.0)) as f64 / replica.rate) as i64 + 1;
            let timer = replica.timer;
            self.plan(after, Happening::Timer(number, timer));
        }
        if let Some(request) = step.request {
            self.send(number, request);
        }
    }

    fn send(&mut self, number: usize, request: LeaseRequest) {
        self.replicas[number].request += 1;
        let ticket = self.replicas[number].request;
        let failed = LeaseAnswer::Failed {
            at_least: Duration::ZERO,
        };
        self.plan(2 * SECOND, Happening::Returns(number, ticket, failed));
        // A stop of the process between its decision and the bytes on the wire, a slow network.
        let mut delay = 500 + self.draw(20_000);
        if self.is_trouble() {
            if self.is_trouble() {
                return;
            }
            delay = self.draw(10 * SECOND);
        }
        self.plan(delay, Happening::Arrives(number, ticket, request));
    }

    fn show(&mut self, number: usize) {
        let shown = self.replicas[number].shown;
        let mut next = 10_000 + self.draw(90_000);
        if self.is_trouble() {
            // The watch breaks; what it shows next is the present.
            next = self.draw(15 * SECOND);
            self.replicas[number].shown = self.server.log.len().saturating_sub(1).max(shown);
        } else if let Some(event) = self.server.log.get(shown).cloned() {
            self.replicas[number].shown += 1;
            next = 1_000 + self.draw(20_000);
            self.tell(number, event);
        }
        self.plan(next, Happening::Shows(number));
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Timer(number, timer) if self.replicas[number].timer == timer => {
                self.tell(number, ClaimEvent::Tick);
            }
            Happening::Timer(..) => {}
            Happening::Arrives(number, ticket, request) => {
                let answer = self.server.answer(&request);
                if !self.is_trouble() {
                    let delay = 500 + self.draw(20_000);
                    self.plan(delay, Happening::Returns(number, ticket, answer));
                }
            }
            Happening::Returns(number, ticket, answer) => {
                if self.replicas[number].request == ticket {
                    self.replicas[number].request += 1;
                    self.tell(number, ClaimEvent::Answered(answer));
                }
            }
            Happening::Shows(number) => self.show(number),
            Happening::Pause(number) => self.replicas[number].is_paused = true,
            Happening::Resume(number) => {
                self.replicas[number].is_paused = false;
                for event in std::mem::take(&mut self.replicas[number].missed) {
                    self.tell(number, event);
                }
                self.tell(number, ClaimEvent::Tick);
            }
            Happening::Restart(number) => {
                self.replicas[number].is_paused = false;
                // Of a pod with two processes neither moves without the other.
                if !self.has_twins && (self.chance)() < 0.5 {
                    self.replicas[number].pod.1 += 1;
                }
                self.start(number);
            }
            Happening::Stop(number) => {
                self.replicas[number].is_stopped = true;
                self.tell(number, ClaimEvent::Stop);
            }
            Happening::Delete => {
                // One that never saw the Lease cannot know that it was there; and one whose watch is
                // broken cannot know that it was made again and deleted again.
                let knows = |replica: &Replica| {
                    let claim = replica.claim.as_ref().expect("it was put back");
                    claim.holder().is_some()
                };
                if self.replicas.iter().all(knows) && !self.was_deleted {
                    self.was_deleted = true;
                    self.server.delete();
                }
            }
        }
    }

    /// The replicas that would let a write through now. Time alone decides that, also while it is stopped.
    fn active(&self) -> Vec<usize> {
        let is_active = |number: &usize| {
            let claim = self.replicas[*number].claim.as_ref();
            let until = claim.and_then(Claim::active_until);
            until.is_some_and(|until| self.local(*number).moment < until)
        };
        (0..self.replicas.len()).filter(is_active).collect()
    }

    fn run(&mut self, until: i64) -> Result<(), TestCaseError> {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), what) = entry.remove_entry();
            self.now = at;
            self.happen(what);
            // The set grows at events only, so it is enough to look at them.
            let active = self.active();
            let is_alone =
                |number: &usize| self.replicas[*number].pod == self.replicas[active[0]].pod;
            let is_well = active.len() <= 1 || (self.has_twins && active.iter().all(is_alone));
            prop_assert!(is_well, "{active:?} are active at {}", self.now);
        }
        self.now = until;
        Ok(())
    }

    /// Chaos for a minute, then peace.
    fn trouble(&mut self, deletes: bool) {
        for _ in 0..12 {
            let (number, at) = (
                usize::try_from(self.draw(i64::try_from(self.replicas.len()).expect("few")))
                    .expect("few"),
                self.draw(60 * SECOND),
            );
            let long = self.draw(12 * SECOND);
            match self.draw(4) {
                0 | 1 => {
                    self.plan(at, Happening::Pause(number));
                    self.plan(at + long, Happening::Resume(number));
                }
                2 if deletes => self.plan(at, Happening::Delete),
                2 => self.plan(at, Happening::Restart(number)),
                _ if deletes => {}
                _ => {
                    self.plan(at, Happening::Stop(number));
                    self.plan(at + long, Happening::Restart(number));
                }
            }
        }
    }
}

fn check(
    seed: u64,
    replicas: usize,
    trouble: f64,
    rates: f64,
    deletes: bool,
    has_twins: bool,
) -> Result<(), TestCaseError> {
    let mut world = World::new(seed, replicas, trouble, rates, has_twins);
    world.trouble(deletes);
    world.run(75 * SECOND)?;
    // Peace: a replica becomes active within the lease duration and some back-off, and stays active.
    world.trouble = 0.0;
    for number in 0..replicas {
        let is_lame = world.replicas[number].is_paused || world.replicas[number].is_stopped;
        if is_lame {
            world.plan(0, Happening::Restart(number));
        }
    }
    world.run(110 * SECOND)?;
    let handovers = world.handovers;
    world.run(140 * SECOND)?;
    prop_assert_eq!(
        world.active().len(),
        1,
        "not exactly one replica leads in peace"
    );
    prop_assert_eq!(world.handovers, handovers, "it changes hands in peace");
    Ok(())
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn two_are_never_active_at_once(
        seed in any::<u64>(), replicas in 2_usize..=3, trouble in 0.0..0.4,
    ) {
        check(seed, replicas, trouble, 0.0, false, false)?;
    }

    #[test]
    fn nor_with_clocks_that_differ_by_a_tenth(seed in any::<u64>(), trouble in 0.0..0.4) {
        check(seed, 3, trouble, 0.05, false, false)?;
    }

    #[test]
    fn nor_when_the_lease_is_deleted(seed in any::<u64>(), trouble in 0.0..0.3) {
        check(seed, 2, trouble, 0.0, true, false)?;
    }

    #[test]
    fn nor_beside_a_pod_with_two_processes(seed in any::<u64>(), trouble in 0.0..0.4) {
        check(seed, 4, trouble, 0.05, false, true)?;
    }
}

#[test]
fn the_model_is_not_idle() {
    let mut world = World::new(1, 2, 0.0, 0.0, false);
    assert!(world.run(10 * SECOND).is_ok());
    assert_eq!(world.active().len(), 1);
    let renewals = world.server.version;
    assert!(
        (9..=11).contains(&renewals),
        "{renewals} writes in ten seconds"
    );
    assert_eq!(
        world
            .server
            .lease
            .as_ref()
            .map(|lease| &lease["spec"]["leaseDurationSeconds"]),
        Some(&json!(4))
    );
}

/// Beside a replica of another pod, which waits for the whole duration.
#[test]
fn a_restart_in_its_pod_goes_on_at_once() {
    for seed in 0..20 {
        let mut world = World::new(seed, 2, 0.0, 0.0, false);
        assert!(world.run(10 * SECOND).is_ok());
        let active = world.active();
        world.start(active[0]);
        assert!(world.active().is_empty(), "it has read nothing yet");
        // Its sync takes a second, a request at most as long as a watch event.
        assert!(world.run(12 * SECOND).is_ok());
        assert_eq!(world.active(), active);
    }
}
