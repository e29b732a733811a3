//! From the JSON that the host passes to the plugin's own settings, with errors that name the key.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The error names the key (`servers[0].weight`), what stood there and what is expected.
pub(crate) fn parse<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    let value: Value =
        serde_json::from_str(json).map_err(|e| format!("the settings are no JSON object: {e}"))?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." {
            inner.to_string()
        } else {
            format!("key `{path}`: {inner}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct Settings {
        #[allow(dead_code)]
        per_second: u32,
        #[serde(default)]
        #[allow(dead_code)]
        list: Vec<Item>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[allow(dead_code)]
        weight: u8,
    }

    fn refusal(json: &str) -> String {
        parse::<Settings>(json).unwrap_err()
    }

    #[test]
    fn an_error_names_the_key_and_what_is_expected() {
        assert_eq!(refusal("{}"), "missing field `per-second`");
        assert_eq!(
            refusal(r#"{"per-second": "x"}"#),
            "key `per-second`: invalid type: string \"x\", expected u32"
        );
        assert_eq!(
            refusal(r#"{"per-second": 1, "list": [{"weight": 1}, {"weight": 300}]}"#),
            "key `list[1].weight`: invalid value: integer `300`, expected u8"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_and_the_known_ones_named() {
        assert_eq!(
            refusal(r#"{"per-second": 1, "burst": 2}"#),
            "key `burst`: unknown field `burst`, expected `per-second` or `list`"
        );
        let none = parse::<crate::NoSettings>(r#"{"a": 1}"#).unwrap_err();
        assert!(none.contains("unknown field `a`"), "{none}");
    }
}
