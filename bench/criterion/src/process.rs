//! A child process, looked at from outside: memory, CPU time, and what it serves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// A child that is killed when it is forgotten.
pub struct Process {
    child: Child,
    /// When it was started.
    pub since: Instant,
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Footprint {
    /// Resident memory in bytes.
    pub resident: u64,
    /// The most there ever was.
    pub resident_max: u64,
    /// CPU time of all its threads.
    pub cpu: Duration,
}

impl Footprint {
    /// Of the process with this id.
    ///
    /// # Errors
    /// When there is none, or the kernel is no Linux.
    pub fn of(pid: u32) -> std::io::Result<Self> {
        let root = PathBuf::from(format!("/proc/{pid}"));
        let status = std::fs::read_to_string(root.join("status"))?;
        let kilobytes = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            1_024_u64 * number.unwrap_or(0)
        };
        let nanoseconds: u64 = std::fs::read_dir(root.join("task"))?
            .filter_map(|thread| {
                let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse::<u64>().ok()
            })
            .sum();
        Ok(Self {
            resident: kilobytes("VmRSS:"),
            resident_max: kilobytes("VmHWM:"),
            cpu: Duration::from_nanos(nanoseconds),
        })
    }
}

impl Process {
    /// Starts a program with nothing but these variables.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        program: &Path,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> std::io::Result<Self> {
        let since = Instant::now();
        let child = Command::new(program)
            .env_clear()
            .envs(variables.iter().copied())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { child, since })
    }

    /// What the kernel says of it now.
    ///
    /// # Panics
    /// When it has ended, or the kernel is no Linux.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.child.id()).expect("a living child")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and its end.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(mut self) -> std::io::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, Signal::TERM)?;
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// GETs a path of a loopback port: the status and how many bytes came.
///
/// # Errors
/// When there is no answer.
pub fn get(port: u16, path: &str) -> std::io::Result<(u16, usize)> {
    let mut stream = ask(port, path)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer[..answer.len().min(32)]).into_owned();
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.unwrap_or(0), answer.len()))
}

/// GETs a path whose answer never ends, and reads until `what` has come so many times.
///
/// # Errors
/// When there is no answer, or it stops before that.
pub fn read_until(port: u16, path: &str, what: &str, count: usize) -> std::io::Result<()> {
    let mut lines = BufReader::new(ask(port, path)?);
    let (mut seen, mut line) = (0, String::new());
    while seen < count {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        seen += line.matches(what).count();
    }
    Ok(())
}

fn ask(port: u16, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    Ok(stream)
}
