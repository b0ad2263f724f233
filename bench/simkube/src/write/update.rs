//! PUT, and the common end of PUT and PATCH.

use std::sync::Arc;

use serde_json::Value;

use super::create::{decode_body, set_namespace};
use super::{Caller, managed};
use crate::api::kind::Kind;
use crate::api::path::{Target, Verb};
use crate::api::status::ApiError;
use crate::api::violation::Violations;
use crate::rules::{events, meta, service_rules};
use crate::state::State;
use crate::store::{Key, Object, text};

/// What a write to an object left behind.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Object>,
    /// A PUT that created.
    pub(crate) created: bool,
}

impl State {
    /// Replaces an object.
    pub(crate) fn update(
        &mut self,
        target: &Target,
        body: &Value,
        caller: &Caller,
    ) -> Result<Written, ApiError> {
        let kind = target.kind;
        let mut value = decode_body(kind, body, caller)?;
        set_namespace(kind, &mut value, &target.namespace)?;
        let given = text(&value, "name").to_owned();
        if given.is_empty() {
            meta::of_mut(&mut value).insert("name".into(), target.name.clone().into());
        } else if given != target.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({})",
                target.name
            )));
        }
        let key = (target.namespace.clone(), target.name.clone());
        let Some(old) = self.store.get(kind, &key).cloned() else {
            if !kind.allows_create_on_update() || !target.subresource.is_empty() {
                return Err(ApiError::not_found(kind, &target.name));
            }
            if !text(&value, "uid").is_empty() {
                return Err(uid_mismatch(target, text(&value, "uid"), ""));
            }
            meta::of_mut(&mut value).remove("resourceVersion");
            if kind == Kind::NewEvent {
                // Creation reads what clients send.
                value = events::to_new(&value);
            }
            let object = self.create(kind, &target.namespace, &value, caller)?;
            return Ok(Written {
                object,
                created: true,
            });
        };
        let uid = text(&value, "uid");
        if !uid.is_empty() && uid != old.uid() {
            return Err(uid_mismatch(target, uid, old.uid()));
        }
        let object = self.replace(Verb::Update, target, &old, value, caller)?;
        Ok(Written {
            object,
            created: false,
        })
    }

    /// Puts a new version in place of `old`, if every check passes and something changes.
    pub(crate) fn replace(
        &mut self,
        verb: Verb,
        target: &Target,
        old: &Arc<Object>,
        mut value: Value,
        caller: &Caller,
    ) -> Result<Arc<Object>, ApiError> {
        let (kind, subresource) = (target.kind, target.subresource.as_str());
        let key = &(target.namespace.clone(), target.name.clone());
        check_version(kind, key, &value, old)?;
        let name = text(&value, "name");
        if name != key.1 {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.1
            )));
        }
        let given = meta::of(&value).get("managedFields").cloned();
        keep_fixed(&mut value, &old.value, subresource);
        if subresource.is_empty() {
            self.prepare(kind, &mut value, Some(&old.value))?;
            self.check_owners(kind, &value, Some(&old.value), &caller.user)?;
        } else {
            let mut bad = meta::validate_update(&value, &old.value);
            if kind == Kind::Service {
                bad.append(service_rules::validate_status(&value));
            }
            bad.into_result(kind, &key.1)?;
        }
        Self::shape(kind, &mut value);
        bump_generation(kind, &mut value, &old.value);
        if self.options.managed_fields {
            let now = self.wall();
            // A subresource takes none from the request.
            let given = given.filter(|_| subresource.is_empty());
            let entries = managed::base(given.as_ref(), &old.value);
            managed::track(
                kind,
                &mut value,
                Some((&old.value, entries)),
                &caller.manager,
                subresource,
                now,
            );
        }
        self.admit(verb, kind, &value)?;
        // 1. Nothing changed: no new version, no event.
        if value == old.value {
            return Ok(Arc::clone(old));
        }
        if caller.dry_run {
            return Ok(self.as_if(kind, value));
        }
        // 2. The last finalizer of a deleted object went: it is gone, and its last state is the answer.
        let grace = meta::of(&value)
            .get("deletionGracePeriodSeconds")
            .and_then(Value::as_u64);
        let finalized = meta::is_deleting(&value)
            && grace.unwrap_or_default() == 0
            && meta::strings(&value, "finalizers").is_empty()
            && !meta::strings(&old.value, "finalizers").is_empty();
        if finalized {
            self.erase(kind, key);
            // Watchers see the last state that was stored; the answer is the one that was wished for.
            return Ok(self.as_if(kind, value));
        }
        // 3. A change like any other.
        Ok(self.commit(kind, value))
    }
}

/// The storage layer's words, down to the key it looked at.
fn uid_mismatch(target: &Target, given: &str, found: &str) -> ApiError {
    let key = target.kind.registry_key(&target.namespace, &target.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {found}"
    );
    ApiError::conflict(target.kind, &target.name, &why)
}

/// Optimistic locking: the version that was read must be the version that is replaced.
fn check_version(kind: Kind, key: &Key, value: &Value, old: &Object) -> Result<(), ApiError> {
    let given = text(value, "resourceVersion");
    if given.is_empty() || given == "0" {
        if kind.allows_blind_update() {
            return Ok(());
        }
        let mut bad = Violations::default();
        bad.invalid(
            "metadata.resourceVersion",
            0,
            "must be specified for an update",
        );
        // The real server names the resource where it names the kind everywhere else.
        return bad.into_result_for(kind.group(), kind.plural(), &key.1);
    }
    match given.parse::<u64>() {
        Ok(rv) if rv == old.rv => Ok(()),
        Ok(_) => Err(ApiError::modified(kind, &key.1)),
        Err(_) => Err(ApiError::unknown(&format!(
            "strconv.ParseUint: parsing {given:?}: invalid syntax"
        ))),
    }
}

/// What no update can change, and what belongs to the other half of the object.
fn keep_fixed(value: &mut Value, old: &Value, subresource: &str) {
    let before = meta::of(old).clone();
    let target = meta::of_mut(value);
    let keep = |target: &mut serde_json::Map<String, Value>, field: &str| match before.get(field) {
        Some(was) => {
            target.insert(field.into(), was.clone());
        }
        None => {
            target.remove(field);
        }
    };
    for field in [
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "deletionTimestamp",
    ] {
        keep(target, field);
    }
    for field in ["uid", "deletionGracePeriodSeconds", "namespace"] {
        if !target.contains_key(field) {
            keep(target, field);
        }
    }
    if subresource == "status" {
        keep(target, "ownerReferences");
    }
    // `/status` writes the status only, everything else all but the status.
    let other_half = if subresource == "status" {
        "spec"
    } else {
        "status"
    };
    let Some(map) = value.as_object_mut() else {
        return;
    };
    match old.get(other_half) {
        Some(was) => {
            map.insert(other_half.into(), was.clone());
        }
        None => {
            map.remove(other_half);
        }
    }
}

/// The generation counts changes of what is wished for: of a slice everything but metadata, and its labels.
fn bump_generation(kind: Kind, value: &mut Value, old: &Value) {
    let changed = match kind {
        Kind::EndpointSlice => {
            let fields = ["endpoints", "ports", "addressType"];
            fields.iter().any(|f| value.get(f) != old.get(f))
                || meta::of(value).get("labels") != meta::of(old).get("labels")
        }
        Kind::Pod => value.get("spec") != old.get("spec"),
        _ => false,
    };
    if changed {
        let next = meta::of(old)
            .get("generation")
            .and_then(Value::as_u64)
            .unwrap_or(0)
            + 1;
        meta::of_mut(value).insert("generation".into(), next.into());
    }
}
