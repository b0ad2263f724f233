//! One exchange with the API server: a write as an HTTP request, and its answer as a [`Verdict`].

use std::time::Duration;

use kube_client::Client;
use serde_json::json;

use super::answer::{self, Observed, Verdict};
use super::slot::RequestKind;
use crate::logic::model::Version;
use crate::logic::plan::{Action, Op, Write};
use crate::mutations::{self, Mutation};
use crate::shell::api::{self, CallError};

/// Time limit of a read. No admission webhook delays it.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Space for the patch of a slice, which is the one that must not wait.
const PATCH_BYTES: usize = 1_024;

/// Does the errand for a write. The request itself is cancelled after `limit`.
pub(super) async fn run(
    client: &Client,
    errand: RequestKind,
    write: &Write,
    limit: Duration,
) -> Verdict {
    if errand == RequestKind::Write {
        return send(client, write, limit).await;
    }
    match read(client, write).await {
        Verdict::Conflict(observed) => Verdict::Probed(observed),
        verdict => verdict,
    }
}

/// Sends the write. Reads the object if the answer is a conflict.
async fn send(client: &Client, write: &Write, limit: Duration) -> Verdict {
    let answer = match api::unary(client, request(write), limit).await {
        Ok(answer) => answer,
        Err(why) => return failed(&why),
    };
    if answer.status.is_success() {
        return answer::accepted(write, &answer);
    }
    let status = answer.to_status();
    let is_create = matches!(write.action, Action::Create(_));
    match status.code {
        404 if !is_create => Verdict::Conflict(Observed::Gone(write.target.clone())),
        409 if mutations::is(Mutation::ConflictIgnored) => {
            Verdict::Conflict(Observed::Gone(write.target.clone()))
        }
        409 => read(client, write).await,
        _ => answer::refused(write, status),
    }
}

/// Reads the object after a lost race.
async fn read(client: &Client, write: &Write) -> Verdict {
    match api::unary(
        client,
        api::get(answer::path(&write.target, true)),
        READ_TIMEOUT,
    )
    .await
    {
        Ok(answer) if answer.status.is_success() => answer::observed(write, &answer).map_or_else(
            |why| Verdict::Failed {
                why,
                code: None,
                retry_after: None,
            },
            Verdict::Conflict,
        ),
        Ok(answer) if answer.status.as_u16() == 404 => {
            Verdict::Conflict(Observed::Gone(write.target.clone()))
        }
        Ok(answer) => answer::refused(write, answer.to_status()),
        Err(why) => failed(&why),
    }
}

fn failed(why: &CallError) -> Verdict {
    Verdict::Failed {
        why: why.to_string(),
        code: None,
        retry_after: None,
    }
}

fn request(write: &Write) -> http::Request<Vec<u8>> {
    let query = [("fieldManager", "zen-lead"), ("fieldValidation", "Strict")];
    let at = |named| api::with_query(answer::path(&write.target, named), &query);
    let (method, uri, content, body) = match &write.action {
        Action::Create(object) => (
            http::Method::POST,
            at(false),
            "application/json",
            object.as_str().into(),
        ),
        Action::Patch { version, ops } => (
            http::Method::PATCH,
            at(true),
            "application/json-patch+json",
            patch(version, ops),
        ),
        Action::Delete { uid, version } => {
            let options = json!({
                "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
                "preconditions": { "uid": uid, "resourceVersion": version.to_string() },
            });
            let uri = answer::path(&write.target, true);
            (
                http::Method::DELETE,
                uri,
                "application/json",
                options.to_string().into_bytes(),
            )
        }
    };
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    // Names come from the API server, or were checked as DNS labels: they are fine in a path.
    *request.uri_mut() = uri.parse().unwrap_or_default();
    let content = http::HeaderValue::from_static(content);
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, content);
    request
}

/// The body of a JSON patch that takes effect on this version only.
fn patch(version: &Version, ops: &[Op]) -> Vec<u8> {
    let mut body = Vec::with_capacity(PATCH_BYTES);
    body.push(b'[');
    if !mutations::is(Mutation::NoVersionGuard) {
        let guard = r#"{"op":"replace","path":"/metadata/resourceVersion","value":""#;
        body.extend_from_slice(guard.as_bytes());
        body.extend_from_slice(version.to_string().as_bytes());
        body.extend_from_slice(br#""}"#);
    }
    for op in ops {
        if body.len() > 1 {
            body.push(b',');
        }
        // Plain data always serializes, and a Vec takes every byte.
        let _infallible = serde_json::to_writer(&mut body, op);
    }
    body.push(b']');
    body
}
