//! Durations against Go's own algorithm, transcribed from what `time.ParseDuration` documents and
//! does, floating point included.

use std::time::Duration;

use zen_lead::logic::duration::{DurationError, Go, MAX, parse};

/// A text is a duration for zen-lead exactly when Go takes it and it is not negative; both mean the
/// same, but for one nanosecond a fraction, since Go's floating point rounds.
pub fn duration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let slack = 1 + i128::try_from(text.matches('.').count()).expect("a short text");
    let longest = i128::try_from(MAX.as_nanos()).expect("it fits");
    match (parse(text), go_nanos(text)) {
        (Ok(ours), Some(go)) => {
            let ours = i128::try_from(ours.as_nanos()).expect("it fits");
            assert!(
                (ours - go).abs() <= slack,
                "{text:?}: {ours} ns, Go says {go} ns"
            );
        }
        (Ok(ours), None) => {
            let ours = i128::try_from(ours.as_nanos()).expect("it fits");
            assert!(
                longest - ours <= slack,
                "{text:?}: {ours} ns, Go refuses it"
            );
        }
        (Err(DurationError::Negative), Some(go)) => assert!(go <= 0, "{text:?}: {go} ns"),
        (Err(DurationError::TooLong), Some(go)) => {
            assert!(longest - go <= slack, "{text:?}: too long, Go says {go} ns");
        }
        (Err(why), Some(go)) => panic!("{text:?}: {why}, Go says {go} ns"),
        (Err(_), None) => {}
    }
    if let Ok(span) = parse(text) {
        assert!(span <= MAX, "{text:?}");
        assert_eq!(
            parse(&Go(span).to_string()),
            Ok(span),
            "{text:?} reads back"
        );
    }
    // Any number of nanoseconds prints as Go reads it.
    let mut nanos = [0; 8];
    nanos[..data.len().min(8)].copy_from_slice(&data[..data.len().min(8)]);
    let nanos = u64::from_le_bytes(nanos) >> 1;
    let printed = Go(Duration::from_nanos(nanos)).to_string();
    // Beyond 2^53 a float has no room for every nanosecond.
    let read = go_nanos(&printed).unwrap_or_else(|| panic!("Go refuses {printed:?}"));
    assert!((read - i128::from(nanos)).abs() <= 1, "{printed}: {read}");
}

/// Nanoseconds as Go reads them; `None` where Go returns an error.
fn go_nanos(text: &str) -> Option<i128> {
    const LIMIT: u64 = 1 << 63;
    let mut rest = text.as_bytes();
    let mut negative = false;
    if let [sign @ (b'-' | b'+'), after @ ..] = rest {
        negative = *sign == b'-';
        rest = after;
    }
    if rest == b"0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_u64;
    while let Some(first) = rest.first() {
        if *first != b'.' && !first.is_ascii_digit() {
            return None;
        }
        let before = rest.len();
        let mut value;
        (value, rest) = leading_int(rest)?;
        let has_whole = rest.len() != before;
        let (mut fraction, mut scale, mut has_fraction) = (0, 1.0, false);
        if let [b'.', after @ ..] = rest {
            (fraction, scale, rest) = leading_fraction(after);
            has_fraction = rest.len() != after.len();
        }
        if !has_whole && !has_fraction {
            return None;
        }
        let end = rest.iter().position(|b| *b == b'.' || b.is_ascii_digit());
        let (unit, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        let unit = unit_nanos(unit)?;
        if value > LIMIT / unit {
            return None;
        }
        value *= unit;
        if fraction > 0 {
            value += go_fraction(fraction, unit, scale);
            if value > LIMIT {
                return None;
            }
        }
        total = total.checked_add(value).filter(|total| *total <= LIMIT)?;
    }
    match (negative, total) {
        (true, _) => Some(-i128::from(total)),
        (false, LIMIT) => None,
        (false, _) => Some(i128::from(total)),
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what Go does, with what that loses"
)]
fn go_fraction(fraction: u64, unit: u64, scale: f64) -> u64 {
    (fraction as f64 * (unit as f64 / scale)) as u64
}

fn unit_nanos(unit: &[u8]) -> Option<u64> {
    let powers: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60 * 1_000_000_000),
        ("h", 3_600 * 1_000_000_000),
    ];
    let known = powers.iter().find(|(name, _)| name.as_bytes() == unit);
    known.map(|(_, nanos)| *nanos)
}

fn leading_int(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    let mut at = 0;
    while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
        if value > (1 << 63) / 10 {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
        if value > 1 << 63 {
            return None;
        }
        at += 1;
    }
    Some((value, &text[at..]))
}

/// Digits that no longer fit are read over.
fn leading_fraction(text: &[u8]) -> (u64, f64, &[u8]) {
    let (mut value, mut scale, mut full) = (0_u64, 1.0, false);
    let mut at = 0;
    while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
        at += 1;
        if full || value > (i64::MAX as u64) / 10 {
            full = true;
            continue;
        }
        let next = value * 10 + u64::from(digit - b'0');
        if next > 1 << 63 {
            full = true;
            continue;
        }
        value = next;
        scale *= 10.0;
    }
    (value, scale, &text[at..])
}
