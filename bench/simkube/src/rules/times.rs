//! Go's reading of times with microseconds, which is stricter than RFC 3339.

use serde_json::Value;

use crate::api::kind::Kind;

const LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";
/// Up to and with the seconds.
const SECONDS: usize = "2006-01-02T15:04:05".len();
/// The fraction that must follow, its point included.
const FRACTION: usize = ".000000".len();

/// Where a kind has such times.
fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Lease => &["/spec/acquireTime", "/spec/renewTime"],
        Kind::Event | Kind::NewEvent => &["/eventTime", "/series/lastObservedTime"],
        _ => &[],
    }
}

/// The decoder's complaint about the first time that is not exactly to the microsecond.
pub(crate) fn check_micro(kind: Kind, value: &Value) -> Result<(), String> {
    let texts = fields(kind).iter().filter_map(|at| value.pointer(at));
    texts
        .filter_map(Value::as_str)
        .map(micro)
        .find(Result::is_err)
        .unwrap_or(Ok(()))
}

fn micro(text: &str) -> Result<(), String> {
    let Some((rest, wanted)) = unread(text) else {
        return Ok(());
    };
    Err(format!(
        "parsing time {text:?} as {LAYOUT:?}: cannot parse {rest:?} as {wanted:?}"
    ))
}

/// Where reading stops, and what should be there.
fn unread(text: &str) -> Option<(&str, &'static str)> {
    // What stands before the fraction is read by the common parser; here its beginning is enough.
    if !text
        .as_bytes()
        .first_chunk::<4>()
        .is_some_and(|year| year.iter().all(u8::is_ascii_digit))
    {
        return Some((text, "2006"));
    }
    let fraction = text.get(SECONDS..)?;
    let digits = fraction.strip_prefix('.').map(|rest| rest.bytes());
    let digits = digits.map_or(0, |bytes| bytes.take_while(u8::is_ascii_digit).count());
    if digits + 1 < FRACTION {
        return Some((fraction, ".000000"));
    }
    let zone = &fraction[FRACTION..];
    let is_zone = zone == "Z" || (zone.len() == 6 && zone.starts_with(['+', '-']));
    (!is_zone).then_some((zone, "Z07:00"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_six_digits_will_do() {
        for (text, want) in [
            ("2026-01-01T00:00:00.000000Z", None),
            ("2026-01-01T00:00:00.123456+01:00", None),
            (
                "2026-01-01T00:00:00Z",
                Some("cannot parse \"Z\" as \".000000\""),
            ),
            (
                "2026-01-01T00:00:00.123Z",
                Some("cannot parse \".123Z\" as \".000000\""),
            ),
            (
                "2026-01-01T00:00:00.123456789Z",
                Some("cannot parse \"789Z\" as \"Z07:00\""),
            ),
            ("yesterday", Some("cannot parse \"yesterday\" as \"2006\"")),
        ] {
            let lease = json!({"spec": {"renewTime": text}});
            let got = check_micro(Kind::Lease, &lease).err();
            let fits = match want {
                None => got.is_none(),
                Some(end) => got.as_deref().is_some_and(|got| got.ends_with(end)),
            };
            assert!(fits, "{text}: {got:?}");
            assert!(check_micro(Kind::Pod, &lease).is_ok());
        }
    }
}
