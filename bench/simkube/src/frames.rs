//! Frames that are not objects: bookmarks and the error of a watch that came too late.

use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::store::Compacted;

/// An object of the kind with nothing in it but the resourceVersion.
pub(crate) fn bookmark(kind: Kind, rv: u64, initial_end: bool) -> String {
    let annotations = if initial_end {
        ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}"
    } else {
        ""
    };
    // The zero value of each type, as Go writes it.
    let rest = match kind {
        Kind::Pod => ",\"spec\":{\"containers\":null},\"status\":{}",
        Kind::Service => ",\"spec\":{},\"status\":{\"loadBalancer\":{}}",
        Kind::EndpointSlice => ",\"addressType\":\"\",\"endpoints\":null,\"ports\":null",
        Kind::Lease => ",\"spec\":{}",
        Kind::Namespace => ",\"spec\":{},\"status\":{}",
        Kind::Node | Kind::Endpoints | Kind::Event => "",
    };
    format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{rv}\"{annotations}}}{rest}}}",
        kind.name(),
        kind.api_version()
    )
}

/// The refusal of a watch from before the floor.
pub(crate) fn too_old(rv: u64, compacted: Compacted) -> ApiError {
    ApiError::expired(format!(
        "too old resource version: {rv} ({})",
        compacted.floor
    ))
}
