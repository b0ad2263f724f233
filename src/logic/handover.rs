//! The memory of a switchover on request, kept on the leader Service so that a restart repeats
//! nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::model::Uid;

/// A switchover that has been carried out: the pod that was asked for, and its identity then.
///
/// It stands for as long as the same pod is asked for, so that one that comes back under its name
/// gets nothing back by itself; and for as long as that very pod leads, so that taking the request
/// away moves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedSwitchover {
    /// Name of the pod, as it was asked for.
    pub pod: Arc<str>,
    /// Its identity.
    pub uid: Uid,
}

impl CompletedSwitchover {
    /// Whether it still means anything, when this is asked for and that one leads.
    #[must_use]
    pub fn stands(&self, preferred: Option<&str>, leader: Option<&Uid>) -> bool {
        preferred == Some(&*self.pod) || leader == Some(&self.uid)
    }
}

impl fmt::Display for CompletedSwitchover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pod, self.uid)
    }
}

impl FromStr for CompletedSwitchover {
    type Err = ();

    /// Reads back what [`fmt::Display`] wrote; any other text counts as absent.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (pod, uid) = text.split_once('/').ok_or(())?;
        if pod.is_empty() || uid.is_empty() {
            return Err(());
        }
        Ok(Self {
            pod: pod.into(),
            uid: uid.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let handover = CompletedSwitchover {
            pod: "db-1".into(),
            uid: "6f0c".into(),
        };
        assert_eq!(handover.to_string(), "db-1/6f0c");
        assert_eq!("db-1/6f0c".parse(), Ok(handover));
        for text in ["", "db-1", "/6f0c", "db-1/"] {
            assert_eq!(text.parse::<CompletedSwitchover>(), Err(()), "{text:?}");
        }
    }

    #[test]
    fn it_stands_while_it_is_asked_for_or_leads() {
        let handover: CompletedSwitchover = "db-1/6f0c".parse().expect("well-formed");
        let (own, other): (Uid, Uid) = ("6f0c".into(), "77aa".into());
        for (preferred, leader, expected) in [
            (Some("db-1"), Some(&own), true),
            (Some("db-1"), Some(&other), true),
            (Some("db-1"), None, true),
            (Some("db-2"), Some(&own), true),
            (Some("db-2"), Some(&other), false),
            (None, Some(&own), true),
            (None, Some(&other), false),
            (None, None, false),
        ] {
            assert_eq!(
                handover.stands(preferred, leader),
                expected,
                "{preferred:?} {leader:?}"
            );
        }
    }
}
