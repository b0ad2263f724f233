//! Reads the Leases that sources follow, once: a command judges by what they say now. Whether one of them is
//! silent, only the controller knows, which has watched it.

use std::time::Duration;

use http::StatusCode;

use super::client::Cluster;
use super::cluster_view::ClusterView;
use crate::logic::follow::Absence;
use crate::logic::model::{FollowedLease, Key};
use crate::logic::settings::{self, Settings};
use crate::shell::api;

/// For one request.
const TIMEOUT: Duration = Duration::from_secs(10);

impl ClusterView {
    /// Reads the Leases that the sources in sight follow.
    pub(super) async fn read_leases(&self, cluster: &Cluster) {
        for source in self.store.sources() {
            let service = self.store.service(&source);
            let lease = service.and_then(|service| {
                let annotations = &service.metadata.annotations;
                let (settings, _) = settings::read(annotations, &Settings::default());
                settings.follow?.lease(&source.namespace)
            });
            let Some(lease) = lease else {
                continue;
            };
            let _first_sight = self.store.follow(&source, Some(&lease), false);
            self.read_lease(cluster, &lease).await;
        }
    }

    async fn read_lease(&self, cluster: &Cluster, key: &Key) {
        let uri = api::path::<FollowedLease>(Some(&key.namespace), Some(&key.name));
        let answer = api::unary(&cluster.client, api::get(uri), TIMEOUT).await;
        let absence = match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                if let Ok(lease) = serde_json::from_slice(&answer.body) {
                    drop(self.store.put_lease(lease, self.now().moment));
                    return;
                }
                Absence::Unreachable
            }
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Absence::NotFound,
            Ok(answer) if answer.status == StatusCode::FORBIDDEN => Absence::Forbidden,
            Ok(_) | Err(_) => Absence::Unreachable,
        };
        drop(self.store.miss_lease(key, absence));
    }
}
