//! An admission webhook of a scenario's own. The API server calls it on a loopback address.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::SOON;
use super::api::Kind::{self, Service, Slice};
use super::api::Patch;
use super::test::Test;

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";

/// What it does.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Allows everything, after this long.
    Allows(Duration),
    /// Never answers.
    Hangs,
    /// Allows everything, and changes it by this JSON patch.
    Changes(Value),
}

/// Runs until it is dropped.
pub struct Webhook {
    address: SocketAddr,
    authority: String,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Webhook {
    /// Listens on a port of its own.
    pub async fn start(manner: Manner) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tasks.spawn(serve(listener, acceptor, manner, Arc::clone(&asked)));
        Ok(Self {
            address,
            authority: made.cert.pem(),
            asked,
            _tasks: tasks,
        })
    }

    /// Has the API server ask it about slices of zen-lead in the scenario's namespace; returns when it
    /// does so. `kind` is `Validating` or `Mutating`.
    pub async fn register(&self, t: &Test, kind: &str, failure_policy: &str) -> Result<()> {
        let mut configuration = configuration(t, kind, failure_policy, self);
        configuration["webhooks"][0]["objectSelector"] = json!({"matchExpressions": [
            {"key": "zen-lead.io/source-service", "operator": "Exists"},
        ]});
        self.put(t, kind, &configuration, Slice).await
    }

    /// Has the API server let it change every Service in the scenario's namespace.
    pub async fn register_for_services(&self, t: &Test) -> Result<()> {
        let mut configuration = configuration(t, "Mutating", "Fail", self);
        let rule = &mut configuration["webhooks"][0]["rules"][0];
        rule["apiGroups"] = json!([""]);
        rule["resources"] = json!(["services"]);
        self.put(t, "Mutating", &configuration, Service).await
    }

    /// Puts a configuration in force; `web-leader` of that kind shows it.
    async fn put(&self, t: &Test, kind: &str, configuration: &Value, probed: Kind) -> Result<()> {
        t.api.create(&configurations(kind), configuration).await?;
        let probe = format!("{}?dryRun=All", t.path(probed, "web-leader"));
        let patch = json!({"metadata": {"labels": {"probe": "x"}}});
        let deadline = Instant::now() + SOON;
        while self.asked.load(Ordering::SeqCst) == 0 {
            ensure!(Instant::now() < deadline, "the webhook is never asked");
            let asked = t.api.patch(&probe, Patch::Merge, &patch);
            // It may hang; what counts is that it was called.
            let _ = tokio::time::timeout(Duration::from_millis(300), asked).await;
        }
        Ok(())
    }
}

/// The collection of the configurations of that kind.
pub fn configurations(kind: &str) -> String {
    format!("{ADMISSION}/{}webhookconfigurations", kind.to_lowercase())
}

/// The configuration of a webhook; it covers slices in the scenario's namespace.
fn configuration(t: &Test, kind: &str, failure_policy: &str, webhook: &Webhook) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": format!("{kind}WebhookConfiguration"),
        "metadata": {"name": t.ns},
        "webhooks": [{
            "name": "slices.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 10,
            "failurePolicy": failure_policy,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": t.ns}},
            "rules": [{
                "apiGroups": ["discovery.k8s.io"], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["endpointslices"],
            }],
            "clientConfig": {
                "url": format!("https://{}/", webhook.address),
                "caBundle": ByteString(webhook.authority.as_bytes().to_vec()),
            },
        }],
    })
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    manner: Manner,
    asked: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, manner, asked) = (acceptor.clone(), manner.clone(), Arc::clone(&asked));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(move |request| {
                asked.fetch_add(1, Ordering::SeqCst);
                answer(request, manner.clone())
            });
            // A client that disconnects in the middle has given up waiting.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    manner: Manner,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    match manner {
        Manner::Allows(after) => tokio::time::sleep(after).await,
        Manner::Hangs => std::future::pending().await,
        Manner::Changes(patch) => {
            response["patchType"] = "JSONPatch".into();
            response["patch"] = json!(ByteString(patch.to_string().into_bytes()));
        }
    }
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
    });
    let mut answer = Response::new(Full::new(Bytes::from(review.to_string())));
    let json = http::HeaderValue::from_static("application/json");
    answer
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    Ok(answer)
}
