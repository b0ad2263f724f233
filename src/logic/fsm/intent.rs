//! What a source asks for, before any pod is looked at.

use std::sync::Arc;

use super::notes::{Note, Topic};
use super::{Context, Machine};
use crate::logic::contract::{SOURCE_SERVICE, reason};
use crate::logic::model::{Service, ServiceType};
use crate::logic::settings::{self, Exposure, OptIn, Settings};
use crate::logic::view::View;

/// What should happen to a source as a whole.
pub(super) enum Intent {
    /// Serve it under this name.
    Serve {
        source: Arc<Service>,
        name: Arc<str>,
    },
    /// It leaves, and all of ours with it.
    Leave,
    /// It must not be served, and nothing of ours exists.
    Refuse,
    /// It is being deleted and its objects are to be orphaned: hands off.
    Orphan,
}

/// Reads the source. Updates the settings in `machine` and says what is wrong with them.
pub(super) fn read(machine: &mut Machine, view: &View, context: &Context<'_>) -> Intent {
    let Some(source) = &view.source else {
        return Intent::Leave;
    };
    let meta = &source.metadata;
    if meta.deletion_timestamp.is_some() {
        let orphans = meta
            .finalizers
            .iter()
            .any(|finalizer| &**finalizer == "orphan");
        return if orphans {
            Intent::Orphan
        } else {
            Intent::Leave
        };
    }
    if meta.labels.get(SOURCE_SERVICE).is_some() {
        // A leader Service; the Go program lent it the annotation `enabled`.
        return Intent::Leave;
    }
    let own = view.own_services();
    let is_served = !own.is_empty();
    let opt_in = settings::opt_in(source);
    if opt_in == OptIn::No {
        machine.settings = Settings::default();
        return Intent::Leave;
    }

    let (settings, problems) = settings::read(&meta.annotations, &machine.settings);
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    machine.said.set_all(Topic::Annotation, texts, |text| {
        Note::warning(reason::INVALID_ANNOTATION, text)
    });
    if opt_in == OptIn::Unclear && !is_served {
        return Intent::Leave;
    }
    machine.settings = settings;

    if let Some(why) = unfit(source, machine.settings.exposure) {
        machine.said.set(Topic::Source, Some(why), |text| {
            Note::warning(reason::INVALID_SERVICE, text)
        });
        return Intent::Leave;
    }
    if context.is_over_limit && !is_served {
        let text = "The namespace has reached --max-cache-size-per-namespace opted-in Services; \
                    this one is served as soon as there is room";
        machine.said.set(Topic::Source, Some(text.into()), |text| {
            Note::warning(reason::INVALID_SERVICE, text)
        });
        return Intent::Refuse;
    }
    machine.said.forget(Topic::Source);
    match serving_name(machine, view, source, &own) {
        Some(name) => Intent::Serve {
            source: Arc::clone(source),
            name,
        },
        None => Intent::Refuse,
    }
}

/// Why a Service cannot be a source at all.
fn unfit(source: &Service, exposure: Exposure) -> Option<String> {
    let spec = &source.spec;
    if spec.kind == ServiceType::ExternalName {
        Some(
            "A Service of type ExternalName has no pods; expected a Service with a selector".into(),
        )
    } else if spec.selector.is_empty() {
        Some("The Service has no selector; expected one, to know its pods by".into())
    } else if spec.ports.is_empty() && exposure != Exposure::Headless {
        Some("The Service has no ports; expected at least one, or zen-lead.io/leader-service-type: Headless".into())
    } else {
        None
    }
}

/// The name to serve under: the one asked for, unless it is invalid or taken; then the one that it
/// is served under already, if any.
fn serving_name(
    machine: &mut Machine,
    view: &View,
    source: &Service,
    own: &[&Arc<Service>],
) -> Option<Arc<str>> {
    let stays = || {
        let current = machine
            .name
            .as_ref()
            .filter(|name| own.iter().any(|s| s.metadata.name == **name));
        current
            .or_else(|| own.first().map(|service| &service.metadata.name))
            .cloned()
    };
    match settings::requested_name(source) {
        Err(why) => {
            let name = stays();
            machine.said.forget(Topic::Conflict);
            machine.said.set(Topic::Name, Some(why), |text| {
                Note::warning(reason::INVALID_LEADER_SERVICE_NAME, text)
            });
            name
        }
        Ok(name) => {
            let stranger = view
                .service(&name)
                .filter(|service| !view.owns_service(service));
            let taken = stranger.map(|_| {
                format!(
                    "Service {name} exists and is not the leader Service of {}; it is left alone. \
                     Remove it, or choose another name by zen-lead.io/leader-service-name",
                    view.key.name
                )
            });
            let kept = if taken.is_some() { stays() } else { Some(name) };
            machine.said.forget(Topic::Name);
            machine.said.set(Topic::Conflict, taken, |text| {
                Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
            });
            kept
        }
    }
}
