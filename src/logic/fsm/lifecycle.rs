//! What a source asks for, before any pod is looked at.

use std::sync::Arc;

use super::announced::Topic;
use super::{Context, Machine, Phase};
use crate::logic::event::Note;
use crate::logic::mirror::Mirrored;
use crate::logic::model::{Service, ServiceType};
use crate::logic::settings::{self, LeaderServiceType, OptIn, Settings};
use crate::logic::snapshot::{Role, Snapshot};
use crate::logic::well_known::{SERVICE_NAME, SOURCE_SERVICE, reason};

/// What should happen to a source as a whole.
pub(super) enum Lifecycle {
    /// Serve it under this name.
    Serve {
        source: Arc<Service>,
        name: Arc<str>,
    },
    /// It leaves or is refused, and all of ours goes.
    Leave,
    /// It is being deleted and its objects are to be orphaned: hands off.
    Orphan,
}

/// Reads the source. Updates the settings in `machine` and says what is wrong with them.
pub(super) fn read(machine: &mut Machine, snapshot: &Snapshot, context: &Context<'_>) -> Lifecycle {
    let Some(source) = &snapshot.source else {
        return forget(machine, Lifecycle::Leave);
    };
    let meta = &source.metadata;
    if meta.deletion_timestamp.is_some() {
        let orphans = meta
            .finalizers
            .iter()
            .any(|finalizer| &**finalizer == "orphan");
        let intent = if orphans {
            Lifecycle::Orphan
        } else {
            Lifecycle::Leave
        };
        return forget(machine, intent);
    }
    let opt_in = settings::opt_in(source);
    let ignored = ignored(source, opt_in);
    machine.said.set(Topic::Ignored, ignored, |text| {
        Note::warning(reason::INVALID_SERVICE, text)
    });
    if opt_in == OptIn::No || meta.labels.get(SOURCE_SERVICE).is_some() {
        return forget(machine, Lifecycle::Leave);
    }
    let own = snapshot.own_services();
    let is_served = is_served(machine, snapshot, own);
    if machine.phase == Phase::Unmanaged && machine.settings == Settings::default() {
        recall(machine, own);
    }
    let (mut settings, mut problems) = settings::read(&meta.annotations, &machine.settings);
    if let Some(allowed) = context.lease_namespaces {
        problems.extend(settings.forbid_leases(&meta.namespace, allowed, &machine.settings));
    }
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    machine.said.set_all(Topic::Annotation, texts, |text| {
        Note::warning(reason::INVALID_ANNOTATION, text)
    });
    if opt_in == OptIn::Unclear && !is_served {
        return Lifecycle::Leave;
    }
    machine.is_wanted = true;
    machine.settings = settings;

    if let Some(why) = unfit(source, machine.settings.exposure) {
        machine.said.set(Topic::Source, Some(why), |text| {
            Note::warning(reason::INVALID_SERVICE, text)
        });
        return Lifecycle::Leave;
    }
    if context.is_over_limit && !is_served {
        let text = "The namespace has reached --max-cache-size-per-namespace opted-in Services; \
                    this one is served as soon as there is room";
        machine.said.set(Topic::Source, Some(text.into()), |text| {
            Note::warning(reason::INVALID_SERVICE, text)
        });
        return Lifecycle::Leave;
    }
    machine.said.forget(Topic::Source);
    match serving_name(machine, snapshot, source, own) {
        Some(name) => Lifecycle::Serve {
            source: Arc::clone(source),
            name,
        },
        None => Lifecycle::Leave,
    }
}

/// Why a Service that asks to be served is taken for a leader Service. A real one is controlled by its
/// source, and has the annotation `enabled` from the Go program at most.
fn ignored(source: &Service, opt_in: OptIn) -> Option<String> {
    let meta = &source.metadata;
    let of = meta.labels.get(SOURCE_SERVICE)?;
    let is_controlled = meta
        .controller()
        .is_some_and(|owner| &*owner.kind == "Service");
    (opt_in != OptIn::No && !is_controlled).then(|| {
        format!(
            "The Service is ignored: its label {SOURCE_SERVICE}={of} marks leader Services, which are \
             never served themselves. Remove the label to have it served"
        )
    })
}

/// Whether a source is being served, so that a typo keeps it and a limit does not turn it away. A
/// source that is on the way out may be so only to be made again; it counts as served then, though
/// nothing of it is left for a moment. A process that has just started goes by what exists.
fn is_served(machine: &Machine, snapshot: &Snapshot, own: &[Arc<Service>]) -> bool {
    match machine.phase {
        Phase::Electing | Phase::Serving(_) => true,
        Phase::Draining => machine.is_wanted || !own.is_empty(),
        Phase::Unmanaged => !own.is_empty() || !snapshot.own_slices().is_empty(),
    }
}

/// A source that does not want to be served has no last valid value and no announcements: if
/// it comes back, it starts from the defaults.
fn forget(machine: &mut Machine, intent: Lifecycle) -> Lifecycle {
    machine.is_wanted = false;
    machine.settings = Settings::default();
    machine.said.forget_source();
    intent
}

/// Where this process has seen no valid value yet, the leader Service shows what was asked for:
/// a typo must not cut traffic, not even together with a restart.
fn recall(machine: &mut Machine, own: &[Arc<Service>]) {
    let Some(leader) = own.first() else {
        return;
    };
    machine.settings.exposure = match leader.spec.kind {
        _ if leader.is_headless() => LeaderServiceType::Headless,
        ServiceType::NodePort => LeaderServiceType::NodePort,
        ServiceType::LoadBalancer => LeaderServiceType::LoadBalancer,
        ServiceType::ClusterIP | ServiceType::ExternalName | ServiceType::Other => {
            LeaderServiceType::ClusterIP
        }
    };
    let mirrored = Mirrored::read(leader).unwrap_or_default();
    let entries = leader.metadata.annotations.entries().iter();
    let asked = entries.filter(|(key, _)| mirrored.asked.contains(&**key));
    machine.settings.leader_annotations = asked.cloned().collect();
    let entries = leader.metadata.labels.entries().iter();
    let asked = entries.filter(|(key, _)| mirrored.asked_labels.contains(&**key));
    machine.settings.leader_labels = asked.cloned().collect();
}

/// Why a Service cannot be a source at all.
fn unfit(source: &Service, exposure: LeaderServiceType) -> Option<String> {
    let spec = &source.spec;
    if spec.kind == ServiceType::ExternalName {
        Some(
            "A Service of type ExternalName has no pods; expected a Service with a selector".into(),
        )
    } else if spec.selector.is_empty() {
        Some("The Service has no selector; expected one, to know its pods by".into())
    } else if spec.ports.is_empty() && exposure != LeaderServiceType::Headless {
        Some("The Service has no ports; expected at least one, or zen-lead.io/leader-service-type: Headless".into())
    } else {
        None
    }
}

/// The name to serve under: the one asked for, unless it is invalid or taken; then the one that it
/// is served under already, if any.
fn serving_name(
    machine: &mut Machine,
    snapshot: &Snapshot,
    source: &Service,
    own: &[Arc<Service>],
) -> Option<Arc<str>> {
    match settings::requested_name(source) {
        Err(why) => {
            let name = current_name(machine, snapshot, own);
            machine.said.forget(Topic::Conflict);
            machine.said.set(Topic::Name, Some(why), |text| {
                Note::warning(reason::INVALID_LEADER_SERVICE_NAME, text)
            });
            name
        }
        Ok(name) if is_of_followers(machine, snapshot, &name) => {
            let kept = current_name(machine, snapshot, own);
            let text = format!(
                "{name} is the followers Service of {}; the leader Service needs another name, by \
                 zen-lead.io/leader-service-name",
                snapshot.key.name
            );
            machine.said.forget(Topic::Conflict);
            machine.said.set(Topic::Name, Some(text), |text| {
                Note::warning(reason::INVALID_LEADER_SERVICE_NAME, text)
            });
            kept
        }
        Ok(name) => {
            let is_stranger = |_: &&Arc<Service>| snapshot.own_service(&name).is_none();
            let stranger = snapshot.service(&name).filter(is_stranger);
            let taken = stranger.map(|_| {
                format!(
                    "Service {name} exists and is not the leader Service of {}; it is left alone. \
                     Remove it, or choose another name by zen-lead.io/leader-service-name",
                    snapshot.key.name
                )
            });
            // If a user deleted it, the source that it belongs to makes it again.
            let holder = snapshot
                .name_holder(&name)
                .filter(|_| snapshot.service(&name).is_none());
            let taken = taken.or_else(|| {
                holder.map(|other| {
                    format!(
                        "Service {name} is the leader Service of {other}; choose another name by \
                         zen-lead.io/leader-service-name"
                    )
                })
            });
            let kept = match taken {
                Some(_) => current_name(machine, snapshot, own),
                None => Some(name),
            };
            machine.said.forget(Topic::Name);
            machine.said.set(Topic::Conflict, taken, |text| {
                Note::warning(reason::LEADER_SERVICE_CONFLICT, text)
            });
            kept
        }
    }
}

/// Whether the followers are served under that name, though a user may have deleted the Service meanwhile.
fn is_of_followers(machine: &Machine, snapshot: &Snapshot, name: &Arc<str>) -> bool {
    let is_known = machine.followers.name.as_ref() == Some(name);
    snapshot.own(Role::Followers).service(name).is_some() || is_known
}

/// The name that a source is served under already: the one the machine knows, though a user may
/// have deleted that Service meanwhile; after a restart the one whose slices have a leader.
fn current_name(machine: &Machine, snapshot: &Snapshot, own: &[Arc<Service>]) -> Option<Arc<str>> {
    let is_own = |name: &str| own.iter().any(|service| &*service.metadata.name == name);
    let is_served = is_served(machine, snapshot, own);
    let known = machine
        .name
        .as_ref()
        .filter(|name| is_own(name) || (is_served && snapshot.service(name).is_none()));
    if known.is_some() {
        return known.cloned();
    }
    let slices = snapshot.own_slices();
    let leads = |name: &str| {
        slices.iter().any(|slice| {
            slice.leader().is_some() && slice.metadata.labels.get(SERVICE_NAME) == Some(name)
        })
    };
    let best = own.iter().min_by_key(|service| {
        let meta = &service.metadata;
        (meta.deletion_timestamp.is_some(), !leads(&meta.name))
    });
    best.map(|service| Arc::clone(&service.metadata.name))
}
