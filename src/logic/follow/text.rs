//! What the application says, in words for people.

use std::fmt;

use super::{Absence, Claim, Follow, Named, Silence};

impl fmt::Display for Claim<'_> {
    /// One sentence without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods: Vec<&str> = self.pods.iter().map(|pod| &*pod.name).collect();
        let pods = pods.join(", ");
        match self.follow {
            Follow::Label { key, value } => match self.named {
                Named::Pod(pod, _) => write!(f, "Pod {} has the label {key}={value}", pod.name),
                Named::Several => write!(f, "Several pods have the label {key}={value}: {pods}"),
                _ => write!(f, "No pod of the Service has the label {key}={value}"),
            },
            Follow::Lease { namespace, name } => {
                let lease = LeaseName(namespace.as_deref(), name);
                let holder = self.holder.unwrap_or_default();
                match self.named {
                    Named::Pod(pod, _) => {
                        write!(
                            f,
                            "{lease} is held by {holder:?}, which is pod {}",
                            pod.name
                        )
                    }
                    Named::Several => write!(
                        f,
                        "{lease} is held by {holder:?}, which matches several pods: {pods}"
                    ),
                    Named::Gone => write!(
                        f,
                        "{lease} is held by {holder:?}, and was not written since pod {pods} appeared"
                    ),
                    Named::Unknown => write!(
                        f,
                        "{lease} is held by {holder:?}, which matches no pod of the Service"
                    ),
                    Named::Silent(silence) => write!(f, "{lease} {silence}"),
                    Named::None | Named::Unclear => write!(f, "{lease} has no holder"),
                }
            }
            Follow::Unclear => f.write_str(
                "The annotation zen-lead.io/follow cannot be read, and no valid value is known",
            ),
        }
    }
}

/// The name of a Lease, with its namespace if that is another one.
struct LeaseName<'a>(Option<&'a str>, &'a str);

impl fmt::Display for LeaseName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(namespace) => write!(f, "Lease {namespace}/{}", self.1),
            None => write!(f, "Lease {}", self.1),
        }
    }
}

impl fmt::Display for Silence {
    /// The rest of a sentence that begins with the Lease.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => f.write_str("has not been read yet"),
            Self::Absent(Absence::NotFound) => f.write_str("does not exist"),
            Self::Absent(Absence::Forbidden) => {
                f.write_str("cannot be read: zen-lead has no right to list and watch it")
            }
            Self::Absent(Absence::Unreachable) => {
                f.write_str("cannot be read: the API server does not answer")
            }
            Self::Expired(held) => write!(f, "was not renewed for its duration of {held:?}"),
        }
    }
}
