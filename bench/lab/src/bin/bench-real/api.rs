//! JSON in, JSON out, over the controller's own transport.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube_client::Client;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use zen_lead::shell::api;
use zen_lead::shell::transport::{self, Tuning};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection of its own.
#[derive(Clone)]
pub struct Api(pub Client);

/// A collection, as the path of a namespace has it.
pub const SERVICES: (&str, &str) = ("/api/v1", "services");
/// A collection, likewise.
pub const PODS: (&str, &str) = ("/api/v1", "pods");
/// A collection, likewise.
pub const SLICES: (&str, &str) = ("/apis/discovery.k8s.io/v1", "endpointslices");

/// The path of a collection, or of an object in it.
pub fn path((group, resource): (&str, &str), namespace: &str, name: &str) -> String {
    let slash = if name.is_empty() { "" } else { "/" };
    format!("{group}/namespaces/{namespace}/{resource}{slash}{name}")
}

impl Api {
    /// Connects as the user of a kubeconfig.
    pub async fn connect(kubeconfig: &Path) -> Result<Self> {
        let config = transport::config(Some(kubeconfig)).await?;
        Ok(Self(transport::client(config, &Tuning::default())?))
    }

    /// One request; its answer, or the server's refusal as an error.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let content = match (method, body.is_array()) {
            ("PATCH", true) => "application/json-patch+json",
            ("PATCH", false) => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, content)
            .body(body.to_string().into_bytes())?;
        let answer = api::unary(&self.0, request, TIMEOUT).await;
        let answer = answer.with_context(|| format!("{method} {path}"))?;
        if !answer.status.is_success() {
            bail!("{method} {path}: {}", answer.to_status());
        }
        serde_json::from_slice(&answer.body).with_context(|| format!("{method} {path}"))
    }

    /// Creates an object; one that is there already will do.
    pub async fn ensure(&self, collection: &str, object: &Value) -> Result<()> {
        match self.call("POST", collection, object).await {
            Err(why) if !why.to_string().contains("409") => Err(why),
            _ => Ok(()),
        }
    }

    /// Deletes an object without grace.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
        });
        self.call("DELETE", path, &options).await.map(drop)
    }
}

/// Does something for each number, so many side by side; when the first one began and how long all
/// of them took.
pub async fn each<F>(
    count: usize,
    side_by_side: usize,
    act: impl Fn(usize) -> F,
) -> Result<(Instant, Duration)>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let from = Instant::now();
    let slots = Arc::new(Semaphore::new(side_by_side));
    let mut running = JoinSet::new();
    for number in 0..count {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let task = act(number);
        running.spawn(async move {
            let _slot = slot;
            task.await
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((from, from.elapsed()))
}
