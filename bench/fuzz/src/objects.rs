//! Trimmed objects: what a server can hold parses, and means what Kubernetes' own types say.

use k8s_openapi::api::coordination::v1 as coordination;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;
use serde_json::from_slice;
use zen_lead::logic::model::{Lease, Object, Pod, Service, Slice};

use super::build;
use super::choices::Choices;
use super::judge;

/// Pods.
pub fn pod(data: &[u8]) {
    agree::<core::Pod, Pod>(data, build::pod, judge::is_valid_pod, judge::same_pod);
}

/// Services.
pub fn service(data: &[u8]) {
    agree::<core::Service, Service>(
        data,
        build::service,
        judge::is_valid_service,
        judge::same_service,
    );
}

/// `EndpointSlices`.
pub fn slice(data: &[u8]) {
    agree::<EndpointSlice, Slice>(data, build::slice, judge::is_valid_slice, judge::same_slice);
}

/// Leases.
pub fn lease(data: &[u8]) {
    agree::<coordination::Lease, Lease>(
        data,
        build::lease,
        judge::is_valid_lease,
        judge::same_lease,
    );
}

/// Bytes that begin like JSON are taken as the text of an object, others as choices.
fn agree<J, T>(
    data: &[u8],
    make: impl Fn(&mut Choices) -> Value,
    is_valid: impl Fn(&J) -> bool,
    same: impl Fn(&J, &T),
) where
    J: serde::de::DeserializeOwned + serde::Serialize,
    T: Object,
{
    if data.first() != Some(&b'{') {
        let text = make(&mut Choices::of(data)).to_string();
        let judge: J = serde_json::from_str(&text).expect("the judge reads what is valid");
        assert!(is_valid(&judge), "{text}");
        let ours: T = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
        same(&judge, &ours);
        return;
    }
    let ours = from_slice::<T>(data);
    let Some(judge) = from_slice::<J>(data).ok().filter(is_valid) else {
        return;
    };
    if let Ok(ours) = ours {
        same(&judge, &ours);
    }
    // As a server would write it, nothing keeps it from parsing.
    let text = serde_json::to_string(&judge).expect("it is plain data");
    let ours: T = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"));
    same(&judge, &ours);
}
