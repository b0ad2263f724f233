//! What can break, and how often a seed draws it.

use simkube::Kind;

use crate::chance::Chance;

/// Something breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the fields say what they are")]
pub enum Fault {
    /// For a while, requests have trouble.
    Requests {
        trouble: Trouble,
        percent: u8,
        for_ms: u64,
    },
    /// For a while, frames of watches have trouble.
    Frames {
        trouble: FrameTrouble,
        percent: u8,
        for_ms: u64,
    },
    /// For a while, a watch shows everything so much later.
    Lag { kind: Kind, by_ms: u64, for_ms: u64 },
    /// RBAC refuses a verb on a resource for a while.
    Forbid {
        verb: &'static str,
        resource: &'static str,
        for_ms: u64,
    },
    /// A watch shows nothing for a while, and then what it missed is forgotten: a new list.
    Blackout { kind: Kind, for_ms: u64 },
    /// Kubelets do not renew the Leases of their nodes for a while.
    Silence { nodes: NodeSet, for_ms: u64 },
    /// An application's elector says nothing for a while.
    Mute { app: &'static str, for_ms: u64 },
    /// For a while, RBAC refuses to show the Leases of applications: all of them, or those of the whole
    /// cluster at once.
    NoLeases { of_all: bool, for_ms: u64 },
    /// The server forgets its history.
    Compact,
    /// All watches of a kind end, cleanly or not.
    Unwatch { kind: Kind, broken: bool },
    /// Nothing reaches a replica for a while, and nothing of its reaches the server.
    Partition {
        whom: Whom,
        /// Connections break; else nothing is heard on them.
        broken: bool,
        for_ms: u64,
    },
    /// The API server is killed and started again: for a while nothing reaches it, and then it has no
    /// history, so that what resumes gets a 410.
    ServerRestart { for_ms: u64 },
    /// The API server ends. After a while it is back, with a backup of etcd that was made this long before.
    Restore { lost_ms: u64, for_ms: u64 },
    /// For a while, admission refuses what changes this part of a leader Service.
    Freeze { field: Field, for_ms: u64 },
    /// A replica is not scheduled for a while (SIGSTOP, a frozen machine).
    Pause { whom: Whom, for_ms: u64 },
    /// A replica's wall clock jumps by so many seconds.
    Jump { whom: Whom, by_s: i64 },
    /// A replica dies and comes back.
    Crash { whom: Whom, down_ms: u64 },
    /// A replica dies in the middle of one of its next requests, whose effect is there or not, and
    /// comes back: so it dies between any two.
    CrashInRequest {
        whom: Whom,
        /// Only writes to Services and slices count.
        of_writes: bool,
        skip: u8,
        applied: bool,
        down_ms: u64,
    },
    /// A replica is stopped in good order and started again.
    Restart { whom: Whom, down_ms: u64 },
}

/// Some of the nodes, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeSet(u8);

impl NodeSet {
    /// One of them.
    pub(crate) fn one(number: u64) -> Self {
        Self(1 << number)
    }

    /// All of them.
    pub(crate) fn all() -> Self {
        Self(u8::MAX)
    }

    /// All the others.
    pub(crate) fn others(self) -> Self {
        Self(!self.0)
    }

    /// Whether it is among them.
    pub(crate) fn has(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }
}

/// The replica that something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The one that holds the Lease.
    Holder,
    /// This one, counted round.
    Number(u8),
}

/// A part of a leader Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Names and numbers of its ports.
    Ports,
    /// Its type.
    Type,
    /// A label that is mirrored.
    Labels,
    /// An annotation that is mirrored.
    Annotations,
}

/// All there are.
pub(crate) const FIELDS: [Field; 4] =
    [Field::Ports, Field::Type, Field::Labels, Field::Annotations];

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// They take their time.
    Slow,
    /// An admission webhook takes seconds over writes.
    SlowAdmission,
    /// An admission webhook hangs: writes are let through, or refused, after its time-out.
    HungAdmission,
    /// The connection breaks before the effect.
    LostBefore,
    /// The connection breaks after the effect.
    LostAfter,
    /// No answer, no effect.
    HangBefore,
    /// No answer, but the effect.
    HangAfter,
    /// They arrive twice.
    Twice,
    /// 429, with and without Retry-After.
    Throttled,
    /// 500, 503 or 504, without effect.
    Broken,
    /// 500, 503 or 504, after the effect.
    BrokenAfter,
    /// The answer is cut off.
    Truncated,
    /// Lists show the past.
    Stale,
}

/// What happens to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameTrouble {
    /// They come twice.
    Twice,
    /// The connection breaks in the middle of one.
    Cut,
    /// The stream ends.
    End,
    /// 410.
    Expire,
}

/// All there are.
pub(crate) const TROUBLES: [Trouble; 14] = [
    // Twice as often: it hits lists only.
    Trouble::Stale,
    Trouble::Slow,
    Trouble::SlowAdmission,
    Trouble::HungAdmission,
    Trouble::LostBefore,
    Trouble::LostAfter,
    Trouble::HangBefore,
    Trouble::HangAfter,
    Trouble::Twice,
    Trouble::Throttled,
    Trouble::Broken,
    Trouble::BrokenAfter,
    Trouble::Truncated,
    Trouble::Stale,
];
/// All there are.
pub(crate) const FRAME_TROUBLES: [FrameTrouble; 4] = [
    FrameTrouble::Twice,
    FrameTrouble::Cut,
    FrameTrouble::End,
    FrameTrouble::Expire,
];
const WATCHED: [Kind; 4] = [Kind::Service, Kind::EndpointSlice, Kind::Pod, Kind::Lease];

impl Fault {
    /// One of them.
    pub(crate) fn any(chance: &mut Chance, for_ms: u64) -> Self {
        let down_ms = chance.pick(&[0, 5, 300, 5_000, 40_000]);
        let percent = chance.pick(&[10, 30, 70, 100]);
        let whom = chance.pick(&[
            Whom::Holder,
            Whom::Holder,
            Whom::Number(0),
            Whom::Number(1),
            Whom::Number(2),
        ]);
        match chance.below(105) {
            0..=36 => Self::Requests {
                trouble: chance.pick(&TROUBLES),
                percent,
                for_ms,
            },
            37..=47 => Self::Frames {
                trouble: chance.pick(&FRAME_TROUBLES),
                percent: percent.min(70),
                for_ms,
            },
            48..=57 => Self::Lag {
                kind: chance.pick(&WATCHED),
                by_ms: chance.pick(&[20, 500, 5_000]),
                for_ms,
            },
            58..=62 => Self::Forbid {
                verb: chance.pick(&["create", "patch", "delete", "list", "watch"]),
                resource: chance.pick(&["services", "endpointslices", "pods", "events", "leases"]),
                for_ms,
            },
            63..=64 => Self::Compact,
            65..=70 => Self::Blackout {
                kind: chance.pick(&[Kind::Pod, Kind::Pod, Kind::Service, Kind::EndpointSlice]),
                for_ms,
            },
            71..=75 => Self::Unwatch {
                kind: chance.pick(&WATCHED),
                broken: chance.percent(50),
            },
            76..=80 => Self::Pause {
                whom,
                for_ms: chance.pick(&[50, 3_000, 20_000]),
            },
            81..=84 => Self::Jump {
                whom,
                by_s: chance.pick(&[-86_400, -30, 30, 86_400]),
            },
            85..=90 => Self::Crash { whom, down_ms },
            91..=96 => Self::CrashInRequest {
                whom,
                of_writes: chance.percent(75),
                skip: chance.pick(&[0, 0, 1, 2, 5]),
                applied: chance.percent(50),
                down_ms,
            },
            97..=99 => Self::Restart { whom, down_ms },
            100..=101 => Self::Partition {
                whom,
                broken: chance.percent(50),
                for_ms: chance.pick(&[500, 3_000, 12_000, 30_000]),
            },
            _ => Self::ServerRestart {
                for_ms: chance.pick(&[500, 3_000, 12_000, 30_000]),
            },
        }
    }

    /// How long it is in force, in milliseconds.
    pub(crate) fn lasts_ms(&self) -> u64 {
        match *self {
            Self::Requests { for_ms, .. }
            | Self::Frames { for_ms, .. }
            | Self::Lag { for_ms, .. }
            | Self::Forbid { for_ms, .. }
            | Self::Blackout { for_ms, .. }
            | Self::Silence { for_ms, .. }
            | Self::Mute { for_ms, .. }
            | Self::NoLeases { for_ms, .. }
            | Self::Partition { for_ms, .. }
            | Self::ServerRestart { for_ms }
            | Self::Restore { for_ms, .. }
            | Self::Freeze { for_ms, .. }
            | Self::Pause { for_ms, .. } => for_ms,
            Self::Crash { down_ms, .. }
            | Self::CrashInRequest { down_ms, .. }
            | Self::Restart { down_ms, .. } => down_ms,
            Self::Compact | Self::Unwatch { .. } | Self::Jump { .. } => 0,
        }
    }

    /// The name under which its occurrences are counted.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Requests { trouble, .. } => format!("{trouble:?}"),
            Self::Frames { trouble, .. } => format!("frame {trouble:?}"),
            Self::Silence { nodes, .. } if nodes.0.is_power_of_two() => "NodeSilent".into(),
            Self::Silence { .. } => "NodesSilent".into(),
            Self::Freeze { field, .. } => format!("Freeze {field:?}"),
            Self::NoLeases { of_all: true, .. } => "NoLeases".into(),
            Self::NoLeases { .. } => "NoLeasesTogether".into(),
            Self::Unwatch { broken: false, .. } => "watches closed".into(),
            Self::Unwatch { broken: true, .. } => "watches broken".into(),
            Self::CrashInRequest {
                of_writes: true, ..
            } => "CrashInWrite".into(),
            other => {
                let text = format!("{other:?}");
                let end = text.find([' ', '{']).unwrap_or(text.len());
                text[..end].to_owned()
            }
        }
    }
}
