//! `process_*`, as client libraries everywhere name it, from `/proc` and two system calls.

use rustix::process::Resource;
use rustix::time::ClockId;

/// One reading of the process. A figure that the system does not tell is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    pub(super) start_seconds: Option<f64>,
}

impl Process {
    pub(super) fn read(started: Option<f64>) -> Self {
        let (virtual_bytes, resident_bytes) = memory().unzip();
        Self {
            cpu_seconds: cpu_seconds(),
            resident_bytes,
            virtual_bytes,
            open_fds: open_fds(),
            max_fds: rustix::process::getrlimit(Resource::Nofile).current,
            start_seconds: started,
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let whole = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(std::time::Duration::new(whole, nanos).as_secs_f64())
}

/// Virtual and resident memory in bytes.
fn memory() -> Option<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let page = u64::try_from(rustix::param::page_size()).ok()?;
    let mut pages = text
        .split_ascii_whitespace()
        .map_while(|word| word.parse::<u64>().ok());
    Some((pages.next()? * page, pages.next()? * page))
}

fn open_fds() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // Without the one that reads the directory.
    u64::try_from(entries.saturating_sub(1)).ok()
}

/// When the process started, in seconds since the epoch. Constant: read once.
#[expect(
    clippy::cast_precision_loss,
    reason = "seconds since 1970 need 31 bits, ticks since boot not many more"
)]
pub(super) fn started() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses and may contain anything.
    let (_, rest) = stat.rsplit_once(')')?;
    // proc(5): starttime is field 22, so the 20th after the command.
    let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: u64 = boot.trim().parse().ok()?;
    Some(boot as f64 + ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_alive() {
        let started = started().expect("a start");
        let process = Process::read(Some(started));
        assert!(process.cpu_seconds.is_some_and(|spent| spent > 0.0));
        let resident = process.resident_bytes.expect("memory");
        assert!(process.virtual_bytes.is_some_and(|all| all > resident));
        assert!(resident > 1 << 20);
        let fds = process.open_fds.expect("descriptors");
        assert!((3..process.max_fds.expect("a limit")).contains(&fds));
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        assert!(
            (started..started + 3600.0).contains(&now),
            "{started} {now}"
        );
    }
}
