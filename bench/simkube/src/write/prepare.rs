//! From what a client sent to what would be stored: defaults, allocations and rules of the kind.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::kind::Kind;
use crate::api::status::ApiError;
use crate::api::violation::Violations;
use crate::rules::{
    events, families, meta, nodes, others, rbac, schema, service, service_rules, slice,
};
use crate::state::State;
use crate::store::text;

fn typed<T: DeserializeOwned>(value: &Value) -> Result<T, ApiError> {
    schema::typed(value).map_err(|e| ApiError::bad_request(format!("decoding failed: {e}")))
}

impl State {
    /// Completes a new object, or a new version of `old`, and judges it. `metadata` is judged first.
    pub(crate) fn prepare(
        &mut self,
        kind: Kind,
        value: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let name = text(value, "name").to_owned();
        let mut bad = match old {
            None => meta::validate_create(kind, value, self.options.relaxed_service_names),
            Some(old) => meta::validate_update(value, old),
        };
        match kind {
            Kind::Service => return self.prepare_service(value, old, bad),
            Kind::EndpointSlice => {
                let mut now: EndpointSlice = typed(value)?;
                slice::default(&mut now);
                let was: Option<EndpointSlice> = old.map(typed).transpose()?;
                bad.append(slice::validate(&now, was.as_ref(), self.options.minor));
                *value = schema::untyped(&now).map_err(|e| ApiError::internal(&e))?;
                slice::shape(value);
            }
            Kind::Lease => bad.append(others::lease(&typed::<Lease>(value)?)),
            Kind::Event | Kind::NewEvent => {
                events::shape(value);
                bad.append(events::validate(kind, &typed::<Event>(value)?, value, old));
            }
            Kind::Pod => match old {
                None => {
                    others::default_pod(value);
                    // Only the kubelet says how a pod is doing; a new one always begins like this.
                    if !self.keeps_status {
                        value["status"] = json!({"phase": "Pending", "qosClass": "BestEffort"});
                    }
                    bad.append(others::pod(value));
                }
                Some(old) => bad.append(others::pod_update(value, old)),
            },
            Kind::Namespace if old.is_none() => others::default_namespace(value),
            Kind::Node => {
                if old.is_none() {
                    nodes::default(value);
                }
                bad.append(nodes::validate(value));
            }
            Kind::Role | Kind::RoleBinding | Kind::ClusterRole | Kind::ClusterRoleBinding => {
                rbac::default(kind, value);
                bad.append(rbac::validate(kind, value, old));
            }
            Kind::Namespace | Kind::Endpoints | Kind::ConfigMap | Kind::ServiceAccount => {}
        }
        // Of the two kinds of Events, refusals name the older one.
        bad.into_result(kind.stored(), &name)
    }

    /// Writes what a typed server writes even when it is empty: in new objects and in new versions
    /// of either half.
    pub(crate) fn shape(kind: Kind, value: &mut Value) {
        match kind {
            Kind::Lease => others::shape_lease(value),
            Kind::Pod => {
                others::shape_conditions(value, &["lastProbeTime", "lastTransitionTime"]);
            }
            Kind::Node => {
                nodes::shape(value);
                others::shape_conditions(value, &["lastHeartbeatTime", "lastTransitionTime"]);
            }
            _ => {}
        }
    }

    fn prepare_service(
        &mut self,
        value: &mut Value,
        old: Option<&Value>,
        mut bad: Violations,
    ) -> Result<(), ApiError> {
        let name = text(value, "name").to_owned();
        let mut now: Service = typed(value)?;
        let was: Option<Service> = old.map(typed).transpose()?;
        let was = was.as_ref().and_then(|s| s.spec.as_ref());
        let spec = now.spec.get_or_insert_default();
        service::default(spec);
        if let Some(was) = was {
            service::patch_allocated(spec, was);
        }
        families::normalize(spec, was);
        if let Some(was) = was {
            service::drop_type_dependent(spec, was);
        }
        // Allocation comes before validation, and its own refusals come alone.
        families::init(spec, was, self.options.dual_stack)
            .or_else(|refused| refused.into_result(Kind::Service, &name))?;
        self.pools.assign(&name, spec, was)?;
        bad.append(service_rules::validate(spec, was));
        bad.into_result(Kind::Service, &name)?;
        *value = schema::untyped(&now).map_err(|e| ApiError::internal(&e))?;
        value["status"] = match old {
            Some(old) if value["spec"]["type"] == "LoadBalancer" => old["status"].clone(),
            _ => json!({"loadBalancer": {}}),
        };
        Ok(())
    }
}
