//! Durations as Go writes them: `300ms`, `5s`, `1m30s`, `1.5h`. No days, nothing negative.

use std::fmt;
use std::time::Duration;

/// The longest duration that Go can express, about 292 years: `i64::MAX` nanoseconds.
pub const MAX: Duration = Duration::from_nanos(i64::MAX as u64);

/// Why a text is no duration. The message says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// Nothing was given, or a part of it is neither a number nor a unit.
    Malformed,
    /// A number without a unit, like `5`.
    NoUnit,
    /// A unit that Go does not know either, like the `d` of `1d`.
    UnknownUnit,
    /// Less than zero.
    Negative,
    /// More than Go can hold.
    TooLong,
}

impl fmt::Display for DurationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "expected a duration such as 300ms, 5s, 1m30s or 1.5h",
            Self::NoUnit => "expected a unit after the number, as in 300ms, 5s, 1m30s or 1.5h",
            Self::UnknownUnit => {
                "expected the units ns, us, ms, s, m, h, as in 300ms, 5s, 1m30s or 1.5h"
            }
            Self::Negative => "expected a duration that is not negative, such as 0s or 5s",
            Self::TooLong => "expected a duration of at most 2562047h (292 years)",
        })
    }
}

impl std::error::Error for DurationError {}

/// Reads a duration by the rules of Go's `time.ParseDuration`, negative ones excepted.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(DurationError::Malformed);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, after) = component(rest)?;
        total = total.checked_add(nanos).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    match Duration::from_nanos(total) {
        Duration::ZERO => Ok(Duration::ZERO),
        _ if negative => Err(DurationError::Negative),
        span if span > MAX => Err(DurationError::TooLong),
        span => Ok(span),
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn component(text: &str) -> Result<(u64, &str), DurationError> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(DurationError::Malformed);
    }
    let end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    let unit = nanos_of(unit)?;
    let whole: u64 = match whole {
        "" => 0,
        digits => digits.parse().map_err(|_| DurationError::TooLong)?,
    };
    let nanos = whole
        .checked_mul(unit)
        .and_then(|nanos| nanos.checked_add(fraction_of(fraction, unit)))
        .ok_or(DurationError::TooLong)?;
    Ok((nanos, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn nanos_of(unit: &str) -> Result<u64, DurationError> {
    Ok(match unit {
        "ns" => 1,
        // The micro sign U+00B5 and the Greek letter U+03BC look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err(DurationError::NoUnit),
        _ => return Err(DurationError::UnknownUnit),
    })
}

/// The part after the decimal point in nanoseconds, rounded down. Exact, where Go's floating point
/// may be one nanosecond off.
fn fraction_of(digits: &str, unit: u64) -> u64 {
    // 18 digits of an hour are far below a nanosecond, and keep the product within 128 bits.
    let digits = &digits[..digits.len().min(18)];
    let mut numerator: u128 = 0;
    let mut scale: u128 = 1;
    for digit in digits.bytes() {
        numerator = numerator * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    let nanos = numerator * u128::from(unit) / scale;
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Prints a duration as Go does: `300ms`, `5s`, `1m30s`, `1h30m0s`. [`parse`] reads it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Go(pub Duration);

impl fmt::Display for Go {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{nanos}ns"),
            1_000..1_000_000 => {
                decimal(f, nanos, 1_000)?;
                return f.write_str("\u{b5}s");
            }
            1_000_000..1_000_000_000 => {
                decimal(f, nanos, 1_000_000)?;
                return f.write_str("ms");
            }
            _ => {}
        }
        let minute = 60_000_000_000;
        let (hours, minutes) = (nanos / minute / 60, nanos / minute % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        decimal(f, nanos % minute, 1_000_000_000)?;
        f.write_str("s")
    }
}

/// `nanos / unit` without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, nanos: u128, unit: u128) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut rest = nanos % unit;
    if rest == 0 {
        return Ok(());
    }
    f.write_str(".")?;
    let mut place = unit / 10;
    while rest > 0 {
        write!(f, "{}", rest / place)?;
        rest %= place;
        place /= 10;
    }
    Ok(())
}

/// Prints a duration for a sentence: `3.1 ms`, `1.2 s`, `1m30s`. Rounded, not for reading back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief(pub Duration);

impl fmt::Display for Brief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0;
        // The borders are where rounding would reach the next unit: never "1000.0 ms".
        if span < Duration::from_micros(999_950) {
            write!(f, "{:.1} ms", span.as_secs_f64() * 1e3)
        } else if span < Duration::from_millis(59_950) {
            write!(f, "{:.1} s", span.as_secs_f64())
        } else {
            let half = Duration::from_millis(500);
            let seconds = span.saturating_add(half).as_secs();
            write!(f, "{}", Go(Duration::from_secs(seconds)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DurationError::{Malformed, Negative, NoUnit, TooLong, UnknownUnit};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let ns = Duration::from_nanos;
        for (text, expected) in [
            ("0", ns(0)),
            ("0s", ns(0)),
            ("-0", ns(0)),
            ("-0s", ns(0)),
            ("+0", ns(0)),
            ("0h0m0s", ns(0)),
            ("5s", Duration::from_secs(5)),
            ("+5s", Duration::from_secs(5)),
            ("30s", Duration::from_secs(30)),
            ("1478s", Duration::from_secs(1478)),
            ("5.0s", Duration::from_secs(5)),
            ("5.s", Duration::from_secs(5)),
            (".5s", Duration::from_millis(500)),
            ("1.00s", Duration::from_secs(1)),
            ("1.004s", Duration::from_millis(1004)),
            ("100.00100s", Duration::from_millis(100_001)),
            ("10ns", ns(10)),
            ("11us", ns(11_000)),
            ("12\u{b5}s", ns(12_000)),
            ("12\u{3bc}s", ns(12_000)),
            ("13ms", Duration::from_millis(13)),
            ("300ms", Duration::from_millis(300)),
            ("15m", Duration::from_mins(15)),
            ("16h", Duration::from_hours(16)),
            ("1.5h", Duration::from_mins(90)),
            ("1m30s", Duration::from_secs(90)),
            ("3h30m", Duration::from_mins(210)),
            ("10.5s4m", Duration::from_millis(250_500)),
            ("1h0m5.5s", Duration::from_millis(3_605_500)),
            ("52763797000ns", ns(52_763_797_000)),
            ("0.3333333333333333333h", ns(1_199_999_999_999)),
            ("0.100000000000000000000h", Duration::from_mins(6)),
            ("0.9223372036854775807ns", ns(0)),
            ("9007199254740993ns", ns(9_007_199_254_740_993)),
            ("9223372036854775807ns", MAX),
            ("9223372036s854ms775us807ns", MAX),
            ("2562047h47m16.854775807s", MAX),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for (text, expected) in [
            ("", Malformed),
            ("-", Malformed),
            ("+", Malformed),
            ("s", Malformed),
            (".", Malformed),
            (".s", Malformed),
            ("+.s", Malformed),
            (" 5s", Malformed),
            ("--5s", Malformed),
            ("five", Malformed),
            ("3", NoUnit),
            ("-3", NoUnit),
            ("1s3", NoUnit),
            ("1.5", NoUnit),
            ("5 s", UnknownUnit),
            ("5s ", UnknownUnit),
            ("5S", UnknownUnit),
            ("1d", UnknownUnit),
            ("1w", UnknownUnit),
            ("1e3s", UnknownUnit),
            ("3sm", UnknownUnit),
            ("\u{665}s", Malformed),
            ("-5s", Negative),
            ("-1ns", Negative),
            ("9223372036854775808ns", TooLong),
            ("9223372036854775.808us", TooLong),
            ("2562048h", TooLong),
            ("3000000h", TooLong),
            ("99999999999999999999s", TooLong),
            ("18446744073709551615ns1ns", TooLong),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
            assert!(expected.to_string().starts_with("expected "), "{text}");
        }
    }

    #[test]
    fn prints_as_go_and_briefly() {
        let us = Duration::from_micros;
        for (span, go, brief) in [
            (us(0), "0s", "0.0 ms"),
            (Duration::from_nanos(1), "1ns", "0.0 ms"),
            (us(1), "1\u{b5}s", "0.0 ms"),
            (Duration::from_nanos(1_100), "1.1\u{b5}s", "0.0 ms"),
            (us(420), "420\u{b5}s", "0.4 ms"),
            (us(3_100), "3.1ms", "3.1 ms"),
            (us(999_949), "999.949ms", "999.9 ms"),
            (us(999_950), "999.95ms", "1.0 s"),
            (us(1_200_000), "1.2s", "1.2 s"),
            (us(59_949_000), "59.949s", "59.9 s"),
            (us(59_950_000), "59.95s", "1m0s"),
            (us(90_000_000), "1m30s", "1m30s"),
            (us(90_600_000), "1m30.6s", "1m31s"),
            (us(3_605_500_000), "1h0m5.5s", "1h0m6s"),
        ] {
            assert_eq!(Go(span).to_string(), go);
            assert_eq!(Brief(span).to_string(), brief);
        }
        assert_eq!(Go(MAX).to_string(), "2562047h47m16.854775807s");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_printed_reads_back(nanos in 0..=i64::MAX as u64) {
            let span = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&Go(span).to_string()), Ok(span));
        }

        #[test]
        fn parts_add_up(h in 0u64..2_000_000, m in 0u64..100_000, s in 0u64..1_000_000, milli in 0u64..1_000) {
            let expected = Duration::from_millis(((h * 60 + m) * 60 + s) * 1_000 + milli);
            prop_assert_eq!(parse(&format!("{h}h{m}m{s}.{milli:03}s")), Ok(expected));
            prop_assert_eq!(parse(&format!("{milli}ms{s}s{m}m{h}h")), Ok(expected));
        }

        #[test]
        fn anything_at_all_is_either_in_range_or_refused(text in "[-+.0-9nuµmsh ]{0,12}|.{0,16}") {
            if let Ok(span) = parse(&text) {
                prop_assert!(span <= MAX);
                prop_assert_eq!(parse(&Go(span).to_string()), Ok(span));
            }
        }
    }
}
