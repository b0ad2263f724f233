//! The HTTP stack under [`kube_client::Client`], and where its configuration comes from.
//!
//! kube-client's own stack speaks HTTP/1.1 only, does not notice a dead connection and retries in
//! silence. This one speaks HTTP/2 where the server offers it, keeps asking the peer whether it is
//! there, gives up connecting early, and sends every request once. (hyper moves a request to
//! another connection only if the first one died before any of it was written.)
//!
//! Every client has its own connection: the caller makes one for watches, one for writes and one
//! for the Lease, so that a relist cannot stand in front of a PATCH, and writes that hang cannot
//! stand in front of a renewal. Watches of many namespaces have several, since they never end.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use http::Request;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube_client::client::{Body, ConfigExt as _};
use kube_client::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube_client::{Client, Config};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn, util::option_layer};

use super::api::chain;

/// So many requests an API server takes at once on one HTTP/2 connection, unless it was told
/// otherwise. What is more waits for one of them to end.
pub const STREAMS_MAX: usize = 100;

/// So many namespaces, of three watches each, share a connection on average: with that few,
/// chance never puts more than [`STREAMS_MAX`] watches on one.
const NAMESPACES_A_CONNECTION: usize = 10;

const SERVICE_HOST: &str = "KUBERNETES_SERVICE_HOST";

/// How soon a peer that does not answer counts as dead.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// For a TCP connection, and again for it with its TLS handshake.
    pub connect: Duration,
    /// HTTP/2: between two pings, also while no request is under way.
    pub ping_interval: Duration,
    /// HTTP/2: for the answer to a ping.
    pub ping_timeout: Duration,
    /// How long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`; Linux only).
    pub unacknowledged: Duration,
    /// Silence before the kernel's first keep-alive probe; three more follow, 1 s apart.
    pub keepalive: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            ping_interval: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(1),
            unacknowledged: Duration::from_secs(5),
            keepalive: Duration::from_secs(5),
        }
    }
}

/// Why there is no client. Each fits in one line and says what is expected.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A kubeconfig was found, or asked for, and cannot be used.
    #[error("kubeconfig {place}: {reason}; expected a kubeconfig with a current context")]
    Kubeconfig {
        /// The file or files.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The pod's own service account cannot be used.
    #[error(
        "in-cluster configuration: {0}; expected KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT \
         and a service account under /var/run/secrets/kubernetes.io/serviceaccount"
    )]
    InCluster(String),
    /// There is neither.
    #[error(
        "no API server: KUBECONFIG is not set, {0} does not exist, and KUBERNETES_SERVICE_HOST is \
         not set; expected one of them"
    )]
    Nowhere(String),
    /// A proxy is asked for.
    #[error(
        "proxy {proxy} for API server {host}: proxies are not supported; expected no proxy-url in \
         the kubeconfig, and no HTTPS_PROXY or {host} in NO_PROXY"
    )]
    Proxy {
        /// Its address.
        proxy: String,
        /// The server behind it.
        host: String,
    },
    /// Certificates, keys or credentials.
    #[error("API server {server}: {reason}")]
    Credentials {
        /// Address of the API server.
        server: String,
        /// What is wrong.
        reason: String,
    },
}

/// Makes a client with a connection of its own.
///
/// Tokens and CAs that live in files are read again about once a minute, by kube-client's layers.
/// Must be called inside a tokio runtime.
///
/// # Errors
///
/// When certificates or credentials cannot be used, or a proxy is asked for.
pub fn client(config: Config, tuning: &Tuning) -> Result<Client, TransportError> {
    spread(config, tuning, 1)
}

/// The same for watches of so many namespaces: with as many connections as they need, each path on
/// one of them.
///
/// # Errors
///
/// As for [`client`].
pub fn watching(
    config: Config,
    tuning: &Tuning,
    namespaces: usize,
) -> Result<Client, TransportError> {
    let connections = namespaces.div_ceil(NAMESPACES_A_CONNECTION);
    spread(config, tuning, connections.max(1))
}

fn spread(config: Config, tuning: &Tuning, connections: usize) -> Result<Client, TransportError> {
    // An error means that there is a provider already, which is as good.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    if let Some(proxy) = &config.proxy_url {
        return Err(TransportError::Proxy {
            proxy: proxy.to_string(),
            host: config.cluster_url.host().unwrap_or_default().to_owned(),
        });
    }
    let server = config.cluster_url.to_string();
    let unusable = |reason: String| TransportError::Credentials {
        server: server.clone(),
        reason,
    };
    let from_kube = |error: kube_client::Error| unusable(chain(&error));

    let tls = config.rustls_client_config().map_err(from_kube)?;
    let mut https = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    if let Some(name) = &config.tls_server_name {
        let parsed = rustls::pki_types::ServerName::try_from(name.clone())
            .map_err(|error| unusable(format!("tls-server-name {name:?}: {error}")))?;
        https = https.with_server_name_resolver(FixedServerNameResolver::new(parsed));
    }
    let https = https.enable_all_versions().wrap_connector(tcp(tuning));
    // The TCP connector's own limit does not cover the TLS handshake.
    let mut connector = TimeoutConnector::new(https);
    connector.set_connect_timeout(Some(tuning.connect));

    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .http2_keep_alive_interval(Some(tuning.ping_interval))
        .http2_keep_alive_timeout(tuning.ping_timeout)
        .http2_keep_alive_while_idle(true)
        .http2_adaptive_window(true);
    let all: Arc<[legacy::Client<_, Body>]> = (0..connections)
        .map(|_| builder.build(connector.clone()))
        .collect();
    let service = service_fn(move |request: Request<Body>| {
        let at = hash(request.uri().path()) % all.len();
        all[at].request(request)
    });
    let service = service.map_err(BoxError::from);
    let headers = config.extra_headers_layer().map_err(from_kube)?;
    let service = headers.layer(service);
    let auth = config.auth_layer().map_err(from_kube)?;
    let service = option_layer(auth).layer(service);
    let service = config.base_uri_layer().layer(service);
    Ok(Client::new(service, config.default_namespace))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "any bits of a hash will do"
)]
fn hash(path: &str) -> usize {
    FixedState::default().hash_one(path) as usize
}

fn tcp(tuning: &Tuning) -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(tuning.connect));
    tcp.set_keepalive(Some(tuning.keepalive));
    tcp.set_keepalive_interval(Some(Duration::from_secs(1)));
    tcp.set_keepalive_retries(Some(3));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(tuning.unacknowledged));
    tcp
}

/// Finds the API server: the kubeconfig `asked` for, those of `KUBECONFIG`, then `~/.kube/config`,
/// then the pod's own service account.
///
/// A file of `KUBECONFIG` that does not exist is skipped, as kubectl does, if another one does. A
/// kubeconfig that exists but cannot be used is an error and not skipped: the next place might be
/// another cluster.
///
/// # Errors
///
/// When the first of them that exists cannot be used, or none exists.
pub async fn config(asked: Option<&Path>) -> Result<Config, TransportError> {
    config_of(asked, None).await
}

/// The same for a context of the kubeconfig other than its current one.
///
/// # Errors
///
/// As for [`config`], and when there is no such context.
pub async fn config_of(
    asked: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, TransportError> {
    let ConfigSource::Kubeconfig(files) = place(asked)? else {
        return Config::incluster()
            .map_err(|error| TransportError::InCluster(one_line(&chain(&error))));
    };
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let loaded = match merged(&files) {
        Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
        Err(error) => Err(error),
    };
    let mut config = loaded.map_err(|error| TransportError::Kubeconfig {
        place: listed(&files),
        reason: one_line(&chain(&error)),
    })?;
    // kube-client applies HTTPS_PROXY but, built without proxies, not NO_PROXY.
    let host = config.cluster_url.host().unwrap_or_default();
    let excluded = var("NO_PROXY").or_else(|| var("no_proxy"));
    if is_direct(host, &excluded.unwrap_or_default()) {
        config.proxy_url = None;
    }
    Ok(config)
}

/// The namespace of the current context of the kubeconfig `asked` for, or of the usual ones;
/// `default` where the context names none, as for kubectl. `None` where no kubeconfig can be read;
/// [`config`] says why.
#[must_use]
pub fn namespace(asked: Option<&Path>) -> Option<String> {
    let ConfigSource::Kubeconfig(files) = place(asked).ok()? else {
        return None;
    };
    let kubeconfig = merged(&files).ok()?;
    let current = kubeconfig.current_context?;
    let mut contexts = kubeconfig.contexts.into_iter();
    let context = contexts.find(|context| context.name == current)?.context?;
    let namespace = context.namespace.filter(|name| !name.is_empty());
    Some(namespace.unwrap_or_else(|| "default".into()))
}

/// All of them as one: of what several name, the first one counts.
fn merged(files: &[PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    let mut all = files.iter().map(Kubeconfig::read_from);
    all.try_fold(Kubeconfig::default(), |merged, next| merged.merge(next?))
}

#[derive(Debug, PartialEq, Eq)]
enum ConfigSource {
    /// Files that are there.
    Kubeconfig(Vec<PathBuf>),
    InCluster,
}

fn place(asked: Option<&Path>) -> Result<ConfigSource, TransportError> {
    match asked {
        Some(path) => Ok(ConfigSource::Kubeconfig(vec![path.into()])),
        // A file whose existence cannot be checked counts as present. Reading it reports the error.
        None => locate(var, |path| path.try_exists().unwrap_or(true)),
    }
}

fn listed(files: &[PathBuf]) -> String {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    names.join(", ")
}

fn locate(
    var: impl Fn(&str) -> Option<String>,
    exists: impl Fn(&Path) -> bool,
) -> Result<ConfigSource, TransportError> {
    if let Some(named) = var("KUBECONFIG") {
        let named = std::env::split_paths(&named).filter(|path| !path.as_os_str().is_empty());
        let (there, missing): (Vec<_>, Vec<_>) = named.partition(|path| exists(path));
        if !there.is_empty() {
            return Ok(ConfigSource::Kubeconfig(there));
        }
        return Err(TransportError::Kubeconfig {
            place: format!("of KUBECONFIG ({})", listed(&missing)),
            reason: "no such file".into(),
        });
    }
    let home = var("HOME").map(|home| format!("{home}/.kube/config"));
    match home {
        Some(path) if exists(Path::new(&path)) => Ok(ConfigSource::Kubeconfig(vec![path.into()])),
        _ if var(SERVICE_HOST).is_some() => Ok(ConfigSource::InCluster),
        home => Err(TransportError::Nowhere(
            home.unwrap_or_else(|| "~/.kube/config".to_owned()),
        )),
    }
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Parsers of YAML draw pictures; a log line has no room for them.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether a host is reached without a proxy, by Go's rules: the machine itself, or listed in
/// `NO_PROXY` as a host, a domain, an address or a network.
fn is_direct(host: &str, excluded: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    excluded.split(',').map(str::trim).any(|entry| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        match (address, entry.split_once('/')) {
            _ if entry == "*" => true,
            (Some(address), Some((network, bits))) => in_network(address, network, bits),
            (Some(address), None) => entry.parse() == Ok(address),
            (None, _) => {
                let rest = host.strip_suffix(domain);
                !domain.is_empty()
                    && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    })
}

fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            bits <= 32
                && (a.to_bits() ^ b.to_bits())
                    .checked_shr(32 - bits)
                    .unwrap_or(0)
                    == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            bits <= 128
                && (a.to_bits() ^ b.to_bits())
                    .checked_shr(128 - bits)
                    .unwrap_or(0)
                    == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_configuration_comes_from() {
        let files = |paths: &[&str]| {
            let paths = paths.iter().map(PathBuf::from).collect();
            Some(ConfigSource::Kubeconfig(paths))
        };
        for (kubeconfig, home_exists, in_cluster, expected) in [
            (Some("/a:/b"), true, true, files(&["/a", "/b"])),
            (Some("/missing:/b::/missing"), true, true, files(&["/b"])),
            (None, true, true, files(&["/home/me/.kube/config"])),
            (None, false, true, Some(ConfigSource::InCluster)),
            (None, false, false, None),
        ] {
            let var = |name: &str| match name {
                "KUBECONFIG" => kubeconfig.map(str::to_owned),
                "HOME" => Some("/home/me".to_owned()),
                SERVICE_HOST => in_cluster.then(|| "10.0.0.1".to_owned()),
                other => panic!("{other} is not looked at"),
            };
            let exists = |path: &Path| home_exists && !path.ends_with("missing");
            let place = locate(var, exists);
            match expected {
                Some(expected) => assert_eq!(place.expect("a place"), expected),
                None => assert_eq!(
                    place.expect_err("no place").to_string(),
                    "no API server: KUBECONFIG is not set, /home/me/.kube/config does not exist, and \
                     KUBERNETES_SERVICE_HOST is not set; expected one of them"
                ),
            }
        }
    }

    #[test]
    fn kubeconfigs_that_are_all_missing_are_named() {
        let var = |name: &str| (name == "KUBECONFIG").then(|| "/a:/b".to_owned());
        let error = locate(var, |_| false).expect_err("neither is there");
        assert_eq!(
            error.to_string(),
            "kubeconfig of KUBECONFIG (/a, /b): no such file; expected a kubeconfig with a current \
             context"
        );
    }

    #[test]
    fn what_is_reached_without_a_proxy() {
        for (host, excluded, direct) in [
            ("127.0.0.1", "", true),
            ("[::1]", "", true),
            ("localhost", "", true),
            ("10.0.0.1", "", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.0/8, x", true),
            ("11.0.0.1", "10.0.0.0/8", false),
            ("11.0.0.1", "0.0.0.0/0", true),
            ("fd00::1", "fd00::/8", true),
            ("fe00::1", "fd00::/8", false),
            ("10.0.0.1", "10.0.0.0/33", false),
            ("api.example.com", "example.com", true),
            ("api.example.com", ".example.com", true),
            ("api.example.com", "*.example.com", true),
            ("badexample.com", "example.com", false),
            ("api.example.com", ",", false),
            ("api.example.com", "*", true),
        ] {
            assert_eq!(
                is_direct(host, excluded),
                direct,
                "{host} with {excluded:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_proxy_is_refused_in_one_line() {
        let mut config = Config::new("https://10.0.0.1:6443".parse().expect("a valid URL"));
        config.proxy_url = Some("http://proxy:3128".parse().expect("a valid URL"));
        let error = client(config, &Tuning::default()).err().expect("an error");
        assert_eq!(
            error.to_string(),
            "proxy http://proxy:3128/ for API server 10.0.0.1: proxies are not supported; expected \
             no proxy-url in the kubeconfig, and no HTTPS_PROXY or 10.0.0.1 in NO_PROXY"
        );
    }

    #[tokio::test]
    async fn a_bad_server_name_is_refused() {
        let mut config = Config::new("https://10.0.0.1:6443".parse().expect("a valid URL"));
        config.root_cert = Some(Vec::new());
        config.tls_server_name = Some("not a name".into());
        let error = client(config, &Tuning::default()).err().expect("an error");
        assert!(error.to_string().contains("tls-server-name"), "{error}");
    }
}
