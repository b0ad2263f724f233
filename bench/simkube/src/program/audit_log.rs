//! The audit log: one JSON object on each line.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use parking_lot::Mutex;

use crate::audit::{Audited, Auditor};

/// A file that grows.
pub(super) struct AuditLog {
    /// Held for one line; answers to two requests must not run into each other.
    file: Mutex<File>,
}

impl AuditLog {
    pub(super) fn create(path: &Path) -> std::io::Result<Self> {
        let file = Mutex::new(File::create(path)?);
        Ok(Self { file })
    }
}

impl Auditor for AuditLog {
    fn audited(&self, entry: &Audited) {
        let mut line = entry.to_json().to_string();
        line.push('\n');
        if let Err(error) = self.file.lock().write_all(line.as_bytes()) {
            eprintln!("simkube: audit log: {error}");
        }
    }
}
