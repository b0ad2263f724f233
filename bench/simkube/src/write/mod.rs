//! What the verbs that change something do. Synchronous and complete: one call, one transaction.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod gc;
pub(crate) mod managed;
pub(crate) mod patch;
pub(crate) mod pools;
pub(crate) mod prepare;
pub(crate) mod update;

use crate::access::User;
use crate::api::path::Query;

/// What a client says about its write beside the object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// Name in `managedFields`.
    pub(crate) manager: String,
    /// `fieldValidation=Strict`: unknown fields are refused instead of dropped.
    pub(crate) strict: bool,
    /// `dryRun=All`: everything but the change itself.
    pub(crate) dry_run: bool,
    /// Who asks, where RBAC wants to know.
    pub(crate) user: User,
}

impl Caller {
    /// Reads the query; without a `fieldManager` the user agent's first word stands in.
    pub(crate) fn from_query(query: &Query, agent: &str) -> Self {
        let manager = match query.get("fieldManager") {
            "" => agent.split('/').next().unwrap_or_default(),
            named => named,
        };
        Self {
            manager: if manager.is_empty() {
                "unknown".into()
            } else {
                manager.into()
            },
            strict: query.get("fieldValidation") == "Strict",
            dry_run: query.get("dryRun") == "All",
            user: User::default(),
        }
    }
}
