//! The connection, and single requests over it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::{Method, Request, StatusCode, header};
use kube_client::Client;
use serde_json::Value;

use super::environment::Environment;
use super::grammar::Call;
use crate::logic::model::{Key, Service};
use crate::shell::api::{self, Scope};
use crate::shell::clock::Clock;
use crate::shell::transport::{self, Tuning};

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the cluster that a call is about.
pub struct Cluster {
    pub(super) client: Client,
    /// The namespace that is meant where nothing names one.
    namespace: String,
    /// What the environment says of a controller.
    pub(super) environment: Environment,
    /// Where it is, for people.
    pub(super) address: String,
    /// What time it is.
    pub(super) clock: Clock,
}

impl Cluster {
    /// Reads the kubeconfig. Sends nothing yet.
    pub(super) async fn of(call: &Call) -> Result<Self> {
        let mut config = transport::config_of(
            call.value("kubeconfig").map(Path::new),
            call.value("context"),
        )
        .await?;
        if let Some(user) = call.value("as") {
            config.auth_info.impersonate = Some(user.into());
        }
        Ok(Self {
            namespace: config.default_namespace.clone(),
            environment: Environment::read(|name| std::env::var(name).ok()),
            address: config.cluster_url.to_string(),
            client: transport::client(config, &Tuning::default())?,
            clock: Clock::system(),
        })
    }

    /// A connection that is there already, and the namespace that is meant where none is given.
    #[must_use]
    pub fn with(client: Client, namespace: &str, clock: Clock) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            environment: Environment::default(),
            address: "a given connection".into(),
            clock,
        }
    }

    /// The same in an environment, as a lookup of variables.
    #[must_use]
    pub fn within(self, env: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            environment: Environment::read(env),
            ..self
        }
    }

    /// Where to look.
    pub(super) fn scopes(&self, call: &Call) -> Vec<Scope> {
        match call.value("namespace") {
            _ if call.has("all-namespaces") => vec![Scope::All],
            Some(name) => vec![Scope::Namespace(name.into())],
            None => self.environment.scopes(&self.namespace),
        }
    }

    /// The Service that a call is about.
    ///
    /// # Errors
    ///
    /// When it could be in several namespaces.
    pub(super) fn source(&self, call: &Call) -> Result<Option<Key>> {
        let Some(name) = call.argument.as_deref() else {
            return Ok(None);
        };
        let namespace = match call.value("namespace") {
            Some(namespace) => namespace,
            None => self.environment.namespace(&self.namespace)?,
        };
        Ok(Some(Key::new(namespace, name)))
    }

    /// GET, or `None` where there is no such thing.
    pub(super) async fn get(&self, uri: String) -> Result<Option<Value>> {
        let what = uri.split('?').next().unwrap_or_default().to_owned();
        let answer = api::unary(&self.client, api::get(uri), TIMEOUT).await;
        let answer = answer.with_context(|| format!("cannot read {what}"))?;
        match answer.status {
            StatusCode::OK => Ok(Some(serde_json::from_slice(&answer.body)?)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => bail!("cannot read {what}: {}", answer.to_status()),
        }
    }

    /// POST of a question, whose answer is an object.
    pub(super) async fn ask(&self, uri: &str, body: &Value) -> Result<Value> {
        let request = Self::request(Method::POST, uri, "application/json", body)?;
        let answer = api::unary(&self.client, request, TIMEOUT).await?;
        if !answer.status.is_success() {
            bail!("{}", answer.to_status());
        }
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// Sets annotations of a Service, or takes them off.
    pub(super) async fn annotate(
        &self,
        service: &Key,
        annotations: &[(&str, Option<&str>)],
    ) -> Result<()> {
        let annotations: serde_json::Map<String, Value> = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
            .collect();
        let body = serde_json::json!({ "metadata": { "annotations": annotations } });
        let uri = api::path::<Service>(Some(&service.namespace), Some(&service.name));
        let uri = api::with_query(uri, &[("fieldManager", "zen-lead-cli")]);
        let request = Self::request(Method::PATCH, &uri, "application/merge-patch+json", &body)?;
        let answer = api::unary(&self.client, request, TIMEOUT).await;
        let answer = answer.with_context(|| format!("cannot annotate Service {service}"))?;
        if !answer.status.is_success() {
            bail!("cannot annotate Service {service}: {}", answer.to_status());
        }
        Ok(())
    }

    fn request(method: Method, uri: &str, kind: &str, body: &Value) -> Result<Request<Vec<u8>>> {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, kind)
            .header(header::ACCEPT, "application/json");
        Ok(request.body(body.to_string().into_bytes())?)
    }
}
