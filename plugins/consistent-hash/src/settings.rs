//! The settings, as typed and as checked.

use tidegate_sdk::Input;
use tidegate_sdk::serde::{self, Deserialize};

#[derive(Deserialize)]
#[serde(
    crate = "tidegate_sdk::serde",
    default,
    deny_unknown_fields,
    rename_all = "kebab-case"
)]
pub struct Settings {
    /// What decides: one part of the request, or several together.
    pub on: On,
    /// The most requests in flight that a server may have, percent of its share. 0: no bound.
    pub balance_factor: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            on: On(vec![Input::ClientAddress]),
            balance_factor: 0,
        }
    }
}

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        if self.on.0.is_empty() {
            return Err("key `on`: name at least one part of the request".into());
        }
        let of_the_response = |input: &&Input| matches!(input, Input::Status | Input::Server);
        if let Some(input) = self.on.0.iter().find(of_the_response) {
            return Err(format!(
                "key `on`: `{input}` is known only with the response"
            ));
        }
        match self.balance_factor {
            0 | 101..=65_535 => Ok(()),
            other => Err(format!(
                "key `balance-factor`: {other} is neither 0 nor from 101 to 65535, percent"
            )),
        }
    }
}

/// `"header:x-user"`, or a list of such.
pub struct On(pub Vec<Input>);

impl<'de> Deserialize<'de> for On {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> serde::de::Visitor<'de> for OneOrMore {
            type Value = On;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a part of the request such as \"header:x-user\", or a list of such")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<On, E> {
                text.parse().map(|input| On(vec![input])).map_err(E::custom)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<On, A::Error> {
                let mut inputs = Vec::new();
                while let Some(input) = list.next_element()? {
                    inputs.push(input);
                }
                Ok(On(inputs))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}
