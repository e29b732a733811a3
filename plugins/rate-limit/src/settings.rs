//! One limit, or several, as an operator writes them.

use serde::Deserialize;
use tidegate_sdk::Input;

use crate::by::By;
use crate::limit::Limit;

/// Each draws on a bucket of its own for every request.
const MOST_LIMITS: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// `10/s`: a limit by itself.
    rate: Option<String>,
    burst: Option<u32>,
    by: Option<OneOrMore>,
    limits: Option<Vec<Written>>,
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    status: u16,
    pub headers: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            rate: None,
            burst: None,
            by: None,
            limits: None,
            ipv4_prefix: 32,
            ipv6_prefix: 64,
            status: 429,
            headers: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: String,
    rate: String,
    burst: Option<u32>,
    by: Option<OneOrMore>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a part of a request or a list of them")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Settings {
    pub fn limits(&self) -> Result<Vec<Limit>, String> {
        match (&self.rate, self.limits.as_deref()) {
            (Some(_), Some(_)) => Err("keys `rate` and `limits`: `rate` and `limits` exclude each other; write it as one of the `limits`".to_owned()),
            (Some(rate), None) => {
                let limit = self.limit("default", rate, self.burst, self.by.as_ref())?;
                Ok(vec![limit])
            }
            (None, None | Some([])) if self.burst.is_some() || self.by.is_some() => {
                Err("key `rate`: is missing; `burst` belongs to a `rate`, and so does `by`".to_owned())
            }
            (None, None | Some([])) => Err("key `rate`: is missing; give `rate`, or several `limits`".to_owned()),
            (None, Some(limits)) => self.several(limits),
        }
    }

    pub fn status(&self) -> Result<u16, String> {
        match self.status {
            400..=599 => Ok(self.status),
            status => Err(format!(
                "key `status`: {status} is no refusal; give 429, or another from 400 to 599"
            )),
        }
    }

    fn several(&self, written: &[Written]) -> Result<Vec<Limit>, String> {
        if written.len() > MOST_LIMITS {
            return Err(format!(
                "key `limits`: {} limits; at most {MOST_LIMITS}",
                written.len()
            ));
        }
        let mut limits: Vec<Limit> = Vec::new();
        for (at, one) in written.iter().enumerate() {
            let key = |e: String| e.replacen("key `", &format!("key `limits[{at}]."), 1);
            if limits.iter().any(|limit| limit.name == one.name) {
                return Err(key(format!(
                    "key `name`: `{}` stands twice; each has a name of its own",
                    one.name
                )));
            }
            let limit = self.limit(&one.name, &one.rate, one.burst, one.by.as_ref());
            limits.push(limit.map_err(key)?);
        }
        Ok(limits)
    }

    fn limit(
        &self,
        name: &str,
        rate: &str,
        burst: Option<u32>,
        by: Option<&OneOrMore>,
    ) -> Result<Limit, String> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
            return Err(format!(
                "key `name`: `{name}` is no name: letters, digits, `-`, `_` and `.` make one, 64 at most"
            ));
        }
        let (requests, seconds) = rated(rate)?;
        let burst = burst.unwrap_or(requests);
        if burst == 0 {
            return Err("key `burst`: 0 lets nobody through; give at least 1".to_owned());
        }
        Ok(Limit {
            name: name.to_owned(),
            per_second: f64::from(requests) / seconds,
            burst,
            by: self.by(by)?,
        })
    }

    fn by(&self, written: Option<&OneOrMore>) -> Result<By, String> {
        let written = match written {
            None => vec!["client-address".to_owned()],
            Some(OneOrMore::One(part)) => vec![part.clone()],
            Some(OneOrMore::More(parts)) => parts.clone(),
        };
        let read = |part: &String| -> Result<Input, String> {
            let input: Input = part.parse()?;
            match input {
                Input::Status | Input::Server | Input::RequestHeader(_) => Err(format!(
                    "`{part}` is not known before there is an answer; of the request there are `header:NAME`, `client-address`, `route` and others"
                )),
                input => Ok(input),
            }
        };
        let parts: Result<Vec<Input>, String> = written.iter().map(read).collect();
        let prefix = |key: &str, bits: u8, most: u8| match bits {
            bits if (1..=most).contains(&bits) => Ok(bits),
            bits => Err(format!("key `{key}`: {bits} is not from 1 to {most}")),
        };
        Ok(By {
            parts: parts.map_err(|e| format!("key `by`: {e}"))?,
            ipv4_prefix: prefix("ipv4-prefix", self.ipv4_prefix, 32)?,
            ipv6_prefix: prefix("ipv6-prefix", self.ipv6_prefix, 128)?,
        })
    }
}

/// Requests, and in how many seconds.
fn rated(text: &str) -> Result<(u32, f64), String> {
    let wrong = || {
        format!(
            "key `rate`: `{text}` is no rate: write requests and time, such as \"10/s\", \"100/m\", \"1000/h\" or \"5/10s\""
        )
    };
    let (requests, time) = text.split_once('/').ok_or_else(wrong)?;
    let requests: u32 = requests.parse().map_err(|_| wrong())?;
    let digits = time.len() - time.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (count, unit) = time.split_at(digits);
    let unit = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let count: u16 = match count {
        "" => 1,
        count => count.parse().map_err(|_| wrong())?,
    };
    if requests == 0 || count == 0 {
        return Err(format!(
            "key `rate`: `{text}` lets nobody through; give at least one request"
        ));
    }
    Ok((requests, f64::from(count) * unit))
}
