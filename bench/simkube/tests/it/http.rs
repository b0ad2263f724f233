//! Raw requests: what the tests speak with the server.

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request};
use http_body_util::BodyExt;
use kube_client::Client;
use kube_client::client::Body;
use serde_json::{Value, json};
use simkube::{Options, SimKube, protobuf};

/// A server, one client of it, and its requests in short.
pub(crate) struct Lab {
    pub(crate) sim: SimKube,
    pub(crate) client: Client,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) text: String,
    /// The media type, and the body as it came: what is not JSON is read from it.
    pub(crate) content_type: String,
    pub(crate) bytes: Bytes,
    pub(crate) retry_after: Option<String>,
}

impl Answer {
    /// The message of a status.
    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The resourceVersion of an object or a list.
    pub(crate) fn rv(&self) -> u64 {
        self.body["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }
}

pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

impl Lab {
    pub(crate) fn new(options: Options) -> Self {
        let sim = SimKube::new(options);
        let client = sim.client();
        Self { sim, client }
    }

    pub(crate) fn plain() -> Self {
        Self::new(Options::default())
    }

    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let types = (content_type, "application/json");
        self.ask(method, path, types, body).await
    }

    /// A request with the media types of its body and of the answer.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        (content_type, accept): (&str, &str),
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .header("accept", accept)
            .header("user-agent", "lab/1.0")
            .body(Body::from(body))
            .unwrap();
        let response = self.client.send(request).await.map_err(|e| e.to_string())?;
        let code = response.status().as_u16();
        let header = response.headers().get("retry-after");
        let retry_after = header.and_then(|v| v.to_str().ok()).map(str::to_owned);
        let header = response.headers().get("content-type");
        let content_type = header.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|e| e.to_string())?
            .to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer {
            code,
            body,
            text,
            content_type,
            bytes,
            retry_after,
        })
    }

    async fn send(&self, method: Method, path: &str, content_type: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            Vec::new()
        } else {
            serde_json::to_vec(body).unwrap()
        };
        self.try_send(method, path, content_type, body)
            .await
            .unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "application/json", &Value::Null)
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body)
            .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, "application/json", body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        let kind = if body.is_array() {
            JSON_PATCH
        } else {
            MERGE_PATCH
        };
        self.send(Method::PATCH, path, kind, body).await
    }

    pub(crate) async fn patch_as(&self, kind: &str, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, kind, body).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        self.send(Method::DELETE, path, "application/json", options)
            .await
    }

    /// A watch that must be accepted.
    pub(crate) async fn watch(&self, path: &str) -> Watcher {
        self.watch_in(path, "application/json").await
    }

    /// The same in the encoding of a media type.
    pub(crate) async fn watch_in(&self, path: &str, accept: &str) -> Watcher {
        let request = Request::get(path)
            .header("accept", accept)
            .body(Body::empty())
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Watcher {
            body: response.into_body(),
            buffer: BytesMut::new(),
        }
    }
}

/// The other end of a watch.
pub(crate) struct Watcher {
    body: Body,
    buffer: BytesMut,
}

impl Watcher {
    /// The next line; none at a clean end; the error of a connection that broke.
    pub(crate) async fn line(&mut self) -> Result<Option<String>, String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(at);
                self.buffer.advance(1);
                return Ok(Some(String::from_utf8(line.to_vec()).unwrap()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Ok(None),
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Value {
        let line = self.line().await.unwrap().expect("the stream goes on");
        serde_json::from_str(&line).unwrap()
    }

    /// The next event of a watch in protobuf, as it would be in JSON.
    pub(crate) async fn next_protobuf(&mut self) -> Value {
        loop {
            if let Some((length, rest)) = self.buffer.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if rest.len() >= length {
                    self.buffer.advance(4);
                    let event = self.buffer.split_to(length);
                    let (kind, object) = protobuf::object(&event).expect("an event");
                    return json!({"type": kind, "object": protobuf::to_json(object).unwrap()});
                }
            }
            let frame = self.body.frame().await.expect("the stream goes on");
            self.buffer
                .extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// Type, name and resourceVersion of the next event.
    pub(crate) async fn event(&mut self) -> (String, String, u64) {
        let event = self.next().await;
        let meta = &event["object"]["metadata"];
        (
            event["type"].as_str().unwrap().to_owned(),
            meta["name"].as_str().unwrap_or_default().to_owned(),
            meta["resourceVersion"]
                .as_str()
                .and_then(|rv| rv.parse().ok())
                .unwrap_or_default(),
        )
    }

    /// Whether nothing arrives for so long.
    pub(crate) async fn is_quiet(&mut self, seconds: u64) -> bool {
        let wait = std::time::Duration::from_secs(seconds);
        tokio::time::timeout(wait, self.line()).await.is_err()
    }

    /// Bytes that came after the last line.
    pub(crate) fn rest(&self) -> usize {
        self.buffer.len()
    }
}

/// A Service with one port.
pub(crate) fn service(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
}

/// A slice without endpoints.
pub(crate) fn slice(name: &str) -> Value {
    json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]})
}

pub(crate) const SERVICES: &str = "/api/v1/namespaces/default/services";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
