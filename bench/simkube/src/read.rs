//! GET of an object and of a collection.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use crate::api::accept::Form;
use crate::api::kind::Kind;
use crate::api::path::{Query, Target};
use crate::api::selector::Selector;
use crate::api::status::ApiError;
use crate::api::violation::Violations;
use crate::protobuf;
use crate::state::State;
use crate::store::{Key, Object, Snapshot, in_range};
use crate::table;

const EXPIRED_PAGE: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Where a list goes on. The text is opaque to clients; this one can be read by people.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    /// The state the list began with; none to go on with whatever is there now.
    rv: Option<u64>,
    after: Key,
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let (rv, key) = text.split_once(':')?;
        let (namespace, name) = key.split_once('/')?;
        let rv = if rv == "-1" {
            None
        } else {
            Some(rv.parse().ok()?)
        };
        Some(Self {
            rv,
            after: (namespace.into(), name.into()),
        })
    }

    fn write(&self) -> String {
        let rv = self.rv.map_or_else(|| "-1".to_owned(), |rv| rv.to_string());
        format!("{rv}:{}/{}", self.after.0, self.after.1)
    }
}

/// The rules for parameters of lists and watches.
pub(crate) fn validate_options(
    query: &Query,
    watch: bool,
    watch_list: bool,
) -> Result<(), ApiError> {
    let mut bad = Violations::default();
    let (matching, initial) = (
        query.get("resourceVersionMatch"),
        query.has("sendInitialEvents"),
    );
    let field = "resourceVersionMatch";
    if watch {
        if initial && matching != "NotOlderThan" {
            bad.forbidden(
                field,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
        if initial && !watch_list {
            bad.forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled",
            );
        }
        if !matching.is_empty() && !initial {
            bad.forbidden(
                field,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        if !matching.is_empty() && matching != "NotOlderThan" {
            bad.not_supported(field, matching, &["NotOlderThan"]);
        }
    } else {
        if !matching.is_empty() {
            if query.get("resourceVersion").is_empty() {
                bad.forbidden(
                    field,
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                );
            }
            if !query.get("continue").is_empty() {
                bad.forbidden(
                    field,
                    "resourceVersionMatch is forbidden when continue is provided",
                );
            }
            if !["Exact", "NotOlderThan"].contains(&matching) {
                bad.not_supported(field, matching, &["Exact", "NotOlderThan", ""]);
            }
        }
        if initial {
            bad.forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            );
        }
    }
    bad.into_result_for("meta.k8s.io", "ListOptions", "")
}

/// A resourceVersion parameter; empty and `0` mean any.
pub(crate) fn version(query: &Query) -> Result<Option<u64>, ApiError> {
    match query.get("resourceVersion") {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"))
        }),
    }
}

impl State {
    /// One object, possibly as it was some time ago.
    pub(crate) fn read(
        &self,
        target: &Target,
        past: Option<Instant>,
    ) -> Result<Arc<Object>, ApiError> {
        let key = (target.namespace.clone(), target.name.clone());
        let found = match past {
            None => self.store.get(target.kind, &key).cloned(),
            Some(at) => self.past(target.kind, at).remove(&key),
        };
        let found = found.map(|object| object.shaped(target.kind));
        found.ok_or_else(|| ApiError::not_found(target.kind, &target.name))
    }

    fn past(&self, kind: Kind, at: Instant) -> Snapshot {
        self.store
            .snapshot(kind, self.store.version_at(kind, at))
            .unwrap_or_default()
    }

    /// A collection in one of the forms.
    pub(crate) fn list(
        &self,
        target: &Target,
        query: &Query,
        past: Option<Instant>,
        form: Form,
    ) -> Result<Vec<u8>, ApiError> {
        validate_options(query, false, self.options.watch_list)?;
        let kind = target.kind;
        let selector =
            Selector::parse(kind, query.get("labelSelector"), query.get("fieldSelector"))?;
        let limit = query
            .number("limit")
            .filter(|n| *n > 0)
            .and_then(|n| usize::try_from(n).ok());
        let token = match query.get("continue") {
            "" => None,
            text => Some(Token::parse(text).ok_or_else(|| {
                ApiError::bad_request(
                    "invalid continue token: continue key is not valid: invalid character looking for beginning of value",
                )
            })?),
        };
        let (rv, past) = self.state_for(kind, query, token.as_ref(), past)?;
        let after = token.as_ref().map(|t| t.after.clone());
        let objects: Box<dyn Iterator<Item = &Arc<Object>>> = match &past {
            None => Box::new(self.store.list_after(kind, &target.namespace, after)),
            Some(past) => Box::new(in_range(past, &target.namespace, after)),
        };
        let plain = query.get("labelSelector").is_empty() && query.get("fieldSelector").is_empty();
        let mut matching = objects.filter(|o| selector.matches(&o.value));
        let page: Vec<&Arc<Object>> = matching
            .by_ref()
            .take(limit.unwrap_or(usize::MAX))
            .collect();
        // With a selector the rest is not counted: whether there is more is enough.
        let left = if plain {
            matching.count()
        } else {
            matching.take(1).count()
        };
        let go_on = page.last().filter(|_| left > 0).map(|last| {
            let rv = if token.as_ref().is_some_and(|t| t.rv.is_none()) {
                None
            } else {
                Some(rv)
            };
            Token {
                rv,
                after: last.key(),
            }
            .write()
        });
        let remaining = (left > 0 && plain).then_some(left);
        if form == Form::Json {
            return Ok(write_list(kind, rv, go_on.as_deref(), remaining, &page));
        }
        let mut metadata = json!({"resourceVersion": rv.to_string()});
        if let Some(token) = go_on {
            metadata["continue"] = token.into();
        }
        if form == Form::Table {
            return Ok(table::write(kind, &metadata, &page, self.wall()));
        }
        if let Some(count) = remaining {
            metadata["remainingItemCount"] = count.into();
        }
        let items = page.iter().map(|object| &object.message()[..]);
        Ok(protobuf::list(kind, &metadata, items))
    }

    /// The resourceVersion of what a list shows, and the state itself if it is not that of now.
    fn state_for(
        &self,
        kind: Kind,
        query: &Query,
        token: Option<&Token>,
        past: Option<Instant>,
    ) -> Result<(u64, Option<Snapshot>), ApiError> {
        let now = self.store.rv();
        let at = |rv: u64| {
            if self.store.is_current(kind, rv) {
                return Ok((rv, None));
            }
            self.store
                .snapshot(kind, rv)
                .map(|objects| (rv, Some(objects)))
        };
        if let Some(token) = token {
            let Some(rv) = token.rv else {
                return Ok((now, None));
            };
            return at(rv).map_err(|_| {
                let mut error = ApiError::expired(EXPIRED_PAGE);
                error.continue_token = Some(
                    Token {
                        rv: None,
                        after: token.after.clone(),
                    }
                    .write(),
                );
                error
            });
        }
        if let Some(past) = past {
            return Ok((
                self.store.version_at(kind, past),
                Some(self.past(kind, past)),
            ));
        }
        let Some(wanted) = version(query)? else {
            return Ok((now, None));
        };
        if wanted > now {
            return Err(ApiError::future_version(wanted, now));
        }
        // With a limit and no match rule a resourceVersion means exactly that one.
        let legacy = query.get("resourceVersionMatch").is_empty() && query.has("limit");
        if query.get("resourceVersionMatch") != "Exact" && !legacy {
            return Ok((now, None));
        }
        at(wanted)
            .map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))
    }
}

/// Written by hand around the items, whose JSON is there already.
fn write_list(
    kind: Kind,
    rv: u64,
    go_on: Option<&str>,
    remaining: Option<usize>,
    items: &[&Arc<Object>],
) -> Vec<u8> {
    let mut meta = format!("\"resourceVersion\":\"{rv}\"");
    if let Some(token) = go_on {
        meta = format!("{meta},\"continue\":\"{token}\"");
    }
    if let Some(count) = remaining {
        meta = format!("{meta},\"remainingItemCount\":{count}");
    }
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{{{meta}}},\"items\":[",
        kind.name(),
        kind.api_version()
    );
    let mut out = head.into_bytes();
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item.shaped(kind).write_item(&mut out);
    }
    out.extend_from_slice(b"]}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        for text in ["7:a/b", "-1:/n", "7:a/b.c:d"] {
            assert_eq!(Token::parse(text).map(|t| t.write()).as_deref(), Some(text));
        }
        for text in ["", "7", "7:a", "x:a/b"] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }
}
