//! The other field manager of an object, from its managed fields. zen-lead does not store those. A slice
//! whose managed fields were cleared names only a client that uses server-side apply.

use kube_client::Client;
use serde::Deserialize;

use crate::logic::model::{Service, Slice};
use crate::logic::plan::{Kind, Target};
use crate::shell::api;

#[derive(Deserialize)]
struct Managed {
    metadata: ManagedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManagedMeta {
    #[serde(default)]
    managed_fields: Vec<FieldsEntry>,
}

#[derive(Deserialize)]
struct FieldsEntry {
    #[serde(default)]
    manager: String,
    #[serde(default)]
    time: Option<jiff::Timestamp>,
}

/// Who changed an object last, other than zen-lead, as words of an Event.
pub(super) async fn named(client: &Client, target: &Target) -> String {
    of(client, target).await.map_or_else(
        || "by a client that the object does not name".into(),
        |manager| format!("last changed by {manager}"),
    )
}

/// The field manager, other than zen-lead, that changed an object last.
async fn of(client: &Client, target: &Target) -> Option<String> {
    const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
    let (namespace, name) = (Some(&*target.key.namespace), Some(&*target.key.name));
    let path = match target.kind {
        Kind::Service => api::path::<Service>(namespace, name),
        Kind::Slice => api::path::<Slice>(namespace, name),
    };
    let answer = api::unary(client, api::get(path), TIMEOUT).await.ok()?;
    let object: Managed = serde_json::from_slice(&answer.body).ok()?;
    let others = object
        .metadata
        .managed_fields
        .into_iter()
        .filter(|entry| entry.manager != "zen-lead");
    others
        .max_by_key(|entry| entry.time)
        .map(|entry| entry.manager)
}
