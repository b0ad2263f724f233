//! Which client sent which request to the API server, by its own audit log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::objects::text;
use super::{SHORT, SOON};

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The user that sent the request.
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
        Ok(self.read(mark, user, namespace)?.0)
    }

    /// The same, once every request that the server has received is answered. A watch shows an object
    /// before the log has the answer to the request that changed it.
    pub async fn settled(&self, mark: u64, user: &str, namespace: &str) -> Result<Vec<Entry>> {
        let deadline = Instant::now() + SOON;
        loop {
            let (found, open) = self.read(mark, user, Some(namespace))?;
            if open.is_empty() {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "no answer to requests {open:?}");
            tokio::time::sleep(SHORT).await;
        }
    }

    /// The requests that were answered, and the ids of those that were only received. A watch counts
    /// as answered once it has begun.
    fn read(
        &self,
        mark: u64,
        user: &str,
        namespace: Option<&str>,
    ) -> Result<(Vec<Entry>, BTreeSet<String>)> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(mark))?;
        let (mut found, mut open) = (Vec::new(), BTreeSet::new());
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
            if !is_in || text(&entry, "/user/username") != user {
                continue;
            }
            match text(&entry, "/stage") {
                "RequestReceived" => open.insert(of("/auditID")),
                _ => open.remove(text(&entry, "/auditID")),
            };
            if text(&entry, "/stage") == "ResponseComplete" {
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
        Ok((found, open))
    }
}
