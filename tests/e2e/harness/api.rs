//! A small client of the Kubernetes API: JSON in, JSON out, every refusal with its words.
//! Never retries, except where a caller says so; shares no code with the program under test.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube_client::Client;
use kube_client::client::Body;
use kube_client::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::SHORT;

/// The kinds of objects that observers watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Service.
    Service,
    /// An EndpointSlice.
    Slice,
    /// A Pod.
    Pod,
    /// An Event, through the core group.
    Event,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Service, Self::Slice, Self::Pod, Self::Event];

    /// The path of the collection in a namespace.
    pub fn path(self, namespace: &str) -> String {
        let (group, resource) = match self {
            Self::Service => ("api/v1", "services"),
            Self::Slice => ("apis/discovery.k8s.io/v1", "endpointslices"),
            Self::Pod => ("api/v1", "pods"),
            Self::Event => ("api/v1", "events"),
        };
        format!("/{group}/namespaces/{namespace}/{resource}")
    }
}

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug)]
pub enum Patch {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
}

/// What the API server answered when it did not do as asked. `code` is 0 when there was no answer.
#[derive(Clone, Debug)]
pub struct Refused {
    /// HTTP status.
    pub code: u16,
    /// The server's words.
    pub message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    fn unanswered(why: impl fmt::Display) -> Self {
        Self {
            code: 0,
            message: why.to_string(),
        }
    }
}

/// A connection to one API server as one user.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

impl Api {
    /// Connects as the user of a kubeconfig.
    pub async fn connect(kubeconfig: &Path) -> Result<Self> {
        let read = Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("kubeconfig {}", kubeconfig.display()))?;
        let mut config =
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let client = Client::try_from(config)?;
        Ok(Self { client })
    }

    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// One request, answered within ten seconds or not at all.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let (code, bytes) = self.raw(method, path, content, body).await?;
        let is_json = bytes.first() == Some(&b'{');
        let answer = if is_json {
            serde_json::from_slice(&bytes).map_err(Refused::unanswered)?
        } else {
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        };
        if code < 300 {
            return Ok(answer);
        }
        let message = answer["message"].as_str().map(String::from);
        Err(Refused {
            code,
            message: message.unwrap_or_else(|| answer.to_string()),
        })
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        content: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>), Refused> {
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content)
            .body(Body::from(body))
            .map_err(Refused::unanswered)?;
        let exchange = async {
            let answer = self
                .client
                .send(request)
                .await
                .map_err(Refused::unanswered)?;
            let code = answer.status().as_u16();
            let body = answer.into_body().collect().await;
            Ok((code, body.map_err(Refused::unanswered)?.to_bytes().to_vec()))
        };
        let timed = tokio::time::timeout(Duration::from_secs(10), exchange);
        timed.await.map_err(Refused::unanswered)?
    }

    /// Reads an object, a list or a page of text.
    pub async fn get(&self, path: &str) -> Result<Value, Refused> {
        self.call(Method::GET, path, "application/json", None).await
    }

    /// Creates an object.
    pub async fn create(&self, collection: &str, object: &Value) -> Result<Value, Refused> {
        let (path, content) = (collection, "application/json");
        self.call(Method::POST, path, content, Some(object)).await
    }

    /// Patches an object.
    pub async fn patch(&self, path: &str, kind: Patch, change: &Value) -> Result<Value, Refused> {
        let content = match kind {
            Patch::Merge => "application/merge-patch+json",
            Patch::Json => "application/json-patch+json",
        };
        self.call(Method::PATCH, path, content, Some(change)).await
    }

    /// Deletes an object; `options` as in `DeleteOptions`.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, Refused> {
        let mut body = json!({"apiVersion": "v1", "kind": "DeleteOptions"});
        if let (Some(body), Some(options)) = (body.as_object_mut(), options.as_object()) {
            body.extend(options.clone());
        }
        self.call(Method::DELETE, path, "application/json", Some(&body))
            .await
    }

    /// Opens a watch from a resource version on.
    pub async fn watch(&self, collection: &str, version: &str) -> Result<Watch, Refused> {
        let path = format!(
            "{collection}?watch=1&allowWatchBookmarks=true&timeoutSeconds=900&resourceVersion={version}"
        );
        let request = Request::get(path)
            .body(Body::from(Vec::new()))
            .map_err(Refused::unanswered)?;
        let answer = self
            .client
            .send(request)
            .await
            .map_err(Refused::unanswered)?;
        let code = answer.status().as_u16();
        if code >= 300 {
            return Err(Refused {
                code,
                message: "watch refused".into(),
            });
        }
        Ok(Watch {
            body: answer.into_body(),
            read: BytesMut::new(),
        })
    }

    /// Calls again until the server does as asked; for servers that are just coming back.
    pub async fn insist<F>(
        &self,
        what: &str,
        within: Duration,
        ask: impl Fn() -> F,
    ) -> Result<Value>
    where
        F: Future<Output = Result<Value, Refused>>,
    {
        let deadline = Instant::now() + within;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(why) if Instant::now() > deadline => {
                    return Err(why).with_context(|| format!("{what}: not within {within:?}"));
                }
                Err(_) => tokio::time::sleep(SHORT).await,
            }
        }
    }
}

/// An open watch.
pub struct Watch {
    body: Body,
    read: BytesMut,
}

impl Watch {
    /// The next event as type and object; `None` at the end, however it came about.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end + 1);
                let mut event: Value = serde_json::from_slice(&line).ok()?;
                let kind = event["type"].as_str()?.to_owned();
                return Some((kind, event["object"].take()));
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.read.extend_from_slice(&data);
            }
        }
    }
}
