//! A complete list, page by page, for what no watch covers.

use std::time::Duration;

use kube_client::Client;

use super::{ApiStatus, CallError, Scope, get, path, unary, with_query};
use crate::logic::model::Object;
use crate::logic::reflect::Page;

/// Objects on a page.
const PAGE_OBJECTS: &str = "500";

/// Why there is no complete list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A page has no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The server refused.
    #[error("{0}")]
    Status(ApiStatus),
    /// A page does not parse, or one of its objects does not.
    #[error("{0}")]
    Malformed(String),
}

/// Every object in `scope` that the server has now and that `query` selects. Each page has `timeout`.
///
/// # Errors
///
/// If one page cannot be read: part of a list says nothing about what it lacks.
pub async fn list<T: Object>(
    client: &Client,
    scope: &Scope,
    query: &[(&str, &str)],
    timeout: Duration,
) -> Result<Vec<T>, ListError> {
    let mut objects = Vec::new();
    let mut token: Option<Box<str>> = None;
    loop {
        let mut query = query.to_vec();
        query.push(("limit", PAGE_OBJECTS));
        query.extend(token.as_deref().map(|token| ("continue", token)));
        let uri = with_query(path::<T>(scope.namespace(), None), &query);
        let answer = unary(client, get(uri), timeout).await?;
        if !answer.status.is_success() {
            return Err(ListError::Status(answer.to_status()));
        }
        let page = Page::parse(&answer.body);
        let page = page.map_err(ListError::Malformed)?;
        if let Some(unreadable) = page.unreadable.into_iter().next() {
            return Err(ListError::Malformed(unreadable.reason.into_string()));
        }
        objects.extend(page.objects);
        token = page.continue_token;
        if token.is_none() {
            return Ok(objects);
        }
    }
}
