//! After peace, nothing is left to be written.

use std::collections::BTreeSet;
use std::time::Duration;

use simkube::Kind;
use tokio::time::Instant;

use super::Stage;
use crate::oracle;

/// So long after the faults have ended and the oracle has looked, nothing may be written any more.
const QUIET: Duration = Duration::from_secs(30);
/// And so long after every replica was told to look again.
const QUIET_AGAIN: Duration = Duration::from_secs(5);

impl Stage {
    /// A replica that has come to rest stays so, and finds nothing to do when asked to look again. A leader
    /// that only an empty budget keeps is no rest: it is replaced once there is something in the budget.
    pub(super) async fn check_rest(&mut self) -> Result<(), String> {
        let kept = oracle::kept(&self.kube, &self.judge);
        let before = self.writes(&kept);
        self.wait_until(Instant::now() + QUIET).await?;
        for host in &self.hosts {
            host.look_again();
        }
        self.wait_until(Instant::now() + QUIET_AGAIN).await?;
        let after = self.writes(&kept);
        if after.len() > before.len() {
            return Err(format!("it still writes: {:?}", &after[before.len()..]));
        }
        Ok(())
    }

    /// Every request that was to change a Service or a slice, but for those of these leader Services.
    fn writes(&self, but: &BTreeSet<String>) -> Vec<String> {
        let writes = self.kube.writes().into_iter();
        let is_left_out = |name: &str| but.iter().any(|service| name.starts_with(service));
        writes
            .filter(|record| matches!(record.kind, Some(Kind::Service | Kind::EndpointSlice)))
            .filter(|record| !is_left_out(&record.name))
            .map(|record| {
                format!(
                    "{} {} {} -> {}",
                    record.verb.name(),
                    record.kind.map_or("", Kind::name),
                    record.name,
                    record.status
                )
            })
            .collect()
    }
}
