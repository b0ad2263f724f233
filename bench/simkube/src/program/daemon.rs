//! The process that holds the objects: serves the API on a port, and commands on a socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::Failure;
use super::arguments::Arguments;
use super::audit_log::AuditLog;
use crate::access::User;
use crate::fault::{Committed, Observer};
use crate::fixture::Backup;
use crate::loopback::Authority;
use crate::options::Options;
use crate::server::SimKube;
use crate::write::gc::Controllers;

/// Files of an instance.
pub(super) const CONTROL: &str = "control.sock";
pub(super) const KUBECONFIG: &str = "kubeconfig";
pub(super) const LOGS: &str = "log";
pub(super) const PID: &str = "pid";

const GARBAGE: &str = "garbage-collector-controller";
const NAMESPACES: &str = "namespace-controller";
const OWNERS: &str = "OwnerReferencesPermissionEnforcement";

/// Runs until it is told to end.
pub(super) fn serve(arguments: &Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { Daemon::start(arguments).await?.run().await })
}

fn options(arguments: &Arguments) -> Options {
    Options {
        clock: Some(Arc::new(Timestamp::now)),
        dual_stack: true,
        managed_fields: true,
        rbac: true,
        owner_reference_enforcement: arguments.lists("admission-plugins", OWNERS),
        watch_list: !arguments.lists("feature-gates", "WatchList=false"),
        history: 100_000,
        // The requests are not read from this process: the audit log has them.
        log_limit: 0,
        ..Options::default()
    }
}

fn controllers(list: &str) -> Controllers {
    let runs = |name: &str| list.split(',').any(|entry| entry == name || entry == "*");
    Controllers {
        garbage: runs(GARBAGE),
        namespaces: runs(NAMESPACES),
    }
}

/// Wakes the controllers.
struct News(Arc<Notify>);

impl Observer for News {
    fn committed(&self, _: &Committed<'_>) {
        self.0.notify_one();
    }
}

/// A task and the way to end it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        // The receiver is gone if the task has ended by itself.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

struct Daemon {
    sim: SimKube,
    authority: Authority,
    address: SocketAddr,
    dir: PathBuf,
    socket: UnixListener,
    news: Arc<Notify>,
    api: Option<Running>,
    manager: Option<Running>,
    backup: Option<Backup>,
}

impl Daemon {
    async fn start(arguments: &Arguments) -> Result<Self, Failure> {
        let dir = PathBuf::from(
            arguments
                .get("dir")
                .ok_or_else(|| Failure::new("serve: expected --dir"))?,
        );
        let port = match arguments.get("port") {
            None => 0,
            Some(text) => text
                .parse()
                .map_err(|_| Failure::new(format!("--port {text}: expected a port")))?,
        };
        let sim = SimKube::new(options(arguments));
        for namespace in ["kube-public", "kube-node-lease"] {
            sim.namespace(namespace);
        }
        let news = Arc::new(Notify::new());
        sim.set_observer(Arc::new(News(Arc::clone(&news))));
        if arguments.has("audit-log") {
            let log = dir.join(LOGS).join("audit.log");
            sim.set_auditor(Arc::new(AuditLog::create(&log)?));
        }
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let mut daemon = Self {
            authority: Authority::new()?,
            address: listener.local_addr()?,
            socket: bind(&dir)?,
            sim,
            dir,
            news,
            api: None,
            manager: None,
            backup: None,
        };
        daemon.listen(listener);
        if arguments.has("controller-manager") {
            let list = arguments.all("controllers").join(",");
            daemon.start_controllers(&list);
        }
        let kubeconfig =
            daemon.kubeconfig_for("kubernetes-admin", &["system:masters"], KUBECONFIG)?;
        std::fs::write(daemon.dir.join(PID), std::process::id().to_string())?;
        println!("{kubeconfig}");
        Ok(daemon)
    }

    fn listen(&mut self, listener: TcpListener) {
        let (stop, stopped) = oneshot::channel::<()>();
        let (sim, authority) = (self.sim.clone(), self.authority.clone());
        let task = tokio::spawn(async move {
            let stopped = async {
                stopped.await.ok();
            };
            if let Err(error) = sim.serve(listener, &authority, "", stopped).await {
                eprintln!("simkube: the listener failed: {error}");
            }
        });
        self.api = Some(Running { stop, task });
    }

    fn start_controllers(&mut self, list: &str) {
        let (stop, mut stopped) = oneshot::channel::<()>();
        let (sim, news, which) = (self.sim.clone(), Arc::clone(&self.news), controllers(list));
        let task = tokio::spawn(async move {
            loop {
                sim.control(which);
                tokio::select! {
                    biased;
                    _ = &mut stopped => return,
                    () = news.notified() => {}
                }
            }
        });
        self.manager = Some(Running { stop, task });
    }

    /// Answers commands, one after the other, until it is told to end.
    async fn run(mut self) -> Result<(), Failure> {
        loop {
            let (mut stream, _) = self.socket.accept().await?;
            let mut question = String::new();
            stream.read_to_string(&mut question).await?;
            let ends = question == "down";
            let answer = match self.act(&question).await {
                Ok(text) => format!("ok {text}"),
                Err(why) => format!("error {why}"),
            };
            tell(&mut stream, &answer).await;
            if ends {
                return Ok(());
            }
        }
    }

    async fn act(&mut self, question: &str) -> Result<String, Failure> {
        let (command, rest) = question.split_once([' ', '\t']).unwrap_or((question, ""));
        match command {
            "down" => {}
            "status" => {
                let state = if self.api.is_some() {
                    "ready"
                } else {
                    "killed"
                };
                return Ok(state.into());
            }
            "kill-apiserver" => match self.api.take() {
                Some(api) => api.end().await,
                None => return Err(Failure::new("the API server is not running")),
            },
            "start-apiserver" => {
                if self.api.is_some() {
                    return Err(Failure::new("the API server is running already"));
                }
                let listener = TcpListener::bind(self.address).await?;
                self.listen(listener);
            }
            "start-controller-manager" => {
                if self.manager.is_some() {
                    return Err(Failure::new("the controller manager is running already"));
                }
                self.start_controllers(rest);
            }
            "stop-controller-manager" => {
                if let Some(manager) = self.manager.take() {
                    manager.end().await;
                }
            }
            "backup" => self.backup = Some(self.sim.backup()),
            "restore" => match &self.backup {
                Some(backup) => self.sim.restore(backup),
                None => return Err(Failure::new("there is no backup: make it first")),
            },
            "compact" => {
                self.sim.compact_to_now();
                return Ok(self.sim.resource_version().to_string());
            }
            "kubeconfig-for" => {
                let mut words = rest.split('\t');
                let user = words.next().unwrap_or_default();
                let groups: Vec<&str> = words.collect();
                let file = file_for(user, &groups);
                return self.kubeconfig_for(user, &groups, &file);
            }
            other => return Err(Failure::new(format!("unknown command {other}"))),
        }
        Ok(String::new())
    }

    /// Writes the kubeconfig of a user; its path.
    fn kubeconfig_for(&self, user: &str, groups: &[&str], file: &str) -> Result<String, Failure> {
        let token = self.sim.token(User::new(user, groups));
        let path = self.dir.join(file);
        std::fs::write(
            &path,
            self.authority.kubeconfig_of(self.address, user, &token),
        )?;
        Ok(path.display().to_string())
    }
}

/// A file name that shows the user and fits into a directory.
fn file_for(user: &str, groups: &[&str]) -> String {
    let all = [&[user], groups].concat().join("_");
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '-'
        }
    };
    format!(
        "{KUBECONFIG}-{}",
        all.chars().map(plain).collect::<String>()
    )
}

fn bind(dir: &Path) -> Result<UnixListener, Failure> {
    let path = dir.join(CONTROL);
    UnixListener::bind(&path).map_err(|error| {
        Failure::new(format!(
            "{}: {error} (a path of at most 107 bytes?)",
            path.display()
        ))
    })
}

async fn tell(stream: &mut UnixStream, answer: &str) {
    if let Err(error) = stream.write_all(answer.as_bytes()).await {
        eprintln!("simkube: cannot deliver the answer: {error}");
    }
}
