//! In which form a client would have an answer.

use super::path::Target;
use super::status::{ApiError, Details};
use crate::options::Protobuf;
use crate::protobuf;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    #[default]
    Json,
    /// JSON for people: objects as rows of columns.
    Table,
    Protobuf,
}

impl Form {
    /// The first one of the header `Accept` that there is, for a target or for the refusal of a path that is
    /// none. Weights are not looked at, since no client of
    /// Kubernetes sends any.
    pub(crate) fn of(
        accept: &str,
        target: Option<&Target>,
        served: Protobuf,
    ) -> Result<Self, ApiError> {
        let is_collection = target.is_some_and(|target| target.name.is_empty());
        if served == Protobuf::Refused && accept.contains(protobuf::MEDIA_TYPE) {
            return Err(ApiError::not_acceptable(is_collection));
        }
        let has_protobuf = served == Protobuf::Served
            && target.is_none_or(|target| protobuf::is_served(target.kind));
        let mut clauses = accept.split(',').map(|clause| {
            let (media, parameters) = clause.split_once(';').unwrap_or((clause, ""));
            (media.trim(), parameters)
        });
        let form = clauses.find_map(|(media, parameters)| match media {
            "application/json" if parameters.contains("as=Table") => Some(Self::Table),
            "" | "*/*" | "application/*" | "application/json" => Some(Self::Json),
            protobuf::MEDIA_TYPE if has_protobuf => Some(Self::Protobuf),
            _ => None,
        });
        form.ok_or_else(|| ApiError::not_acceptable(is_collection))
    }
}

impl ApiError {
    /// An answer in none of the forms that there are. Collections name those of watches as well.
    pub(crate) fn not_acceptable(is_collection: bool) -> Self {
        let streams = if is_collection {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        } else {
            ""
        };
        Self::new(
            406,
            "NotAcceptable",
            format!(
                "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf{streams}"
            ),
        )
        .details(Details::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::kind::Kind;

    #[test]
    fn the_first_form_that_there_is_counts() {
        let both = "application/vnd.kubernetes.protobuf;a=b, application/json";
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
        for (accept, kind, served, expected) in [
            ("", Kind::Pod, Protobuf::Served, Some(Form::Json)),
            ("*/*", Kind::Pod, Protobuf::Served, Some(Form::Json)),
            (table, Kind::Pod, Protobuf::Served, Some(Form::Table)),
            (both, Kind::Pod, Protobuf::Served, Some(Form::Protobuf)),
            (both, Kind::ConfigMap, Protobuf::Served, Some(Form::Json)),
            (both, Kind::Pod, Protobuf::Unknown, Some(Form::Json)),
            (both, Kind::Pod, Protobuf::Refused, None),
            (table, Kind::Pod, Protobuf::Refused, Some(Form::Table)),
            (protobuf::MEDIA_TYPE, Kind::Pod, Protobuf::Unknown, None),
            ("text/plain", Kind::Pod, Protobuf::Served, None),
        ] {
            let target = Target::parse(&kind.path("n", "")).expect("a path");
            let form = Form::of(accept, Some(&target), served).ok();
            assert_eq!(form, expected, "{accept} {kind} {served:?}");
        }
        let refusal = Form::of(both, None, Protobuf::Served).ok();
        assert_eq!(refusal, Some(Form::Protobuf));
    }
}
