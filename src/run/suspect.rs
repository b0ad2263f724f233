//! A pod of which a new writer is not sure, as the server has it now. By a list, since the right to get a
//! single pod is not asked for.

use std::time::Duration;

use kube_client::Client;
use serde::Deserialize;

use super::feeds::LIVE_PODS;
use crate::logic::model::{Key, Pod};
use crate::shell::api;

/// A failover waits for the answer.
const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Pods {
    #[serde(default)]
    items: Option<Vec<Pod>>,
}

/// The pod of that name, unless there is none or it has ended.
///
/// # Errors
/// What the server, or the connection to it, says instead.
pub(super) async fn read(client: &Client, pod: &Key) -> Result<Option<Pod>, String> {
    let selector = format!("metadata.name={},{LIVE_PODS}", pod.name);
    let path = api::path::<Pod>(Some(&pod.namespace), None);
    let uri = api::with_query(path, &[("fieldSelector", &selector)]);
    let answer = api::unary(client, api::get(uri), TIMEOUT)
        .await
        .map_err(|why| why.to_string())?;
    if !answer.status.is_success() {
        return Err(answer.to_status().to_string());
    }
    let pods: Pods = serde_json::from_slice(&answer.body).map_err(|why| why.to_string())?;
    Ok(pods.items.unwrap_or_default().pop())
}
