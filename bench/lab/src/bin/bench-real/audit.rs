//! What the API server notes of requests: when each arrived, and when it was answered.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

/// A request that was answered. Both times are of the server's clock, to the microsecond.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it.
    pub user: String,
    /// The verb, in the words of RBAC.
    pub verb: String,
    /// The resource; empty if the request is about none.
    pub resource: String,
    /// The namespace of the object.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// When the server received it.
    pub received: Timestamp,
    /// When it was answered.
    pub answered: Timestamp,
}

/// The answered requests in a log from this byte on.
pub fn read(log: &Path, from: u64) -> Result<Vec<Request>> {
    let mut file = File::open(log).with_context(|| format!("open {}", log.display()))?;
    file.seek(SeekFrom::Start(from))?;
    let mut requests = Vec::new();
    for line in BufReader::new(file).lines() {
        let entry: Value = serde_json::from_str(&line?).context("an entry of the audit log")?;
        if entry["stage"] == "ResponseComplete" {
            requests.push(request(&entry)?);
        }
    }
    Ok(requests)
}

fn request(entry: &Value) -> Result<Request> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let time = |name: &str| {
        let time = text(&entry[name]).parse();
        time.with_context(|| format!("{name} of an entry of the audit log"))
    };
    let object = &entry["objectRef"];
    Ok(Request {
        user: text(&entry["user"]["username"]),
        verb: text(&entry["verb"]),
        resource: text(&object["resource"]),
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        received: time("requestReceivedTimestamp")?,
        answered: time("stageTimestamp")?,
    })
}
