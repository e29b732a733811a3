//! A length of time in a plugin's settings, with its unit: `"500ms"`, `"30s"`, `"5m"`, `"12h"`, `"365d"`, as in the proxy's own
//! configuration.

use std::str::FromStr;
use std::time::Duration;

/// Deserialises from a text such as `"30s"`.
///
/// ```
/// use tidegate_sdk::Period;
/// use std::time::Duration;
/// assert_eq!("5m".parse(), Ok(Period(Duration::from_secs(300))));
/// assert!("5".parse::<Period>().unwrap_err().contains("unit"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Period, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refusal(text)),
        };
        let number: u64 = number.parse().map_err(|_| refusal(text))?;
        let millis = number.checked_mul(millis).ok_or_else(|| refusal(text))?;
        Ok(Period(Duration::from_millis(millis)))
    }
}

fn refusal(text: &str) -> String {
    format!(
        "`{text}` is no length of time: a whole number with a unit (`ms`, `s`, `m`, `h`, `d`), such as `30s`"
    )
}

impl<'de> serde::Deserialize<'de> for Period {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
