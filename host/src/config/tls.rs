//! What TLS needs of the file beyond strings: certificates, versions, whom to ask for a certificate, a server's name.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::checked::{ClientAuth, TlsVersion};
use super::problem::Located;
use super::read::{Fault, FromText, Reader, Value, Written};
use super::text::{Text, reference};
use super::word::words;
use super::written::KeyPair;

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(super) enum Certificate {
    /// One PEM file with chain and key, or a folder of such files.
    At(Located<Text>),
    /// Chain and key apart.
    Pair(Box<KeyPair>),
}

impl Written for Certificate {
    fn expected() -> String {
        "a PEM file or folder, or { cert = \"…\", key = \"…\" }".to_owned()
    }

    fn read(value: &Value<'_>, reader: &mut Reader<'_>) -> Option<Certificate> {
        match value.get_ref() {
            DeValue::Table(_) if reference(value.get_ref()).is_none() => {
                KeyPair::read(value, reader).map(|pair| Certificate::Pair(Box::new(pair)))
            }
            _ => {
                let text = reader.text(value, &Self::expected())?;
                let span = value.span();
                Some(Certificate::At(Located { value: text, span }))
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let (path, pair) = (Text::schema(generator), KeyPair::schema(generator));
        json_schema!({ "anyOf": [path, pair] })
    }
}

words!(ClientAuth, "says not whom to ask for a certificate", "word", "off" => ClientAuth::Off, "optional" => ClientAuth::Optional, "required" => ClientAuth::Required);

impl FromText for TlsVersion {
    fn form() -> String {
        "\"1.2\" or \"1.3\"".to_owned()
    }

    fn from_text(text: &str) -> Result<TlsVersion, Fault> {
        match text {
            "1.2" => Ok(TlsVersion::V12),
            "1.3" => Ok(TlsVersion::V13),
            "1.0" | "1.1" => Err(Fault::new(
                "is no longer spoken: it is broken (RFC 8996)",
                "write \"1.2\"",
            )),
            _ => Err(Fault::new(
                "is no version of TLS",
                format!("write {}", Self::form()),
            )),
        }
    }

    fn number_remedy(number: &str) -> Option<String> {
        Some(format!("put it in quotes: \"{number}\""))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "enum": ["1.2", "1.3"] })
    }
}
