//! Errors that a fault plan asks for by their code alone.

use super::status::{ApiError, Details};

impl ApiError {
    /// The error that a server, its overload protection or a proxy answers with this code. Used by fault plans.
    #[must_use]
    pub fn injected(code: u16, retry_after: Option<u32>) -> Self {
        let error = match code {
            400 => Self::bad_request("the server rejected our request for an unknown reason"),
            401 => Self::unauthorized(),
            403 => Self::new(403, "Forbidden", "forbidden: injected"),
            404 => Self::no_such_path(),
            405 => Self::method_not_allowed(),
            406 => Self::not_acceptable(true),
            409 => Self::new(409, "Conflict", "the server reported a conflict"),
            410 => Self::expired("The resourceVersion for the provided list is too old."),
            413 => Self::too_large(3_145_728),
            415 => Self::unsupported_media_type(&["application/json"]),
            422 => Self::unprocessable(),
            429 => Self::new(
                429,
                "TooManyRequests",
                "Too many requests, please try again later.",
            ),
            500 => Self::internal("etcdserver: leader changed"),
            503 => Self::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            ),
            504 => Self::new(
                504,
                "Timeout",
                "Timeout: request did not complete within the allotted timeout",
            )
            .details(Details::default()),
            _ => Self::new(code, "", "injected"),
        };
        error.retry_in(retry_after)
    }
}
