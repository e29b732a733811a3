//! Numbers, durations and sizes as typed: each with its range in its type, and a unit wherever one can be mistaken.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::read::{Fault, FromText, Reader, Value, Written};

/// A whole number of that range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number<const LEAST: u64, const MOST: u64>(pub u64);

/// A duration; the range is in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span<const LEAST: u64, const MOST: u64>(pub Duration);

/// A number of bytes of that range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Size<const LEAST: u64, const MOST: u64>(pub u64);

pub(super) const MICROSECOND: u64 = 1;
pub(super) const MILLISECOND: u64 = 1_000;
pub(super) const SECOND: u64 = 1_000 * MILLISECOND;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const GIB: u64 = 1 << 30;

const TIME_UNITS: [(&str, u64); 6] = [
    ("us", MICROSECOND),
    ("ms", MILLISECOND),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
    ("d", DAY),
];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", KIB),
    ("kiB", KIB),
    ("MiB", 1 << 20),
    ("GiB", GIB),
];

impl<const LEAST: u64, const MOST: u64> Written for Number<LEAST, MOST> {
    fn expected() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let DeValue::Integer(number) = value.get_ref() else {
            let quoted = value
                .get_ref()
                .as_str()
                .and_then(|text| text.parse::<u64>().ok());
            let remedy = quoted.map(|number| format!("write {number} without quotes"));
            reader.wrong_type(value, &Self::expected(), remedy);
            return None;
        };
        // What doesn't fit is out of range too.
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let fits = parsed.filter(|parsed| (LEAST..=MOST).contains(parsed));
        if fits.is_none() {
            let message = format!("{number} is out of range");
            reader.problem(value.span(), message, format!("write {}", Self::expected()));
        }
        fits.map(Number)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST })
    }
}

impl<const LEAST: u64, const MOST: u64> FromText for Span<LEAST, MOST> {
    fn form() -> String {
        let (least, most) = (duration(LEAST), duration(MOST));
        format!(
            "a duration from \"{least}\" to \"{most}\", such as {:?}",
            example(LEAST, MOST)
        )
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let micros = parse(
            text,
            &TIME_UNITS,
            "us, ms, s, m, h or d",
            example(LEAST, MOST),
        )?;
        if (LEAST..=MOST).contains(&micros) {
            return Ok(Span(Duration::from_micros(micros)));
        }
        Err(out_of_range(&Self::form()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0|[0-9]+(us|ms|s|m|h|d))$" })
    }

    fn number_remedy(number: &str) -> Option<String> {
        Some(format!("add a unit, us, ms, s, m, h or d: \"{number}s\""))
    }
}

impl<const LEAST: u64, const MOST: u64> FromText for Size<LEAST, MOST> {
    fn form() -> String {
        format!(
            "a size from \"{}\" to \"{}\", such as \"16{}\"",
            size(LEAST),
            size(MOST),
            fitting_unit(16, LEAST, MOST)
        )
    }

    fn from_text(text: &str) -> Result<Self, Fault> {
        let bytes = parse(text, &SIZE_UNITS, "B, kB, MB, GB, KiB, MiB or GiB", "16MiB")?;
        if (LEAST..=MOST).contains(&bytes) {
            return Ok(Size(bytes));
        }
        Err(out_of_range(&Self::form()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(0|[0-9]+([kKMG]B|B|[kKMG]iB))$" })
    }

    fn number_remedy(number: &str) -> Option<String> {
        let unit = fitting_unit(number.parse().unwrap_or(1), LEAST, MOST);
        Some(format!(
            "add a unit, B, kB, MB, GB, KiB, MiB or GiB: \"{number}{unit}\""
        ))
    }
}

/// Digits and a unit, without space, sign or fraction; "0" alone.
fn parse(text: &str, units: &[(&str, u64)], names: &str, example: &str) -> Result<u64, Fault> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        let remedy = format!("write digits and a unit: {example:?}");
        return Err(Fault::new("does not begin with a number", remedy));
    }
    // Nothing is nothing, of whatever.
    if text == "0" {
        return Ok(0);
    }
    if unit.is_empty() {
        let remedy = format!("add a unit, {names}: {example:?}");
        return Err(Fault::new("has no unit", remedy));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let remedy = format!("write a whole number and one of the units {names}: {example:?}");
        return Err(Fault::new(format!("has the unknown unit {unit:?}"), remedy));
    };
    let value = number.parse::<u64>().ok();
    let value = value.and_then(|number| number.checked_mul(*factor));
    value.ok_or_else(|| {
        Fault::new(
            "is out of range",
            format!("write less, such as {example:?}"),
        )
    })
}

fn out_of_range(expected: &str) -> Fault {
    Fault::new("is out of range", format!("write {expected}"))
}

fn example(least: u64, most: u64) -> &'static str {
    if (least..=most).contains(&(30 * SECOND)) {
        "30s"
    } else {
        "2ms"
    }
}

/// The largest of the usual units with which the number is of that range.
fn fitting_unit(number: u64, least: u64, most: u64) -> &'static str {
    let usual = [("MiB", 1 << 20), ("KiB", KIB), ("B", 1)];
    let fits = |factor: u64| (least..=most).contains(&number.saturating_mul(factor));
    let fitting = usual.iter().find(|(_, factor)| fits(*factor));
    fitting.map_or("MiB", |(unit, _)| unit)
}

/// In the largest unit that divides it: `90s`, `1h`.
pub(super) fn duration(micros: u64) -> String {
    shortest(micros, &TIME_UNITS, "s")
}

fn size(bytes: u64) -> String {
    let powers = SIZE_UNITS.map(|(name, factor)| match name {
        "KiB" | "MiB" | "GiB" => (name, factor),
        _ => ("B", 1),
    });
    shortest(bytes, &powers, "B")
}

fn shortest(number: u64, units: &[(&str, u64)], zero: &str) -> String {
    if number == 0 {
        return format!("0{zero}");
    }
    let fitting = units
        .iter()
        .filter(|(_, factor)| number.is_multiple_of(*factor));
    let (unit, factor) = fitting
        .max_by_key(|(_, factor)| *factor)
        .expect("the smallest unit divides all");
    format!("{}{unit}", number / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    type AnySpan = Span<0, { 400 * DAY }>;
    type AnySize = Size<0, { u64::MAX }>;

    fn span(text: &str) -> Result<Duration, String> {
        AnySpan::from_text(text)
            .map(|span| span.0)
            .map_err(|fault| fault.says)
    }

    fn bytes(text: &str) -> Result<u64, String> {
        AnySize::from_text(text)
            .map(|size| size.0)
            .map_err(|fault| fault.says)
    }

    #[test]
    fn durations() {
        assert_eq!(span("0s"), Ok(Duration::ZERO));
        assert_eq!(span("0"), Ok(Duration::ZERO));
        assert_eq!(span("5us"), Ok(Duration::from_micros(5)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(span("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(span("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(span("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(span("1d"), Ok(Duration::from_secs(86400)));
    }

    #[test]
    fn what_is_no_duration() {
        assert_eq!(span("30").unwrap_err(), "has no unit");
        assert_eq!(span("").unwrap_err(), "does not begin with a number");
        assert_eq!(span("s").unwrap_err(), "does not begin with a number");
        assert_eq!(span("-1s").unwrap_err(), "does not begin with a number");
        assert_eq!(span("1.5s").unwrap_err(), "has the unknown unit \".5s\"");
        assert_eq!(span("1 s").unwrap_err(), "has the unknown unit \" s\"");
        assert_eq!(span("1h30m").unwrap_err(), "has the unknown unit \"h30m\"");
        assert_eq!(span("2S").unwrap_err(), "has the unknown unit \"S\"");
        assert_eq!(span("401d").unwrap_err(), "is out of range");
        assert_eq!(
            span("99999999999999999999d").unwrap_err(),
            "is out of range"
        );
        assert_eq!(span("9999999999999999999d").unwrap_err(), "is out of range");
        assert_eq!(span("٣s").unwrap_err(), "does not begin with a number");
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("0B"), Ok(0));
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("16KiB"), Ok(16 << 10));
        assert_eq!(bytes("16MiB"), Ok(16 << 20));
        assert_eq!(bytes("1GiB"), Ok(1 << 30));
        assert_eq!(bytes("1kB"), Ok(1_000));
        assert_eq!(bytes("1MB"), Ok(1_000_000));
        assert_eq!(bytes("2GB"), Ok(2_000_000_000));
    }

    #[test]
    fn what_is_no_size() {
        assert_eq!(bytes("16").unwrap_err(), "has no unit");
        assert_eq!(bytes("16k").unwrap_err(), "has the unknown unit \"k\"");
        assert_eq!(bytes("16mib").unwrap_err(), "has the unknown unit \"mib\"");
        assert_eq!(bytes("99999999999GiB").unwrap_err(), "is out of range");
    }

    #[test]
    fn ranges_are_shown_in_their_largest_unit() {
        assert_eq!(
            AnySpan::form(),
            "a duration from \"0s\" to \"400d\", such as \"30s\""
        );
        assert_eq!(duration(90 * SECOND), "90s");
        assert_eq!(size(64 * KIB), "64KiB");
        assert_eq!(size(GIB), "1GiB");
        assert_eq!(size(1500), "1500B");
    }
}
