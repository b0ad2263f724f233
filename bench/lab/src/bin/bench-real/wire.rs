//! What the form of a write costs the API server: the same change of the same slice as a JSON patch,
//! which is what we send, and as the whole object in JSON or in protobuf, which is what the native
//! controller sends. One connection, one request at a time, in turns.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::{Value, json};
use zen_bench::figures::{Table, Times};
use zen_lead::shell::api;

use crate::Stage;
use crate::api::{Api, SLICES, path};
use crate::cluster::{BARE, bare_slice};

const TIMEOUT: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const NAME: &str = "wire";

/// From sending a request to having its answer.
#[derive(Debug, Default)]
struct Forms {
    /// A JSON patch.
    patch: Times,
    /// A PUT of the object as JSON.
    json: Times,
    /// A PUT of the object as protobuf, which is answered in protobuf.
    protobuf: Times,
}

impl Stage<'_> {
    /// What the form of a write costs, without other clients.
    pub async fn wire(&self, table: &mut Table) -> Result<()> {
        let forms = compare(&self.cluster.api, 6 * self.plan.rounds).await?;
        table.beside(
            "a PUT in JSON beside a JSON patch",
            &forms.patch,
            &forms.json,
        );
        table.beside(
            "a PUT in protobuf beside a JSON patch",
            &forms.patch,
            &forms.protobuf,
        );
        Ok(())
    }
}

/// So many rounds of each form.
async fn compare(api: &Api, rounds: usize) -> Result<Forms> {
    let at = path(SLICES, BARE, NAME);
    api.ensure(&path(SLICES, BARE, ""), &bare_slice(NAME))
        .await?;
    // The two states that the slice alternates between, in every form.
    let mut states = Vec::new();
    for address in ["10.97.0.1", "10.97.0.2"] {
        let patch = json!([{
            "op": "replace", "path": "/endpoints", "value": [{"addresses": [address]}],
        }]);
        let mut object = api.call("PATCH", &at, &patch).await?;
        let meta = object["metadata"].as_object_mut();
        meta.context("metadata")?.remove("resourceVersion");
        let protobuf = exchange(api, "GET", &at, (JSON, PROTOBUF), Vec::new()).await?;
        states.push(State {
            patch,
            object,
            protobuf: without_version(&protobuf)?,
        });
    }
    let mut forms = Forms::default();
    for round in 0..rounds {
        for turn in 0..3 {
            // Neither the order nor the state stays with a form.
            let form = (round + turn) % 3;
            let state = &states[(round + form + turn) % 2];
            let from = Instant::now();
            let took = match form {
                0 => {
                    let patch = state.patch.to_string().into_bytes();
                    let types = ("application/json-patch+json", JSON);
                    exchange(api, "PATCH", &at, types, patch).await?;
                    &mut forms.patch
                }
                1 => {
                    let object = state.object.to_string().into_bytes();
                    exchange(api, "PUT", &at, (JSON, JSON), object).await?;
                    &mut forms.json
                }
                _ => {
                    let object = state.protobuf.clone();
                    exchange(api, "PUT", &at, (PROTOBUF, PROTOBUF), object).await?;
                    &mut forms.protobuf
                }
            };
            took.push(from.elapsed());
        }
    }
    api.delete(&at).await?;
    Ok(forms)
}

/// A slice that differs from its other state by its endpoint.
struct State {
    patch: Value,
    object: Value,
    protobuf: Vec<u8>,
}

async fn exchange(
    api: &Api,
    method: &str,
    path: &str,
    (content, accept): (&str, &str),
    body: Vec<u8>,
) -> Result<Vec<u8>> {
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{path}?fieldManager=bench"))
        .header(CONTENT_TYPE, content)
        .header(ACCEPT, accept)
        .body(body)?;
    let answer = api::unary(&api.0, request, TIMEOUT).await?;
    ensure!(
        answer.status.is_success(),
        "{method} {path}: {}",
        answer.to_status()
    );
    Ok(answer.body.to_vec())
}

/// Takes the resourceVersion out of an object, so that it can be sent again and again: field 6 of
/// field 1 of what stands in field 2 of the envelope, behind four bytes of magic.
fn without_version(object: &[u8]) -> Result<Vec<u8>> {
    const MAGIC: &[u8] = b"k8s\0";
    let envelope = object.strip_prefix(MAGIC).context("a Kubernetes object")?;
    let envelope = replace(envelope, 2, |slice| {
        replace(slice, 1, |meta| {
            let kept = fields(meta)?.into_iter().filter(|field| field.number != 6);
            Ok(kept.flat_map(|field| field.whole).copied().collect())
        })
    })?;
    Ok([MAGIC, &envelope].concat())
}

/// A field of a message.
struct Field<'a> {
    number: u64,
    whole: &'a [u8],
    /// What it holds, if that has a length.
    content: &'a [u8],
}

fn replace(message: &[u8], number: u64, by: impl Fn(&[u8]) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut replaced = Vec::new();
    for field in fields(message)? {
        if field.number != number {
            replaced.extend(field.whole);
            continue;
        }
        let content = by(field.content)?;
        replaced.extend(varint(number << 3 | 2));
        replaced.extend(varint(content.len() as u64));
        replaced.extend(content);
    }
    Ok(replaced)
}

fn fields(message: &[u8]) -> Result<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let from = rest;
        let key = take_varint(&mut rest)?;
        let content = match key & 7 {
            0 => {
                take_varint(&mut rest)?;
                &[]
            }
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?)?;
                rest.split_off(..length).context("a whole field")?
            }
            other => anyhow::bail!("wire type {other}: expected 0 or 2"),
        };
        fields.push(Field {
            number: key >> 3,
            whole: &from[..from.len() - rest.len()],
            content,
        });
    }
    Ok(fields)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.split_off_first().context("a whole number")?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    anyhow::bail!("a number of more than 64 bits")
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
