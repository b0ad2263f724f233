//! POST.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Caller, managed};
use crate::api::kind::Kind;
use crate::api::path::Verb;
use crate::api::status::ApiError;
use crate::rules::meta;
use crate::rules::schema::{self, Decoded};
use crate::state::State;
use crate::store::{Object, text};

impl State {
    /// Creates an object in a namespace, as sent by a client.
    pub(crate) fn create(
        &mut self,
        kind: Kind,
        namespace: &str,
        body: &Value,
        caller: &Caller,
    ) -> Result<Arc<Object>, ApiError> {
        let mut value = decode_body(kind, body, caller)?;
        set_namespace(kind, &mut value, namespace)?;
        // Admission comes before a name is made: it can only speak of the prefix.
        let shown = [
            text(&value, "name"),
            text(&value, "generateName"),
            "Unknown",
        ];
        let shown = shown
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or_default();
        self.check_namespace(kind, namespace, shown)?;
        self.name_it(&mut value);
        if !text(&value, "resourceVersion").is_empty() {
            return Err(ApiError::unknown(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let meta = meta::of_mut(&mut value);
        // System fields of a copied manifest are wiped, not honoured.
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "managedFields",
            "selfLink",
        ] {
            meta.remove(field);
        }
        self.prepare(kind, &mut value, None)?;
        Self::shape(kind, &mut value);
        self.check_owners(kind, &value, None, &caller.user)?;
        self.admit(Verb::Create, kind, &value)?;
        let name = text(&value, "name").to_owned();
        let key = (text(&value, "namespace").to_owned(), name.clone());
        if self.store.get(kind, &key).is_some() {
            return Err(ApiError::already_exists(kind, &name));
        }
        let uid = self.chance.uid();
        let now = self.wall();
        let meta = meta::of_mut(&mut value);
        meta.insert("uid".into(), uid.into());
        meta.insert("creationTimestamp".into(), format!("{now:.0}").into());
        if kind.has_generation() {
            meta.insert("generation".into(), 1.into());
        }
        if self.options.managed_fields {
            managed::track(kind, &mut value, None, &caller.manager, "", now);
        }
        Ok(if caller.dry_run {
            self.as_if(kind, value)
        } else {
            self.commit(kind, value)
        })
    }

    /// A name from `generateName`. A clash is not tried again, as in the real server before v1.30.
    fn name_it(&mut self, value: &mut Value) {
        let prefix = text(value, "generateName").to_owned();
        if text(value, "name").is_empty() && !prefix.is_empty() {
            // The base is cut so that the whole name stays a label.
            let base: String = prefix.chars().take(58).collect();
            let name = format!("{base}{}", self.chance.suffix());
            meta::of_mut(value).insert("name".into(), name.into());
        }
    }

    /// A namespace must exist and must not be on its way out.
    fn check_namespace(&mut self, kind: Kind, namespace: &str, name: &str) -> Result<(), ApiError> {
        if !kind.is_namespaced() {
            return Ok(());
        }
        let key = (String::new(), namespace.to_owned());
        let Some(found) = self.store.get(Kind::Namespace, &key) else {
            if self.options.auto_namespaces {
                let body = json!({"metadata": {"name": namespace}});
                self.create(Kind::Namespace, "", &body, &Caller::default())?;
                return Ok(());
            }
            return Err(ApiError::not_found(Kind::Namespace, namespace));
        };
        if found.value["status"]["phase"] != "Terminating" {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {namespace} because it is being terminated"
        );
        let cause = format!("namespace {namespace} is being terminated");
        Err(ApiError::forbidden(kind, name, &why).because(
            "NamespaceTerminating",
            cause,
            "metadata.namespace",
        ))
    }
}

/// Checks that the body is an object of this kind and drops what the model does not know.
pub(crate) fn decode_body(kind: Kind, body: &Value, caller: &Caller) -> Result<Value, ApiError> {
    let Some(map) = body.as_object() else {
        return Err(ApiError::bad_request(
            "the object provided is unrecognized (must be of type object)",
        ));
    };
    let given = |field: &str| map.get(field).and_then(Value::as_str);
    check_type(kind, given("apiVersion"), given("kind"))?;
    let Decoded { value, unknown } = schema::decode(kind, body).map_err(|e| {
        ApiError::bad_request(format!(
            "{0} in version \"v1\" cannot be handled as a {0}: {e}",
            kind.name()
        ))
    })?;
    if caller.strict && !unknown.is_empty() {
        return Err(ApiError::bad_request(format!(
            "{0} in version \"v1\" cannot be handled as a {0}: {1}",
            kind.name(),
            strict_error(&unknown)
        )));
    }
    Ok(value)
}

/// The decoder first finds the type that a body claims to be, then looks whether it is the one
/// that belongs here; what is left out is taken from the path.
fn check_type(kind: Kind, version: Option<&str>, name: Option<&str>) -> Result<(), ApiError> {
    let (version, name) = (
        version.unwrap_or(kind.api_version()),
        name.unwrap_or(kind.name()),
    );
    if (version, name) == (kind.api_version(), kind.name()) {
        return Ok(());
    }
    let object = name.strip_suffix("List").unwrap_or(name);
    let group = |version: &str| version.rsplit_once('/').map_or("", |(g, _)| g).to_owned();
    let is_known = Kind::served().any(|k| k.name() == object && k.group() == group(version));
    let short = version.rsplit('/').next().unwrap_or_default();
    let why = if !is_known {
        format!(
            "no kind {name:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
        )
    } else if name == kind.name() {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    } else {
        let internal = match kind.group().split('.').next() {
            None | Some("") => "core",
            Some(first) => first,
        };
        format!(
            "converting ({short}.{name}) to ({internal}.{}): unknown conversion",
            kind.name()
        )
    };
    Err(ApiError::bad_request(format!(
        "{name} in version {short:?} cannot be handled as a {}: {why}",
        kind.name()
    )))
}

/// The decoder's complaint about unknown fields.
pub(crate) fn strict_error(unknown: &[String]) -> String {
    let all: Vec<String> = unknown
        .iter()
        .map(|f| format!("unknown field {f:?}"))
        .collect();
    format!("strict decoding error: {}", all.join(", "))
}

/// The namespace of the path goes into the object; another one in the object is an error.
pub(crate) fn set_namespace(
    kind: Kind,
    value: &mut Value,
    namespace: &str,
) -> Result<(), ApiError> {
    let given = text(value, "namespace");
    if kind.is_namespaced() && !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let meta = meta::of_mut(value);
    if kind.is_namespaced() {
        meta.insert("namespace".into(), namespace.into());
    } else {
        meta.remove("namespace");
    }
    Ok(())
}
