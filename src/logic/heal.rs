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
    /// Notes that a write has been accepted. Returns a field over which there is a fight, if this
    /// write was one blow too many.
    pub fn acknowledge(&mut self, write: &Write, now: Moment) -> Option<Fought> {
        let target = hash(&write.target);
        let fields: Vec<(&str, u64)> = match &write.action {
            Action::Delete { .. } => {
                self.fields.retain(|field| field.target != target);
                return None;
            }
            Action::Create(_) => vec![("", 0)],
            Action::Patch { ops, .. } => ops.iter().map(|op| (op.path(), value_of(op))).collect(),
        };
        let mut fought = None;
        for (path, value) in fields {
            let at = hash(path);
            match self
                .fields
                .iter_mut()
                .find(|field| field.target == target && field.path == at)
            {
                Some(field) if field.value == value => {
                    let delay = field
                        .fight
                        .get_or_insert_with(|| Box::new(Fight::new(now)))
                        .blow(now);
                    fought = fought.or_else(|| {
                        delay.map(|delay| Fought {
                            target: write.target.clone(),
                            path: path.to_owned(),
                            delay,
                        })
                    });
                }
                Some(field) => {
                    *field = Field {
                        target,
                        path: at,
                        value,
                        fight: None,
                    }
                }
                None => self.fields.push(Field {
                    target,
                    path: at,
                    value,
                    fight: None,
                }),
            }
        }
        fought
    }

    /// Takes out of a plan what has to wait, and says until when.
    #[must_use]
    pub fn restrain(&self, writes: Vec<Write>, now: Moment) -> (Vec<Write>, Option<Moment>) {
        if self.fields.iter().all(|field| field.fight.is_none()) {
            return (writes, None);
        }
        let mut until: Option<Moment> = None;
        let mut waits = |target: u64, path: &str, value: u64| {
            let at = hash(path);
            let field = self
                .fields
                .iter()
                .find(|f| f.target == target && f.path == at && f.value == value);
            let not_before = field
                .and_then(|field| field.fight.as_ref())
                .map(|fight| fight.not_before);
            let waits = not_before.filter(|not_before| now < *not_before);
            until = until.into_iter().chain(waits).min();
            waits.is_some()
        };
        let mut kept = Vec::with_capacity(writes.len());
        for mut write in writes {
            let target = hash(&write.target);
            let is_left = match &mut write.action {
                Action::Delete { .. } => true,
                Action::Create(_) => !waits(target, "", 0),
                Action::Patch { ops, .. } => {
                    ops.retain(|op| !waits(target, op.path(), value_of(op)));
                    !ops.is_empty()
                }
            };
            if is_left {
                kept.push(write);
            }
        }
        (kept, until)
    }
}

impl Fight {
    fn new(now: Moment) -> Self {
        Self {
            healed: Vec::new(),
            delay: Duration::ZERO,
            not_before: now,
        }
    }

    /// Counts one more heal; returns the delay when the next one has to wait.
    fn blow(&mut self, now: Moment) -> Option<Duration> {
        let goes_on = !self.delay.is_zero() && now < self.not_before + self.delay + WINDOW;
        self.healed.retain(|at| now.since(*at) < WINDOW);
        self.healed.push(now);
        if !goes_on && self.healed.len() < AT_ONCE {
            self.delay = Duration::ZERO;
            return None;
        }
        self.delay = if goes_on {
            (self.delay * 2).min(DELAY_MAX)
        } else {
            DELAY_MIN
        };
        self.not_before = now + self.delay;
        Some(self.delay)
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

    fn is_free(heals: &Heals, write: &Write, now: Moment) -> bool {
        !heals.restrain(vec![write.clone()], now).0.is_empty()
    }

    #[test]
    fn three_reverts_within_a_minute_are_healed_at_once_and_then_with_a_growing_delay() {
        let mut heals = Heals::default();
        let write = patch("/endpoints", "a");
        assert_eq!(
            heals.acknowledge(&write, at(0)),
            None,
            "written for the first time"
        );
        assert_eq!(heals.acknowledge(&write, at(1)), None);
        assert_eq!(heals.acknowledge(&write, at(2)), None);
        let mut now = 3;
        for delay in [5, 10, 20, 40, 80, 160, 300, 300] {
            let fought = heals.acknowledge(&write, at(now)).expect("a fight");
            assert_eq!(fought.delay, Duration::from_secs(delay));
            assert_eq!(
                heals.restrain(vec![write.clone()], at(now)).1,
                Some(at(now) + fought.delay)
            );
            now += i64::try_from(delay).expect("small");
            assert!(!is_free(&heals, &write, Moment(at(now).0 - 1)));
            assert!(is_free(&heals, &write, at(now)));
        }
        assert_eq!(
            heals.acknowledge(&write, at(now + 1_000)),
            None,
            "peace long enough"
        );
    }

    #[test]
    fn a_leader_that_moves_to_and_fro_is_no_fight() {
        let mut heals = Heals::default();
        for second in 0..20 {
            let write = patch("/endpoints", if second % 2 == 0 { "a" } else { "b" });
            assert!(is_free(&heals, &write, at(second)));
            assert_eq!(heals.acknowledge(&write, at(second)), None);
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
        let (kept, until) = heals.restrain(vec![both], at(4));
        assert!(
            matches!(&kept[0].action, Action::Patch { ops, .. } if ops.len() == 1 && ops[0].path() == "/b")
        );
        assert_eq!(until, Some(at(8)));
        assert!(
            is_free(&heals, &patch("/a", "other"), at(4)),
            "another value is a decision of ours"
        );
    }

    #[test]
    fn an_object_that_somebody_keeps_deleting_is_made_again_with_a_delay() {
        let mut heals = Heals::default();
        let create = Write {
            action: Action::Create(Value::Null),
            ..patch("", "")
        };
        for second in 0..3 {
            assert_eq!(heals.acknowledge(&create, at(second)), None);
        }
        assert_eq!(heals.acknowledge(&create, at(3)).expect("a fight").path, "");
        assert!(!is_free(&heals, &create, at(4)));
        let delete = Action::Delete {
            uid: "u".into(),
            version: Version::Number(1),
        };
        heals.acknowledge(
            &Write {
                action: delete,
                ..create.clone()
            },
            at(5),
        );
        assert!(is_free(&heals, &create, at(5)), "we deleted it ourselves");
    }
}
