//! The server behind a real port. Real time, real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube_client::Client;
use kube_client::config::{Config, KubeConfigOptions, Kubeconfig};
use simkube::{Authority, Kind, Options, SimKube};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A server that runs for as long as the test.
pub(crate) async fn start(options: Options) -> (SimKube, Authority, SocketAddr) {
    // A provider that is installed already does no harm.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let sim = SimKube::new(options);
    let authority = Authority::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (server, tls) = (sim.clone(), authority.clone());
    tokio::spawn(async move {
        server
            .serve(listener, &tls, "socket", std::future::pending())
            .await
    });
    (sim, authority, address)
}

#[tokio::test]
async fn the_stock_client_works_over_http1() {
    let (sim, authority, address) = start(Options::default()).await;
    let kubeconfig = Kubeconfig::from_yaml(&authority.kubeconfig(address)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let lab = crate::http::Lab { sim, client };
    lab.post(crate::http::SERVICES, &crate::http::service("a"))
        .await
        .expect(201);
    let mut watch = lab
        .watch(&format!("{}?watch=1", crate::http::SERVICES))
        .await;
    assert_eq!(watch.event().await.1, "a");
    lab.post(crate::http::SERVICES, &crate::http::service("b"))
        .await
        .expect(201);
    assert_eq!(watch.event().await.1, "b");
    lab.get(&format!("{}/x", crate::http::SERVICES))
        .await
        .expect(404);
    lab.sim.break_watches(Kind::Service);
    assert!(watch.line().await.is_err());
    assert_eq!(lab.sim.requests()[0].client, "socket");
}

#[tokio::test]
async fn http2_is_agreed_on() {
    let (sim, authority, address) = start(Options::default()).await;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = |path: &str| {
        let uri = format!("https://{address}{path}");
        Request::get(uri).body(Empty::<Bytes>::new()).unwrap()
    };
    // A watch and a list share the connection.
    let mut watch = sender
        .send_request(request("/api/v1/pods?watch=1"))
        .await
        .unwrap()
        .into_body();
    let list = sender.send_request(request("/api/v1/pods")).await.unwrap();
    assert_eq!(list.status(), 200);
    sim.pod("default", "a").create();
    let frame = tokio::time::timeout(Duration::from_secs(10), watch.frame())
        .await
        .unwrap();
    let data = frame.unwrap().unwrap().into_data().unwrap();
    assert!(data.starts_with(br#"{"type":"ADDED""#));
}
