//! Who asked the API server for what, by its own audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::objects::text;

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who asked.
    pub user: String,
    /// As RBAC calls it.
    pub verb: String,
    /// The API group, "" for the core.
    pub group: String,
    /// As the URL calls it, with its subresource; "" for what is no resource.
    pub resource: String,
    /// Where, or "".
    pub namespace: String,
    /// The object, or "" for a collection or a create.
    pub name: String,
    /// Status of the answer.
    pub code: u64,
}

impl Entry {
    /// Whether it could change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// The log.
pub struct Audit(pub PathBuf);

impl Audit {
    /// Where the log ends now.
    pub fn mark(&self) -> Result<u64> {
        let meta = std::fs::metadata(&self.0);
        Ok(meta
            .with_context(|| format!("audit log {}", self.0.display()))?
            .len())
    }

    /// Every answered request of one user since a mark, in one namespace or all.
    pub fn since(&self, mark: u64, user: &str, namespace: Option<&str>) -> Result<Vec<Entry>> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(mark))?;
        let mut found = Vec::new();
        // A line that is being written has no end yet and does not parse.
        for line in BufReader::new(file).lines() {
            let line = line?;
            if !line.contains(user) {
                continue;
            }
            let Ok(entry) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let of = |pointer| text(&entry, pointer).to_owned();
            let is_in = namespace.is_none_or(|ns| text(&entry, "/objectRef/namespace") == ns);
            let is_done = text(&entry, "/stage") == "ResponseComplete";
            if is_in && is_done && text(&entry, "/user/username") == user {
                found.push(Entry {
                    user: of("/user/username"),
                    verb: of("/verb"),
                    group: of("/objectRef/apiGroup"),
                    resource: match of("/objectRef/subresource").as_str() {
                        "" => of("/objectRef/resource"),
                        part => format!("{}/{part}", of("/objectRef/resource")),
                    },
                    namespace: of("/objectRef/namespace"),
                    name: of("/objectRef/name"),
                    code: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
                });
            }
        }
        Ok(found)
    }
}
