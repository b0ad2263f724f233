//! Pages of a list, where one bad object must not hide the others, and refusals.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use zen_lead::logic::model::Pod;
use zen_lead::logic::reflect::Page;
use zen_lead::shell::api::ApiStatus;

use super::build;
use super::choices::Choices;

/// A page holds the objects that parse by themselves, in order, and names the others.
pub fn page(data: &[u8]) {
    let body = match data.first() {
        Some(b'{') => data.to_vec(),
        _ => built(&mut Choices::of(data)),
    };
    let read = Page::<Pod>::parse(&body);
    let Ok(plain) = serde_json::from_slice::<Plain>(&body) else {
        return;
    };
    let meta = plain.metadata.unwrap_or_default();
    let text = |field: &str| meta[field].as_str();
    let page = match read {
        Ok(page) => page,
        Err(why) => {
            let odd = |field: &str| !meta[field].is_null() && text(field).is_none();
            let version = text("resourceVersion").filter(|version| !["", "0"].contains(version));
            let is_odd = !meta.is_object() || odd("continue") || odd("resourceVersion");
            assert!(
                version.is_none() || is_odd,
                "{why}: {}",
                String::from_utf8_lossy(&body)
            );
            return;
        }
    };
    assert_eq!(Some(&*page.version.to_string()), text("resourceVersion"));
    let token = text("continue").filter(|token| !token.is_empty());
    assert_eq!(page.continue_token.as_deref(), token);
    let (mut objects, mut refused) = (Vec::new(), Vec::new());
    for item in plain.items.unwrap_or_default() {
        match serde_json::from_str::<Pod>(item.get()) {
            Ok(pod) => objects.push(pod),
            Err(_) => refused.push(item),
        }
    }
    assert_eq!(page.objects, objects);
    assert_eq!(page.unreadable.len(), refused.len());
    for (unreadable, item) in page.unreadable.iter().zip(refused) {
        let Ok(item) = serde_json::from_str::<Value>(item.get()) else {
            continue;
        };
        if let Some(key) = &unreadable.key {
            assert_eq!(Some(&*key.name), item["metadata"]["name"].as_str());
        }
    }
}

#[derive(serde::Deserialize)]
struct Plain<'a> {
    metadata: Option<Value>,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

fn built(c: &mut Choices) -> Vec<u8> {
    let version = if c.once_in(8) {
        c.text()
    } else {
        c.number().to_string()
    };
    let token = c.pick(&[json!(null), json!(""), json!("next"), json!(7)]);
    let mut items = Vec::new();
    while !c.is_empty() {
        let mut pod = build::pod(c);
        match c.below(8) {
            0 => pod["spec"]["containers"] = json!([{ "ports": [{ "containerPort": 65_536 }] }]),
            1 => pod["status"]["conditions"] = json!({ "not": "a list" }),
            2 => pod["metadata"]["labels"] = json!({ "a": 1 }),
            3 => pod = c.pick(&[json!(null), json!([]), json!("pod")]),
            _ => {}
        }
        items.push(pod);
    }
    let meta = json!({ "resourceVersion": version, "continue": token });
    json!({ "kind": "PodList", "metadata": meta, "items": items })
        .to_string()
        .into_bytes()
}

/// A refusal says what the server said: of anything at all there is a text, within bounds.
pub fn status(data: &[u8]) {
    let (code, body) = data.split_at(data.len().min(2));
    let code = code
        .iter()
        .fold(0, |code, byte| code << 8 | u16::from(*byte));
    let status = ApiStatus::parse(code, body);
    assert_eq!(status.code, code, "the status line wins");
    let _ = (
        status.is_gone(),
        status.is_ahead(),
        status.refuses_streaming(),
    );
    assert!(status.to_string().starts_with(&code.to_string()));
    let Ok(judge) = serde_json::from_slice::<Status>(body) else {
        return;
    };
    // Whatever else is odd about it, what is text is text.
    let is_read = serde_json::from_slice::<Value>(body).is_ok_and(|value| {
        value.is_object() && *status.message == *value["message"].as_str().unwrap_or("")
    });
    if !is_read {
        return;
    }
    assert_eq!(*status.reason, *judge.reason.unwrap_or_default());
    let details = judge.details.unwrap_or_default();
    let seconds = details.retry_after_seconds.filter(|seconds| *seconds > 0);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    assert_eq!(status.retry_after.map(|span| span.as_secs()), seconds);
    let causes = details.causes.unwrap_or_default();
    assert_eq!(status.causes.len(), causes.len());
    for (ours, judge) in status.causes.iter().zip(causes) {
        assert_eq!(*ours.field, *judge.field.unwrap_or_default());
        assert_eq!(*ours.reason, *judge.reason.unwrap_or_default());
        assert_eq!(*ours.message, *judge.message.unwrap_or_default());
    }
}
