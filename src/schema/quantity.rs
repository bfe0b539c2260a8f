//! Durations (`"250ms"`) and sizes (`"64KiB"`).

use std::{str::FromStr, time::Duration};

use serde_json::json;

use super::{Data, Node, Reader, Value};

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Value for Duration {
    fn kind() -> String {
        "a duration".into()
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": r"^(0|([0-9]+(us|ms|s|m|h|d))+)$"})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Data::Integer(number) = node.data {
            let message = format!("`{}` needs a unit", reader.key());
            let hint = format!("for {number} seconds write \"{number}s\"");
            reader.problem_with(node.place, message, hint);
            return None;
        }
        let text = reader.text(node, "a duration, such as \"250ms\" or \"30s\"")?;
        let nanos = if text == "0" { Some(0) } else { sum(text, &TIME) };
        if nanos.is_none() {
            let message = format!("`{text}` is not a duration");
            reader.problem_with(
                node.place,
                message,
                "a number and a unit of us, ms, s, m, h or d: \"250ms\", \"30s\", \"1h30m\"",
            );
        }
        nanos.map(Self::from_nanos)
    }

    fn magnitude(&self) -> Option<f64> {
        Some(self.as_secs_f64())
    }
}

/// The text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSize;

impl FromStr for Size {
    type Err = NoSize;

    fn from_str(text: &str) -> Result<Self, NoSize> {
        text.parse().ok().or_else(|| sum(text, &BYTES)).map(Self).ok_or(NoSize)
    }
}

impl Value for Size {
    fn kind() -> String {
        "a size in bytes".into()
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [
            {"type": "string", "pattern": r"^[0-9]+(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"},
            {"type": "integer", "minimum": 0},
        ]})
    }

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Data::Integer(number) = node.data {
            let bytes = u64::try_from(number).ok();
            if bytes.is_none() {
                let message = format!("`{}` must be a size, not {number}", reader.key());
                reader.problem(node.place, message);
            }
            return bytes.map(Self);
        }
        let text = reader.text(node, "a size, such as \"64KiB\"")?;
        let size = text.parse().ok();
        if size.is_none() {
            let message = format!("`{text}` is not a size");
            let hint = "a number and a unit of B, KiB, MiB, GiB, TiB, kB, MB, GB or TB: \"64KiB\"";
            reader.problem_with(node.place, message, hint);
        }
        size
    }

    fn magnitude(&self) -> Option<f64> {
        Some(self.0 as f64)
    }
}

/// The sum of `text`'s numbers times their units; `None` when a unit is unknown or it does not fit.
fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit());
        let (unit, next) = after.split_at(unit_end.unwrap_or(after.len()));
        let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
        let part = number.parse::<u64>().ok()?.checked_mul(*scale)?;
        total = total.checked_add(part)?;
        rest = next;
    }
    (!text.trim().is_empty()).then_some(total)
}

/// Units of time, in nanoseconds.
const TIME: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

/// Units of size.
const BYTES: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_numbers_with_units() {
        assert_eq!(sum("250ms", &TIME), Some(250_000_000));
        assert_eq!(sum("1h30m", &TIME), Some(5_400_000_000_000));
        assert_eq!(sum("64KiB", &BYTES), Some(65_536));
        for wrong in ["", "5", "s", "5 parsecs", "-5s", "1.5s", "99999999999999d"] {
            assert_eq!(sum(wrong, &TIME), None, "{wrong}");
        }
    }
}
