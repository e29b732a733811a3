//! A token in its compact form: three parts, each base64 (RFC 7515, 3.1).

use serde::Deserialize;
use serde_json::{Map, Value};
use tidegate_sdk::{base64, crypto};

use crate::Refusal;
use crate::keys::{Key, scheme};

/// Longer ones cost more than they are worth; most servers take no header of more than 8 KiB.
const LONGEST: usize = 8 << 10;

/// Keys that are tried where the token doesn't name one: a signature costs up to half a millisecond.
const TRIED: usize = 3;

pub struct Token<'a> {
    pub text: &'a str,
    header: Header,
    /// What is signed: header and claims as they were sent.
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood (RFC 7515, 4.1.11); none is here.
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    pub fn parse(text: &'a str) -> Result<Token<'a>, Refusal> {
        const MALFORMED: Refusal = Refusal::Invalid("malformed");
        if text.len() > LONGEST {
            return Err(Refusal::Invalid("too long"));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, claims) = signed.split_once('.').ok_or(MALFORMED)?;
        let header = base64::decode_url(header).ok_or(MALFORMED)?;
        let header: Header = serde_json::from_slice(&header).map_err(|_| MALFORMED)?;
        if header.crit.is_some() {
            return Err(Refusal::Invalid("unknown extension"));
        }
        Ok(Token {
            text,
            header,
            signed,
            claims,
            signature: base64::decode_url(signature).ok_or(MALFORMED)?,
        })
    }

    pub fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub fn verify(&self, keys: &[Key]) -> Result<(), Refusal> {
        let named = scheme(&self.header.alg).ok_or(Refusal::Invalid("unknown algorithm"))?;
        let known: Vec<&Key> = keys
            .iter()
            .filter(|key| key.may_be(self.key_id()))
            .collect();
        if known.is_empty() {
            return Err(Refusal::Invalid("unknown key"));
        }
        let mut fitting = known.iter().filter(|key| key.signs_by(named)).peekable();
        if fitting.peek().is_none() {
            return Err(Refusal::Invalid("algorithm not of this key"));
        }
        let good =
            |key: &&Key| crypto::verify(named, &key.bytes, self.signed.as_bytes(), &self.signature);
        match fitting.take(TRIED).any(good) {
            true => Ok(()),
            false => Err(Refusal::Invalid("wrong signature")),
        }
    }

    /// Only after `verify` has said that somebody stands for them.
    pub fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        let bytes = base64::decode_url(self.claims).ok_or(Refusal::Invalid("malformed"))?;
        serde_json::from_slice(&bytes).map_err(|_| Refusal::Invalid("malformed"))
    }
}
