//! Keeps us out of endless fights: a field that something else puts back again and again is healed
//! with a growing delay.
//!
//! The time of the last change, which a slice bears for kube-proxy, and its managedFields take no part
//! in it: we write them with patches that are due for another reason.

use std::borrow::Cow;
use std::time::Duration;

use super::model::Version;
use super::plan::{Action, MANAGED_FIELDS, Op, Target, Write, fingerprint};
use super::time::Moment;

/// So many times a field is healed at once, within [`WINDOW`].
const AT_ONCE: usize = 3;
/// Reverts that are further apart are no fight.
const WINDOW: Duration = Duration::from_mins(1);
/// First delay of a fight; it doubles.
const DELAY_MIN: Duration = Duration::from_secs(5);
/// The annotation `last-change-trigger-time`, as a JSON pointer.
const TRIGGER_TIME: &str =
    "/metadata/annotations/endpoints.kubernetes.io~1last-change-trigger-time";
/// Longest delay.
const DELAY_MAX: Duration = Duration::from_mins(5);

/// Whether a member, given by its JSON pointer, is worth a write of its own.
fn is_contestable(path: &str) -> bool {
    path != TRIGGER_TIME && path != MANAGED_FIELDS
}

/// What was last written where, for the objects of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevertTracker {
    fields: Vec<FieldHistory>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldHistory {
    target: u64,
    path: u64,
    value: u64,
    fight: Option<Box<Conflict>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Conflict {
    /// The latest times at which the same value was written again.
    healed: Vec<Moment>,
    delay: Duration,
    not_before: Moment,
    /// The version of the object in the answer to the latest of them.
    answered: Option<Version>,
    /// Whether users have been told.
    is_told: bool,
}

/// A field that is reverted again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContestedField {
    /// The object.
    pub target: Target,
    /// The field, as a JSON pointer; empty for the object as a whole, which another client deletes.
    pub path: String,
    /// How long it is left as it is.
    pub delay: Duration,
    /// Whether the answer to our own write shows it: no one changed it afterwards.
    pub is_by_admission: bool,
}

impl RevertTracker {
    /// Notes that a write has been accepted, and as which version it was answered.
    pub fn acknowledge(&mut self, write: &Write, answered: Option<&Version>, now: Moment) {
        let target = fingerprint(&write.target);
        let fields: Vec<(Cow<'_, str>, u64)> = match &write.action {
            Action::Delete { .. } => {
                self.fields.retain(|field| field.target != target);
                return;
            }
            Action::Create(_) => {
                // What was written into its predecessor was not reverted.
                let whole = fingerprint("");
                self.fields
                    .retain(|field| field.target != target || field.path == whole);
                vec![("".into(), 0)]
            }
            Action::Patch { ops, .. } => {
                let members = ops.iter().flat_map(Op::members);
                let members = members.filter(|(path, _)| is_contestable(path));
                members
                    .map(|(path, value)| (path, fingerprint(&value)))
                    .collect()
            }
        };
        for (path, value) in fields {
            let path = fingerprint(&*path);
            let known = self
                .fields
                .iter_mut()
                .find(|field| field.target == target && field.path == path);
            match known {
                Some(field) if field.value == value => {
                    let fight = field
                        .fight
                        .get_or_insert_with(|| Box::new(Conflict::new(now)));
                    fight.blow(now);
                    fight.answered = answered.cloned();
                }
                Some(field) => {
                    field.value = value;
                    field.fight = None;
                }
                None => self.fields.push(FieldHistory {
                    target,
                    path,
                    value,
                    fight: None,
                }),
            }
        }
        // Seldom is one added later.
        self.fields.shrink_to_fit();
    }

    /// Takes out of a plan what has to wait.
    pub fn restrain(&mut self, writes: Vec<Write>, now: Moment) -> Throttled {
        let mut restrained = Throttled::default();
        if self.fields.iter().all(|field| field.fight.is_none()) {
            restrained.writes = writes;
            return restrained;
        }
        for mut write in writes {
            let target = write.target.clone();
            let planned = match &write.action {
                Action::Patch { version, .. } => Some(version.clone()),
                Action::Create(_) | Action::Delete { .. } => None,
            };
            let mut waits = |path: &str, value| {
                self.hold(&target, path, value, planned.as_ref(), now, &mut restrained)
            };
            let is_left = match &mut write.action {
                Action::Delete { .. } => true,
                Action::Create(_) => !waits("", 0),
                Action::Patch { ops, .. } => {
                    let all = std::mem::take(ops).into_iter();
                    let left = all.filter_map(|op| {
                        op.without(|path, value| {
                            is_contestable(path) && waits(path, fingerprint(&value))
                        })
                    });
                    ops.extend(left);
                    let is_reason =
                        |op: &Op| op.members().iter().any(|(path, _)| is_contestable(path));
                    ops.iter().any(is_reason)
                }
            };
            if is_left {
                restrained.writes.push(write);
            } else {
                restrained.left.push(target);
            }
        }
        restrained
    }

    /// Whether a field has to wait. The first time in a fight, users are to be told: now the
    /// object shows the damage, and with it who did it.
    fn hold(
        &mut self,
        target: &Target,
        path: &str,
        value: u64,
        planned: Option<&Version>,
        now: Moment,
        into: &mut Throttled,
    ) -> bool {
        let (of, at) = (fingerprint(target), fingerprint(path));
        let field = self
            .fields
            .iter_mut()
            .find(|field| field.target == of && field.path == at && field.value == value);
        let Some(fight) = field.and_then(|field| field.fight.as_mut()) else {
            return false;
        };
        if fight.not_before <= now {
            return false;
        }
        into.until = into.until.into_iter().chain([fight.not_before]).min();
        if !std::mem::replace(&mut fight.is_told, true) {
            into.fought.push(ContestedField {
                target: target.clone(),
                path: path.to_owned(),
                delay: fight.delay,
                is_by_admission: planned.is_some() && fight.answered.as_ref() == planned,
            });
        }
        true
    }
}

/// A plan without what has to wait.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Throttled {
    /// What may be written now.
    pub writes: Vec<Write>,
    /// When to plan again for the sake of what waits.
    pub until: Option<Moment>,
    /// Conflicts that have not been announced yet.
    pub fought: Vec<ContestedField>,
    /// Objects that are left as they are altogether.
    pub left: Vec<Target>,
}

impl Conflict {
    fn new(now: Moment) -> Self {
        Self {
            healed: Vec::new(),
            delay: Duration::ZERO,
            not_before: now,
            answered: None,
            is_told: false,
        }
    }

    /// Counts one more heal.
    fn blow(&mut self, now: Moment) {
        let goes_on = !self.delay.is_zero() && now < self.not_before + self.delay + WINDOW;
        self.healed.retain(|at| now.since(*at) < WINDOW);
        self.healed.push(now);
        if goes_on {
            self.delay = (self.delay * 2).min(DELAY_MAX);
        } else if self.healed.len() < AT_ONCE {
            self.delay = Duration::ZERO;
            self.is_told = false;
        } else {
            self.delay = DELAY_MIN;
        }
        self.not_before = now + self.delay;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::logic::model::Key;
    use crate::logic::plan::{Kind, Lane};

    fn patch(path: &str, value: &str) -> Write {
        Write {
            target: Target {
                kind: Kind::Slice,
                key: Key::new("n", "s"),
            },
            action: Action::Patch {
                version: Version::Number(1),
                ops: vec![Op::Add {
                    path: path.into(),
                    value: value.into(),
                }],
            },
            lane: Lane::Ordinary,
        }
    }

    fn at(seconds: i64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    fn is_free(heals: &mut RevertTracker, write: &Write, now: Moment) -> bool {
        !heals.restrain(vec![write.clone()], now).writes.is_empty()
    }

    #[test]
    fn three_reverts_within_a_minute_are_healed_at_once_and_then_with_a_growing_delay() {
        let mut heals = RevertTracker::default();
        let write = patch("/endpoints", "a");
        for second in 0..3 {
            assert!(
                is_free(&mut heals, &write, at(second)),
                "written, and healed twice"
            );
            heals.acknowledge(&write, None, at(second));
        }
        let mut now = 3;
        for (round, delay) in [5, 10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
            assert!(is_free(&mut heals, &write, at(now)));
            heals.acknowledge(&write, None, at(now));
            let held = heals.restrain(vec![write.clone()], at(now));
            now += delay;
            assert_eq!(held.until, Some(at(now)));
            assert_eq!(held.fought.len(), usize::from(round == 0), "told once");
            assert!(!is_free(&mut heals, &write, Moment(at(now).0 - 1)));
        }
        heals.acknowledge(&write, None, at(now + 1_000));
        assert!(
            is_free(&mut heals, &write, at(now + 1_000)),
            "peace long enough"
        );
    }

    #[test]
    fn a_leader_that_moves_to_and_fro_is_no_fight() {
        let mut heals = RevertTracker::default();
        for second in 0..20 {
            let write = patch("/endpoints", if second % 2 == 0 { "a" } else { "b" });
            assert!(is_free(&mut heals, &write, at(second)));
            heals.acknowledge(&write, None, at(second));
        }
    }

    fn ops(ops: Vec<Op>, version: u64) -> Write {
        let mut write = patch("", "");
        let version = Version::Number(version);
        write.action = Action::Patch { version, ops };
        write
    }

    fn remove(path: &str) -> Op {
        Op::Remove { path: path.into() }
    }

    fn add(path: &str, value: Value) -> Op {
        let path = path.into();
        Op::Add { path, value }
    }

    #[test]
    fn an_entry_of_a_map_that_comes_and_goes_by_our_own_hand_is_no_fight() {
        for (map, key) in [
            ("/metadata/annotations", "/metadata/annotations/a~1b"),
            ("/metadata/labels", "/metadata/labels/a~1b"),
        ] {
            let mut heals = RevertTracker::default();
            for second in 0..10 {
                // The first entry of a map comes with the map, and goes by itself.
                let op = if second % 2 == 0 {
                    add(map, json!({ "a/b": "1" }))
                } else {
                    remove(key)
                };
                let write = ops(vec![op], 1);
                assert!(is_free(&mut heals, &write, at(second)), "{map} {second}");
                heals.acknowledge(&write, None, at(second));
            }
        }
    }

    #[test]
    fn an_entry_that_is_reverted_with_its_map_is_fought_over_by_itself() {
        let mut heals = RevertTracker::default();
        let whole = ops(vec![add("/metadata/labels", json!({ "a": "1" }))], 1);
        for second in 0..4 {
            heals.acknowledge(&whole, None, at(second));
        }
        let more = add("/metadata/labels", json!({ "a": "1", "b": "2" }));
        let held = heals.restrain(vec![ops(vec![more], 1)], at(4));
        assert_eq!(held.fought[0].path, "/metadata/labels/a");
        let left = add("/metadata/labels", json!({ "b": "2" }));
        assert_eq!(held.writes, [ops(vec![left], 1)]);
    }

    #[test]
    fn the_time_of_the_last_change_is_no_field_to_fight_over_and_no_reason_to_write() {
        let mut heals = RevertTracker::default();
        let stale = remove(TRIGGER_TIME);
        let label = add("/metadata/labels/a", "1".into());
        let write = ops(vec![label, stale], 1);
        for second in 0..4 {
            heals.acknowledge(&write, None, at(second));
        }
        // The label waits, and the annotation does not go alone.
        let held = heals.restrain(vec![write], at(4));
        assert_eq!(held.writes, []);
        let fought: Vec<&str> = held.fought.iter().map(|fought| &*fought.path).collect();
        assert_eq!(fought, ["/metadata/labels/a"]);
        let other = ops(vec![add("/endpoints", json!([])), remove(TRIGGER_TIME)], 1);
        let held = heals.restrain(vec![other.clone()], at(4));
        assert_eq!(held.writes, [other], "it goes with any other write");
    }

    #[test]
    fn managed_fields_that_come_back_are_no_field_to_fight_over_and_no_reason_to_write() {
        let mut heals = RevertTracker::default();
        let reset = || add(MANAGED_FIELDS, json!([{}]));
        // Another client applies the slice again and again, which has the server track it.
        for second in 0..10 {
            let leader = if second % 2 == 0 { "a" } else { "b" };
            let write = ops(vec![add("/endpoints", leader.into()), reset()], 1);
            let held = heals.restrain(vec![write.clone()], at(second));
            assert_eq!(held.writes, std::slice::from_ref(&write), "{second}");
            heals.acknowledge(&write, None, at(second));
        }
        let label = || add("/metadata/labels/a", "1".into());
        for second in 10..14 {
            heals.acknowledge(&ops(vec![label(), reset()], 1), None, at(second));
        }
        let held = heals.restrain(vec![ops(vec![label(), reset()], 1)], at(14));
        assert_eq!(held.writes, [], "they are not cleared alone");
        let fought: Vec<&str> = held.fought.iter().map(|fought| &*fought.path).collect();
        assert_eq!(fought, ["/metadata/labels/a"]);
    }

    #[test]
    fn what_our_own_answer_shows_was_changed_on_the_way_in() {
        for (answered, is_by_admission) in [(7, true), (6, false)] {
            let mut heals = RevertTracker::default();
            let write = ops(vec![add("/metadata/labels/a", "1".into())], 7);
            for second in 0..4 {
                heals.acknowledge(&write, Some(&Version::Number(answered)), at(second));
            }
            let held = heals.restrain(vec![write], at(4));
            assert_eq!(held.fought[0].is_by_admission, is_by_admission);
        }
    }

    #[test]
    fn only_the_field_in_question_waits() {
        let mut heals = RevertTracker::default();
        let mut both = patch("/a", "1");
        for second in 0..4 {
            heals.acknowledge(&both, None, at(second));
        }
        if let Action::Patch { ops, .. } = &mut both.action {
            ops.push(Op::Add {
                path: "/b".into(),
                value: "2".into(),
            });
        }
        let held = heals.restrain(vec![both], at(4));
        let only_b = |action: &Action| matches!(action, Action::Patch { ops, .. } if ops.len() == 1 && ops[0].path() == "/b");
        assert!(only_b(&held.writes[0].action));
        assert_eq!(held.until, Some(at(8)));
        assert_eq!(held.fought[0].path, "/a");
        let other = patch("/a", "other");
        assert!(
            is_free(&mut heals, &other, at(4)),
            "another value is a decision of ours"
        );
    }

    #[test]
    fn what_an_object_lost_by_being_made_again_was_reverted_by_nobody() {
        let mut heals = RevertTracker::default();
        let identity = patch("/metadata/annotations/leader", "a");
        let create = Write {
            action: Action::Create(Value::Null.into()),
            ..identity.clone()
        };
        for second in 0..6 {
            heals.acknowledge(&create, None, at(second));
            assert!(is_free(&mut heals, &identity, at(second)));
            heals.acknowledge(&identity, None, at(second));
        }
    }

    #[test]
    fn an_object_that_somebody_keeps_deleting_is_made_again_with_a_delay() {
        let mut heals = RevertTracker::default();
        let create = Write {
            action: Action::Create(Value::Null.into()),
            ..patch("", "")
        };
        for second in 0..4 {
            heals.acknowledge(&create, None, at(second));
        }
        let held = heals.restrain(vec![create.clone()], at(4));
        assert_eq!((held.writes.len(), &*held.fought[0].path), (0, ""));
        let delete = Action::Delete {
            uid: "u".into(),
            version: Version::Number(1),
        };
        let delete = Write {
            action: delete,
            ..create.clone()
        };
        heals.acknowledge(&delete, None, at(5));
        assert!(
            is_free(&mut heals, &create, at(5)),
            "we deleted it ourselves"
        );
    }
}
