//! The rules as written, checked once, and held against an answer.

use serde::Deserialize;
use serde_json::Value;
use tidegate_sdk::Verdict;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    rules: Vec<Written>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    field: String,
    equals: Option<Value>,
    one_of: Option<Vec<Value>>,
    at_least: Option<f64>,
    at_most: Option<f64>,
    otherwise: Option<String>,
}

pub struct Rule {
    field: String,
    /// The same as a JSON Pointer (RFC 6901).
    pointer: String,
    holds: Condition,
    otherwise: Otherwise,
}

enum Condition {
    OneOf(Vec<Value>),
    AtLeast(f64),
    AtMost(f64),
}

enum Otherwise {
    Down,
    Drain,
    Maint,
    Share(u8),
}

impl Settings {
    pub fn rules(self) -> Result<Vec<Rule>, String> {
        if self.rules.is_empty() {
            return Err("key `rules`: at least one is needed".to_owned());
        }
        let numbered = (1..).zip(self.rules);
        numbered
            .map(|(number, written)| written.rule(number))
            .collect()
    }
}

impl Written {
    fn rule(self, number: usize) -> Result<Rule, String> {
        let field = self.field;
        if field.is_empty() {
            return Err(format!("key `rules`: rule {number}: `field` is empty"));
        }
        let wrong = |words: &str| format!("key `rules`: rule {number} (`{field}`): {words}");
        let holds = match (self.equals, self.one_of, self.at_least, self.at_most) {
            (Some(value), None, None, None) => Condition::OneOf(vec![value]),
            (None, Some(values), None, None) => Condition::OneOf(values),
            (None, None, Some(least), None) => Condition::AtLeast(least),
            (None, None, None, Some(most)) => Condition::AtMost(most),
            _ => {
                return Err(wrong(
                    "give one of `equals`, `one-of`, `at-least`, `at-most`",
                ));
            }
        };
        let otherwise = match self.otherwise {
            None => Otherwise::Down,
            Some(word) => Otherwise::of(&word).ok_or_else(|| {
                wrong("`otherwise` is down, drain, maint, or a share from \"1%\" to \"100%\"")
            })?,
        };
        let parts = field.split('.');
        let parts = parts.map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1")));
        Ok(Rule {
            pointer: parts.collect(),
            field,
            holds,
            otherwise,
        })
    }
}

impl Otherwise {
    fn of(word: &str) -> Option<Otherwise> {
        match word {
            "down" => Some(Otherwise::Down),
            "drain" => Some(Otherwise::Drain),
            "maint" => Some(Otherwise::Maint),
            _ => {
                let share: u8 = word.strip_suffix('%')?.parse().ok()?;
                (1..=100)
                    .contains(&share)
                    .then_some(Otherwise::Share(share))
            }
        }
    }
}

impl Rule {
    /// None: it holds.
    pub fn judge(&self, answer: &Value) -> Option<Verdict> {
        let found = answer.pointer(&self.pointer);
        if found.is_some_and(|value| self.holds.for_value(value)) {
            return None;
        }
        Some(match self.otherwise {
            Otherwise::Drain => Verdict::Drain,
            Otherwise::Maint => Verdict::Maint,
            Otherwise::Share(share) => Verdict::Up(share),
            Otherwise::Down => Verdict::Down(match found {
                Some(value) => format!("{} is {value}", self.field),
                None => format!("{} is not there", self.field),
            }),
        })
    }
}

impl Condition {
    fn for_value(&self, value: &Value) -> bool {
        let number = value.as_f64();
        match self {
            Condition::OneOf(values) => values.iter().any(|known| same(known, value)),
            Condition::AtLeast(least) => number.is_some_and(|number| number >= *least),
            Condition::AtMost(most) => number.is_some_and(|number| number <= *most),
        }
    }
}

/// A number is the same however it is written: 1 and 1.0. Whole ones are compared whole, as large ones have no place in a float.
fn same(known: &Value, found: &Value) -> bool {
    let fraction = known.is_f64() || found.is_f64();
    known == found || fraction && known.as_f64() == found.as_f64()
}
