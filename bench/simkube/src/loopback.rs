//! The server behind a real port: TLS with an authority of its own, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! The one place that spawns and that uses real time: a socket cannot wait for a simulated clock.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::server::SimKube;

/// A certificate authority that no other program trusts, and a server certificate for loopback names.
#[derive(Clone)]
pub struct Authority {
    ca: String,
    acceptor: TlsAcceptor,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes keys and certificates for `localhost`, `127.0.0.1` and `::1`.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "simkube");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let ca = params.self_signed(&key).map_err(io::Error::other)?.pem();
        let issuer = Issuer::new(params, key);

        let names = ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc"].map(String::from);
        let leaf = CertificateParams::new(names).map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = leaf.signed_by(&key, &issuer).map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            ca,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// A kubeconfig for a server at this address that looks at no tokens.
    #[must_use]
    pub fn kubeconfig(&self, address: SocketAddr) -> String {
        // Clients without any credentials ask for a password.
        self.kubeconfig_of(address, "simkube", "simkube")
    }

    /// A kubeconfig with the token of a user.
    #[must_use]
    pub fn kubeconfig_of(&self, address: SocketAddr, user: &str, token: &str) -> String {
        let ca = base64(self.ca.as_bytes());
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: simkube\n\
             clusters:\n- name: simkube\n  cluster:\n    server: https://{address}\n    certificate-authority-data: {ca}\n\
             contexts:\n- name: simkube\n  context:\n    cluster: simkube\n    user: {user:?}\n    namespace: default\n\
             users:\n- name: {user:?}\n  user:\n    token: {token}\n"
        )
    }
}

impl SimKube {
    /// Serves until `shutdown` is done or the listener fails; connections end with it.
    ///
    /// Requests of all connections count as those of `client`.
    pub async fn serve(
        &self,
        listener: TcpListener,
        authority: &Authority,
        client: &str,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let (stream, _) = tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                // Finished connections are collected, or they would pile up.
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted?,
            };
            let sim = self.clone();
            let (acceptor, client) = (authority.acceptor.clone(), client.to_owned());
            connections.spawn(async move {
                // A client that goes away or speaks no TLS is its own affair.
                let _ = sim.connection(stream, acceptor, client).await;
            });
        }
    }

    async fn connection(
        self,
        stream: TcpStream,
        acceptor: TlsAcceptor,
        client: String,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        stream.set_nodelay(true)?;
        let stream = acceptor.accept(stream).await?;
        let service = service_fn(move |request: Request<Incoming>| {
            let (sim, client) = (self.clone(), client.clone());
            async move { sim.handle(&client, request).await }
        });
        let executor = TokioExecutor::new();
        auto::Builder::new(executor)
            .serve_connection(TokioIo::new(stream), service)
            .await
    }
}

/// Standard base64, for the one place in a kubeconfig that wants it.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            if at <= chunk.len() {
                let index = group >> (18 - 6 * at) & 63;
                out.push(char::from(
                    ALPHABET[usize::try_from(index).unwrap_or_default()],
                ));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_usual_one() {
        for (text, want) in [
            ("", ""),
            ("a", "YQ=="),
            ("ab", "YWI="),
            ("abc", "YWJj"),
            ("abcd", "YWJjZA=="),
        ] {
            assert_eq!(base64(text.as_bytes()), want);
        }
    }
}
