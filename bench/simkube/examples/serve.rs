//! Serves a cluster of one Service and two pods, for looking at it with kubectl.
//!
//! `cargo run -p simkube --example serve -- /tmp/simkube.kubeconfig`

use simkube::{Authority, Options, SimKube};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "simkube.kubeconfig".into());
    let sim = SimKube::new(Options {
        epoch: jiff::Timestamp::now(),
        ..Options::default()
    });
    sim.service("default", "db")
        .selector(&[("app", "db")])
        .port("sql", 5432, "sql")
        .create();
    for (name, ip) in [("db-0", "10.0.0.1"), ("db-1", "10.0.0.2")] {
        sim.pod("default", name)
            .labels(&[("app", "db")])
            .ip(ip)
            .port("sql", 5432)
            .create();
    }
    let authority = Authority::new()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    std::fs::write(&path, authority.kubeconfig(listener.local_addr()?))?;
    println!("export KUBECONFIG={path}");
    sim.serve(listener, &authority, "", std::future::pending())
        .await
}
