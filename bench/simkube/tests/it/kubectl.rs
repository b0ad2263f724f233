//! A real kubectl against the loopback port: what works, and what says clearly that it does not.
//!
//! Takes the kubectl that `KUBECTL` names, which must be there then (CI sets it), or else the one on
//! the PATH; without any there is nothing to try.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use simkube::{Kind, Options, SimKube, User};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::loopback::start;

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata:
  name: db
spec:
  selector: {app: db, tier: one}
  ports: [{port: 5432}]
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: held
spec: {holderIdentity: me}
";

fn kubectl() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KUBECTL") {
        let named = PathBuf::from(named);
        assert!(named.exists(), "KUBECTL={}: no such file", named.display());
        return Some(named);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join("kubectl"))
        .find(|file| file.exists())
}

/// A server, and kubectl with a kubeconfig for it.
struct Desk {
    sim: SimKube,
    kubectl: PathBuf,
    home: PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.home).ok();
    }
}

impl Desk {
    /// `user` and their groups, if RBAC is to be asked.
    async fn open(user: Option<User>) -> Option<Self> {
        let Some(kubectl) = kubectl() else {
            println!("kubectl: none on the PATH, nothing tried");
            return None;
        };
        let (sim, authority, address) = start(Options {
            rbac: user.is_some(),
            ..Options::default()
        })
        .await;
        let name = format!("simkube-{}-{}", std::process::id(), address.port());
        let home = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&home).unwrap();
        let kubeconfig = match user {
            None => authority.kubeconfig(address),
            Some(user) => {
                let name = user.name.clone();
                authority.kubeconfig_of(address, &name, &sim.token(user))
            }
        };
        std::fs::write(home.join("config"), kubeconfig).unwrap();
        std::fs::write(home.join("all.yaml"), MANIFEST).unwrap();
        Some(Self { sim, kubectl, home })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .args(arguments.split(' '))
            .env("KUBECONFIG", self.home.join("config"))
            .env("HOME", &self.home)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Everything that is printed, which must contain `want`.
    async fn run(&self, arguments: &str, want: &str) -> String {
        let output = self.command(arguments).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(want), "kubectl {arguments}: {text}");
        text
    }

    fn follow(&self, arguments: &str) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

#[tokio::test]
async fn kubectl_shows_and_changes() {
    let Some(desk) = Desk::open(None).await else {
        return;
    };
    desk.sim.node("n");
    desk.sim
        .pod("default", "p")
        .labels(&[("app", "db")])
        .ip("10.0.0.1")
        .create();
    desk.run("create -f all.yaml", "service/db created").await;
    desk.run("create -f all.yaml", "\"db\" already exists")
        .await;
    let wide = desk.run("get service db -o wide", "SELECTOR").await;
    assert!(wide.contains("app=db,tier=one"), "{wide}");
    let json = desk.run("get service db -o json", "\"clusterIP\"").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["spec"]["ports"][0]["port"], 5_432);
    desk.run("get service db -o yaml", "  type: ClusterIP")
        .await;
    desk.run("get services", "5432/TCP").await;
    desk.run("get pods -o wide", "10.0.0.1").await;
    desk.run("get pods -l app=db -o name", "pod/p").await;
    desk.run("get nodes", "Unknown").await;
    desk.run("get lease", "held   me").await;
    desk.run("get ns", "kube-system").await;
    desk.run("get endpointslices -A", "No resources found")
        .await;
    desk.run(
        "annotate service db example.com/a=b",
        "service/db annotated",
    )
    .await;
    desk.run(
        "get service db -o jsonpath={.metadata.annotations}",
        "example.com/a",
    )
    .await;
    desk.run("annotate service db example.com/a-", "service/db annotated")
        .await;
    desk.run("label svc db x=y", "service/db labeled").await;
    desk.run("label svc db x=z", "already has a value").await;
    desk.run(
        "delete pod p --grace-period=0 --force",
        "\"p\" force deleted",
    )
    .await;
    desk.run("delete service db", "\"db\" deleted").await;
    desk.run("get service db", "NotFound").await;
    desk.run("delete -f all.yaml --ignore-not-found", "\"held\" deleted")
        .await;
    for kind in [Kind::Service, Kind::Pod, Kind::Lease] {
        assert!(desk.sim.list(kind, "").is_empty(), "{kind}");
    }
}

#[tokio::test]
async fn kubectl_watches() {
    let Some(desk) = Desk::open(None).await else {
        return;
    };
    let mut following = desk.follow("get pods -w --no-headers");
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_mins(1), lines.next_line());
        line.await.expect("a line").unwrap().expect("it goes on")
    };
    // The watch may not be open yet, but a list comes before it.
    desk.sim.pod("default", "a").create();
    assert!(next().await.starts_with("a     1/1   Running"));
    desk.sim.set_ready("default", "a", false);
    assert!(next().await.starts_with("a     0/1   Running"));
    desk.sim.pod("default", "b").create();
    assert!(next().await.starts_with("b "));
    following.kill().await.unwrap();
}

#[tokio::test]
async fn kubectl_is_told_what_it_may_not() {
    let joe = User::new("joe", &[]);
    let Some(desk) = Desk::open(Some(joe)).await else {
        return;
    };
    desk.sim.create(
        Kind::ClusterRole,
        "",
        &json!({
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}],
        }),
    );
    let bind = json!({
        "metadata": {"name": "joe"},
        "roleRef": {"kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "joe"}],
    });
    desk.run("get pods", "User \"joe\" cannot list resource \"pods\"")
        .await;
    desk.run("auth can-i list pods", "no").await;
    desk.sim.create(Kind::RoleBinding, "default", &bind);
    desk.run("get pods", "No resources found in default namespace")
        .await;
    desk.run("auth can-i list pods", "yes").await;
    desk.run("auth can-i delete pods", "no").await;
    desk.run("auth can-i list pods -A", "no").await;
    desk.run("get pods -A", "at the cluster scope").await;
}

#[tokio::test]
async fn kubectl_is_told_what_is_not_served() {
    let Some(desk) = Desk::open(None).await else {
        return;
    };
    desk.sim.pod("default", "p").create();
    desk.run("logs p", "simkube does not serve log").await;
    desk.run("get deployments", "doesn't have a resource type")
        .await;
    desk.run(
        "create configmap x",
        "accepted media types include: application/json",
    )
    .await;
    desk.run("get --raw /apis/apps/v1/deployments", "NotFound")
        .await;
    let raw = "delete --raw /api/v1/namespaces/default/pods";
    desk.run(raw, "does not serve deletecollection of pods")
        .await;
    desk.run("get pods", "p      1/1").await;
}
