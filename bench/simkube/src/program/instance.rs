//! The side of the commands: finds an instance, speaks with it, stops and ends its process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Failure;
use super::arguments::Arguments;
use super::daemon::{CONTROL, KUBECONFIG, LOGS, PID};

/// Names the directory where `--dir` is not given.
const DIR: &str = "ZEN_LEAD_CP_DIR";
/// An answer comes at once, or never.
const PATIENCE: Duration = Duration::from_secs(10);
/// `status` when the API server does not listen.
const NOT_READY: u8 = 3;

/// A server that was started by `up`.
pub(super) struct Instance {
    dir: PathBuf,
}

impl Instance {
    /// Starts one; the path of its kubeconfig.
    pub(super) fn up(own: &[&str], arguments: &Arguments) -> Result<String, Failure> {
        let dir = match arguments.get("dir") {
            Some(dir) => PathBuf::from(dir),
            None => {
                std::env::temp_dir().join(format!("zen-lead-cp-simkube-{}", std::process::id()))
            }
        };
        if dir.join(PID).exists() {
            return Err(Failure::new(format!(
                "{} holds an instance already; end it with `down` first",
                dir.display()
            )));
        }
        fs::create_dir_all(dir.join(LOGS))?;
        let log = fs::File::create(dir.join(LOGS).join("simkube.log"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(own)
            .arg("serve")
            .args(&arguments.given)
            .arg("--dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C in a terminal is for the program in the foreground, not for the server.
            .process_group(0)
            .spawn()?;
        // It says one line when it is ready; a server that could not start says none.
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        if line.trim().is_empty() {
            let status = child.wait()?;
            let log = fs::read_to_string(dir.join(LOGS).join("simkube.log")).unwrap_or_default();
            return Err(Failure::new(format!(
                "it ended at once ({status}): {}",
                log.trim()
            )));
        }
        Ok(line.trim().to_owned())
    }

    /// The one that the command line or the environment names.
    pub(super) fn find(arguments: &Arguments) -> Result<Self, Failure> {
        let named = arguments.get("dir").map(PathBuf::from);
        let dir = named.or_else(|| std::env::var_os(DIR).map(PathBuf::from));
        let dir =
            dir.ok_or_else(|| Failure::new(format!("name an instance with --dir or {DIR}")))?;
        if !dir.join(PID).exists() {
            return Err(Failure::new(format!("no instance in {}", dir.display())));
        }
        Ok(Self { dir })
    }

    /// Performs a command on it.
    pub(super) fn perform(
        &self,
        command: &str,
        arguments: &Arguments,
    ) -> Result<ExitCode, Failure> {
        match command {
            "down" => self.down(arguments.has("keep"))?,
            "env" => self.env()?,
            "pause" => self.signal(Signal::STOP)?,
            "resume" => self.signal(Signal::CONT)?,
            "status" => {
                let state = self.ask("status")?;
                println!("{state}");
                if state != "ready" {
                    return Ok(ExitCode::from(NOT_READY));
                }
            }
            "restart-apiserver" => {
                self.ask("kill-apiserver")?;
                self.ask("start-apiserver")?;
            }
            "kill-apiserver" | "start-apiserver" | "stop-controller-manager" | "backup" => {
                self.ask(command)?;
            }
            "restore" => {
                for step in ["kill-apiserver", command, "start-apiserver"] {
                    self.ask(step)?;
                }
            }
            "start-controller-manager" => {
                let controllers = arguments.all("controllers").join(",");
                self.ask(&format!("{command} {controllers}"))?;
            }
            "compact" => println!("{}", self.ask(command)?),
            "kubeconfig-for" => {
                let account = arguments.get("serviceaccount");
                let account =
                    account.map(|name| format!("system:serviceaccount:{}", name.replace('/', ":")));
                let user = arguments.get("user").or(account.as_deref());
                let user = user.ok_or_else(|| {
                    let wanted = "--user NAME or --serviceaccount NAMESPACE/NAME";
                    Failure::new(format!("kubeconfig-for: expected {wanted}"))
                })?;
                let mut words = vec![command, user];
                words.extend(arguments.all("group").iter().map(String::as_str));
                // Tabs, since names may hold blanks.
                println!("{}", self.ask(&words.join("\t"))?);
            }
            other => return Err(Failure::new(format!("unknown command {other}; see --help"))),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// One question and its answer.
    fn ask(&self, question: &str) -> Result<String, Failure> {
        let path = self.dir.join(CONTROL);
        let silent = |error: std::io::Error| {
            Failure::new(format!("the instance in {}: {error}", self.dir.display()))
        };
        let mut stream = UnixStream::connect(&path).map_err(silent)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(question.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(silent)?;
        match answer.split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some(("error", text)) => Err(Failure::new(text)),
            _ => Err(Failure::new("the instance ended without an answer")),
        }
    }

    fn pid(&self) -> Result<Pid, Failure> {
        let path = self.dir.join(PID);
        let text = fs::read_to_string(&path)?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| Failure::new(format!("{}: expected a process id", path.display())))
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill_process(self.pid()?, signal).map_err(|error| Failure::new(error.to_string()))
    }

    fn env(&self) -> Result<(), Failure> {
        let dir = self.dir.canonicalize()?;
        println!("export KUBECONFIG={}", dir.join(KUBECONFIG).display());
        println!("export {DIR}={}", dir.display());
        Ok(())
    }

    /// Ends the process, paused or not, and removes what it left.
    fn down(&self, keep: bool) -> Result<(), Failure> {
        self.signal(Signal::CONT).ok();
        if self.ask("down").is_err() {
            self.signal(Signal::KILL).ok();
        }
        if !keep {
            remove(&self.dir)?;
        }
        Ok(())
    }
}

/// Removes what an instance made, and the directory if nothing else is in it.
fn remove(dir: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(dir.join(LOGS))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_own =
            name.is_some_and(|name| [CONTROL, PID].contains(&name) || name.starts_with(KUBECONFIG));
        if is_own {
            fs::remove_file(&path)?;
        }
    }
    // Files of other programs stay, and so does the directory then.
    fs::remove_dir(dir).ok();
    Ok(())
}
