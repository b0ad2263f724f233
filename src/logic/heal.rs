//! Keeps us out of endless fights: a field that somebody else puts back again and again is healed
//! with a growing delay.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use foldhash::fast::FixedState;
use serde_json::Value;

use super::plan::{Action, Op, Target, Write};
use super::time::Moment;

/// So many times a field is healed at once, within [`WINDOW`].
const AT_ONCE: usize = 3;
/// Reverts that are further apart are no fight.
const WINDOW: Duration = Duration::from_mins(1);
/// First delay of a fight; it doubles.
const DELAY_MIN: Duration = Duration::from_secs(5);
/// Longest delay.
const DELAY_MAX: Duration = Duration::from_mins(5);

/// What was last written where, for the objects of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heals {
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    target: u64,
    path: u64,
    value: u64,
    fight: Option<Box<Fight>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fight {
    /// The latest times at which the same value was written again.
    healed: Vec<Moment>,
    delay: Duration,
    not_before: Moment,
    /// Whether users have been told.
    is_told: bool,
}

/// A field that somebody keeps reverting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fought {
    /// The object.
    pub target: Target,
    /// The field, as a JSON pointer; empty for the object as a whole, which somebody deletes.
    pub path: String,
    /// How long it is left as it is.
    pub delay: Duration,
}

impl Heals {
    /// Notes that a write has been accepted.
    pub fn acknowledge(&mut self, write: &Write, now: Moment) {
        let target = hash(&write.target);
        let fields: Vec<(&str, u64)> = match &write.action {
            Action::Delete { .. } => {
                self.fields.retain(|field| field.target != target);
                return;
            }
            Action::Create(_) => {
                // What was written into its predecessor, nobody reverted.
                let whole = hash("");
                self.fields
                    .retain(|field| field.target != target || field.path == whole);
                vec![("", 0)]
            }
            Action::Patch { ops, .. } => ops.iter().map(|op| (op.path(), value_of(op))).collect(),
        };
        for (path, value) in fields {
            let path = hash(path);
            let known = self
                .fields
                .iter_mut()
                .find(|field| field.target == target && field.path == path);
            match known {
                Some(field) if field.value == value => {
                    let fight = field.fight.get_or_insert_with(|| Box::new(Fight::new(now)));
                    fight.blow(now);
                }
                Some(field) => {
                    field.value = value;
                    field.fight = None;
                }
                None => self.fields.push(Field {
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
    pub fn restrain(&mut self, writes: Vec<Write>, now: Moment) -> Restrained {
        let mut restrained = Restrained::default();
        if self.fields.iter().all(|field| field.fight.is_none()) {
            restrained.writes = writes;
            return restrained;
        }
        for mut write in writes {
            let target = write.target.clone();
            let mut waits =
                |path: &str, value| self.hold(&target, path, value, now, &mut restrained);
            let is_left = match &mut write.action {
                Action::Delete { .. } => true,
                Action::Create(_) => !waits("", 0),
                Action::Patch { ops, .. } => {
                    ops.retain(|op| !waits(op.path(), value_of(op)));
                    !ops.is_empty()
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
        now: Moment,
        into: &mut Restrained,
    ) -> bool {
        let (of, at) = (hash(target), hash(path));
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
            into.fought.push(Fought {
                target: target.clone(),
                path: path.to_owned(),
                delay: fight.delay,
            });
        }
        true
    }
}

/// A plan without what has to wait.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Restrained {
    /// What may be written now.
    pub writes: Vec<Write>,
    /// When to plan again for the sake of what waits.
    pub until: Option<Moment>,
    /// Fights that nobody has been told of.
    pub fought: Vec<Fought>,
    /// Objects that are left as they are altogether.
    pub left: Vec<Target>,
}

impl Fight {
    fn new(now: Moment) -> Self {
        Self {
            healed: Vec::new(),
            delay: Duration::ZERO,
            not_before: now,
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

fn value_of(op: &Op) -> u64 {
    match op {
        Op::Add { value, .. } | Op::Replace { value, .. } => hash(value),
        Op::Remove { .. } => hash(&Value::Null),
    }
}

fn hash<T: Hash + ?Sized>(value: &T) -> u64 {
    FixedState::default().hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::model::{Key, Version};
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

    fn is_free(heals: &mut Heals, write: &Write, now: Moment) -> bool {
        !heals.restrain(vec![write.clone()], now).writes.is_empty()
    }

    #[test]
    fn three_reverts_within_a_minute_are_healed_at_once_and_then_with_a_growing_delay() {
        let mut heals = Heals::default();
        let write = patch("/endpoints", "a");
        for second in 0..3 {
            assert!(
                is_free(&mut heals, &write, at(second)),
                "written, and healed twice"
            );
            heals.acknowledge(&write, at(second));
        }
        let mut now = 3;
        for (round, delay) in [5, 10, 20, 40, 80, 160, 300, 300].into_iter().enumerate() {
            assert!(is_free(&mut heals, &write, at(now)));
            heals.acknowledge(&write, at(now));
            let held = heals.restrain(vec![write.clone()], at(now));
            now += delay;
            assert_eq!(held.until, Some(at(now)));
            assert_eq!(held.fought.len(), usize::from(round == 0), "told once");
            assert!(!is_free(&mut heals, &write, Moment(at(now).0 - 1)));
        }
        heals.acknowledge(&write, at(now + 1_000));
        assert!(
            is_free(&mut heals, &write, at(now + 1_000)),
            "peace long enough"
        );
    }

    #[test]
    fn a_leader_that_moves_to_and_fro_is_no_fight() {
        let mut heals = Heals::default();
        for second in 0..20 {
            let write = patch("/endpoints", if second % 2 == 0 { "a" } else { "b" });
            assert!(is_free(&mut heals, &write, at(second)));
            heals.acknowledge(&write, at(second));
        }
    }

    #[test]
    fn only_the_field_in_question_waits() {
        let mut heals = Heals::default();
        let mut both = patch("/a", "1");
        for second in 0..4 {
            heals.acknowledge(&both, at(second));
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
        let mut heals = Heals::default();
        let identity = patch("/metadata/annotations/leader", "a");
        let create = Write {
            action: Action::Create(Value::Null.into()),
            ..identity.clone()
        };
        for second in 0..6 {
            heals.acknowledge(&create, at(second));
            assert!(is_free(&mut heals, &identity, at(second)));
            heals.acknowledge(&identity, at(second));
        }
    }

    #[test]
    fn an_object_that_somebody_keeps_deleting_is_made_again_with_a_delay() {
        let mut heals = Heals::default();
        let create = Write {
            action: Action::Create(Value::Null.into()),
            ..patch("", "")
        };
        for second in 0..4 {
            heals.acknowledge(&create, at(second));
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
        heals.acknowledge(&delete, at(5));
        assert!(
            is_free(&mut heals, &create, at(5)),
            "we deleted it ourselves"
        );
    }
}
