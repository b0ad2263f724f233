//! DELETE: preconditions, grace, finalizers.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::api::path::{Query, Target, Verb};
use crate::api::status::ApiError;
use crate::api::violation::Violations;
use crate::rules::meta;
use crate::state::State;
use crate::store::{Key, Object};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a client says about a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) grace: Option<i64>,
    pub(crate) policy: Option<String>,
    pub(crate) dry_run: bool,
}

/// What a deletion left behind.
#[derive(Debug)]
pub(crate) struct Deleted {
    /// The object as it is, or as it was when it went.
    pub(crate) object: Arc<Object>,
    pub(crate) gone: bool,
}

impl Deleted {
    fn pending(object: Arc<Object>) -> Self {
        Self {
            object,
            gone: false,
        }
    }
}

impl DeleteOptions {
    /// Reads the body, or the query when there is none.
    pub(crate) fn parse(body: &[u8], query: &Query) -> Result<Self, ApiError> {
        let mut options = if body.is_empty() {
            Self {
                grace: query.get("gracePeriodSeconds").parse().ok(),
                policy: query
                    .has("propagationPolicy")
                    .then(|| query.get("propagationPolicy").into()),
                ..Self::default()
            }
        } else {
            let body: Value =
                serde_json::from_slice(body).map_err(|e| ApiError::bad_request(e.to_string()))?;
            if body.get("kind").is_some_and(|k| k != "DeleteOptions") {
                return Err(ApiError::bad_request(
                    "decoded object cannot be converted to DeleteOptions",
                ));
            }
            let string = |v: &Value| v.as_str().map(str::to_owned);
            let orphan = body["orphanDependents"].as_bool();
            let policy = orphan.map(|yes| if yes { "Orphan" } else { "Background" }.to_owned());
            Self {
                uid: string(&body["preconditions"]["uid"]),
                resource_version: string(&body["preconditions"]["resourceVersion"]),
                grace: body["gracePeriodSeconds"].as_i64(),
                policy: string(&body["propagationPolicy"]).or(policy),
                dry_run: body["dryRun"]
                    .as_array()
                    .is_some_and(|d| d.iter().any(|v| v == "All")),
            }
        };
        options.dry_run |= query.get("dryRun") == "All";
        let known = ["Foreground", "Background", "Orphan", "nil"];
        if let Some(policy) = options
            .policy
            .as_deref()
            .filter(|p| !known[..3].contains(p))
        {
            let mut bad = Violations::default();
            bad.not_supported("propagationPolicy", policy, &known);
            bad.into_result_for("meta.k8s.io", "DeleteOptions", "")?;
        }
        Ok(options)
    }
}

impl State {
    /// Deletes an object, or starts its deletion; answers what it is now, or was.
    pub(crate) fn delete(
        &mut self,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let kind = target.kind;
        let key = (target.namespace.clone(), target.name.clone());
        let Some(old) = self.store.get(kind, &key).cloned() else {
            return Err(ApiError::not_found(kind, &target.name));
        };
        check_preconditions(&old, &key, options)?;
        self.admit(Verb::Delete, kind, &old.value)?;
        if options.dry_run {
            return Ok(Deleted {
                object: old,
                gone: true,
            });
        }
        if kind == Kind::Namespace {
            return Ok(self.terminate_namespace(&old));
        }
        let mut value = old.value.clone();
        let now = self.wall();
        // 1. Grace, which only pods have.
        let grace = if kind == Kind::Pod {
            plan_grace(&value, options.grace, now)
        } else {
            Grace::None
        };
        if grace == Grace::Pending {
            return Ok(Deleted::pending(old));
        }
        if let Grace::Until { at, seconds } = grace {
            let first = !meta::is_deleting(&value);
            mark(&mut value, at, seconds, first);
        }
        // 2. Finalizers that the policy asks for.
        let finalizers = set_policy(&mut value, options.policy.as_deref());
        // 3. What is left decides whether it goes now.
        if grace == Grace::None && finalizers {
            let first = !meta::is_deleting(&value);
            mark(&mut value, now, 0, first);
        }
        let written = grace != Grace::None || finalizers;
        let object = if written && value != old.value {
            self.commit(kind, value)
        } else {
            old
        };
        let seconds = if let Grace::Until { seconds, .. } = grace {
            seconds
        } else {
            0
        };
        if finalizers || seconds > 0 {
            return Ok(Deleted::pending(object));
        }
        let object = self.erase(kind, &key).unwrap_or(object);
        Ok(Deleted { object, gone: true })
    }

    /// A namespace waits for its content; `gc` plays the controller that empties it.
    fn terminate_namespace(&mut self, old: &Arc<Object>) -> Deleted {
        let mut value = old.value.clone();
        if meta::is_deleting(&value) {
            return Deleted::pending(Arc::clone(old));
        }
        mark(&mut value, self.wall(), 0, false);
        if let Some(meta) = value["metadata"].as_object_mut() {
            meta.remove("deletionGracePeriodSeconds");
        }
        value["status"] = json!({"phase": "Terminating"});
        Deleted::pending(self.commit(Kind::Namespace, value))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grace {
    /// Deletion is no matter of time.
    None,
    /// It has begun and ends no sooner for this request.
    Pending,
    /// It ends then.
    Until { at: Timestamp, seconds: i64 },
}

/// `BeforeDelete` and `CheckGracefulDelete` of pods.
fn plan_grace(pod: &Value, wanted: Option<i64>, now: Timestamp) -> Grace {
    let after = |from: Timestamp, seconds: i64| {
        from.checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(now)
    };
    // A negative grace is one second.
    let wanted = wanted.map(|s| if s < 0 { 1 } else { s });
    let meta = meta::of(pod);
    if meta::is_deleting(pod) {
        let running = meta
            .get("deletionGracePeriodSeconds")
            .and_then(Value::as_i64)
            .unwrap_or(0);
        if running == 0 {
            return Grace::None;
        }
        let Some(seconds) = wanted.filter(|s| *s < running) else {
            return Grace::Pending;
        };
        let ends = meta.get("deletionTimestamp").and_then(Value::as_str);
        let ends = ends.and_then(|t| t.parse().ok()).unwrap_or(now);
        let at = after(ends, seconds - running);
        if at < now {
            // The whole of it has passed, but a graceful end stays one.
            return Grace::Until {
                at: now,
                seconds: seconds.min(1),
            };
        }
        return Grace::Until { at, seconds };
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(0);
    let scheduled = pod["spec"]["nodeName"]
        .as_str()
        .is_some_and(|n| !n.is_empty());
    let over = matches!(
        pod["status"]["phase"].as_str(),
        Some("Failed" | "Succeeded")
    );
    // No kubelet would confirm the end of a pod that does not run.
    let seconds = if scheduled && !over {
        wanted.unwrap_or(own)
    } else {
        0
    };
    Grace::Until {
        at: after(now, seconds),
        seconds,
    }
}

/// uid first: a client that deletes the wrong incarnation should learn that, not that a version differs.
fn check_preconditions(old: &Object, key: &Key, options: &DeleteOptions) -> Result<(), ApiError> {
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != old.uid()) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            old.uid()
        );
        return Err(ApiError::precondition(old.kind, &key.1, &why));
    }
    let current = old.rv.to_string();
    if let Some(rv) = options
        .resource_version
        .as_deref()
        .filter(|rv| *rv != current)
    {
        let why = format!(
            "the ResourceVersion in the precondition ({rv}) does not match the ResourceVersion in record ({current}). The object might have been modified"
        );
        return Err(ApiError::precondition(old.kind, &key.1, &why));
    }
    Ok(())
}

/// Sets the two fields of a deletion that has begun; the first time that is a new generation.
fn mark(value: &mut Value, at: Timestamp, seconds: i64, first: bool) {
    let generation = meta::of(value).get("generation").and_then(Value::as_u64);
    let meta = meta::of_mut(value);
    // A deletion that has begun keeps the time it began with, unless grace moves it forward.
    let earlier = |was: &Value| {
        was.as_str()
            .and_then(|t| t.parse::<Timestamp>().ok())
            .is_some_and(|t| t <= at)
    };
    if !meta.get("deletionTimestamp").is_some_and(earlier) {
        meta.insert("deletionTimestamp".into(), format!("{at:.0}").into());
    }
    meta.insert("deletionGracePeriodSeconds".into(), seconds.into());
    if let (true, Some(generation)) = (first, generation) {
        meta.insert("generation".into(), (generation + 1).into());
    }
}

/// Adds and removes the collector's finalizers; says whether any finalizer is left.
fn set_policy(value: &mut Value, policy: Option<&str>) -> bool {
    let before = meta::strings(value, "finalizers");
    let mut after: Vec<String> = before
        .iter()
        .filter(|f| policy.is_none() || (*f != ORPHAN && *f != FOREGROUND))
        .cloned()
        .collect();
    match policy {
        Some("Orphan") => after.push(ORPHAN.into()),
        Some("Foreground") => after.push(FOREGROUND.into()),
        _ => {}
    }
    let left = !after.is_empty();
    if after != before {
        let meta = meta::of_mut(value);
        if left {
            meta.insert("finalizers".into(), json!(after));
        } else {
            meta.remove("finalizers");
        }
    }
    left
}
