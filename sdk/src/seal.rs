//! Values that clients carry and can neither read nor forge: a cookie's, for one.
//!
//! ```
//! use tidegate_sdk::seal::Seal;
//! let seal = Seal::new(&["a secret of 32 bytes or more than that"]).unwrap();
//! let sealed = seal.close(b"app", b"web1");
//! assert_eq!(seal.open(b"app", &sealed).as_deref(), Some(&b"web1"[..]));
//! assert_eq!(seal.open(b"another pool", &sealed), None);
//! assert!(Seal::new(&["guess me"]).is_err());
//! ```
//!
//! How: a mark is HMAC-SHA-256 over what it is for and the text, cut to 16 bytes; the text is hidden under a stream that
//! HMAC-SHA-256 makes of the mark by another key (so a text is never hidden under a stream that hid another, as in RFC 5297's SIV).
//! Eight random bytes and padding stand in the text, so that two values say nothing of each other, and little of their length.

use crate::{base64, crypto, random};

/// Bytes of the mark.
const MARK: usize = 16;

/// Bytes that make two seals of one text differ.
const SALT: usize = 8;

/// Texts are padded to a multiple of this.
const BLOCK: usize = 32;

/// A sealed text that is longer is none of ours.
const LONGEST: usize = 4096;

/// The shortest secret.
const SHORTEST: usize = 32;

/// Seals with the first of its secrets, and opens with any: to change one, put the new one before the old.
pub struct Seal(Vec<Keys>);

struct Keys {
    mark: Vec<u8>,
    stream: Vec<u8>,
}

impl Seal {
    /// Err: there is no secret, or one that can be guessed; the words are for the operator.
    pub fn new(secrets: &[impl AsRef<str>]) -> Result<Seal, String> {
        if secrets.is_empty() {
            return Err("give at least one secret (`openssl rand -base64 32`)".to_owned());
        }
        let keys = |secret: &str| {
            let secret = secret.trim_end_matches(['\r', '\n']);
            if secret.len() < SHORTEST {
                return Err(format!(
                    "a secret of {} bytes can be guessed; take {SHORTEST} or more (`openssl rand -base64 32`)",
                    secret.len()
                ));
            }
            let derived = |what: &[u8]| crypto::hmac_sha256(secret.as_bytes(), what);
            Ok(Keys {
                mark: derived(b"tidegate seal: mark"),
                stream: derived(b"tidegate seal: stream"),
            })
        };
        let all: Result<_, String> = secrets.iter().map(|secret| keys(secret.as_ref())).collect();
        Ok(Seal(all?))
    }

    /// Seals a text. `purpose` need not be kept secret; opened for another, it is nothing.
    pub fn close(&self, purpose: &[u8], text: &[u8]) -> String {
        let keys = &self.0[0];
        let mut hidden = random().to_le_bytes().to_vec();
        hidden.extend_from_slice(text);
        hidden.push(1);
        hidden.resize((hidden.len() - SALT).next_multiple_of(BLOCK) + SALT, 0);
        let mark = keys.mark(purpose, &hidden);
        keys.hide(&mark, &mut hidden);
        base64::encode_url(&[&mark[..], &hidden].concat())
    }

    /// The text, if one of the secrets sealed it for that purpose.
    pub fn open(&self, purpose: &[u8], sealed: &str) -> Option<Vec<u8>> {
        if sealed.len() > LONGEST {
            return None;
        }
        let bytes = base64::decode_url(sealed)?;
        let (mark, hidden) = bytes.split_at_checked(MARK)?;
        self.0
            .iter()
            .find_map(|keys| keys.open(purpose, mark, hidden))
    }
}

impl Keys {
    fn open(&self, purpose: &[u8], mark: &[u8], hidden: &[u8]) -> Option<Vec<u8>> {
        let mut text = hidden.to_vec();
        self.hide(mark, &mut text);
        if !same(&self.mark(purpose, &text), mark) {
            return None;
        }
        let end = text.iter().rposition(|b| *b != 0)?;
        text.get(SALT..end).map(<[u8]>::to_vec)
    }

    fn mark(&self, purpose: &[u8], text: &[u8]) -> Vec<u8> {
        let length = (purpose.len() as u32).to_le_bytes();
        let mut mark = crypto::hmac_sha256(&self.mark, &[&length, purpose, text].concat());
        mark.truncate(MARK);
        mark
    }

    /// Hides, or shows again.
    fn hide(&self, mark: &[u8], text: &mut [u8]) {
        for (number, block) in (0u32..).zip(text.chunks_mut(32)) {
            let stream = crypto::hmac_sha256(&self.stream, &[mark, &number.to_le_bytes()].concat());
            block
                .iter_mut()
                .zip(stream)
                .for_each(|(byte, pad)| *byte ^= pad);
        }
    }
}

/// In a time that says nothing of where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old secret, 32 bytes and more, yes";
    const NEW: &str = "a new secret of 32 bytes and more, yes";

    #[test]
    fn what_is_closed_opens() {
        let seal = Seal::new(&[OLD]).unwrap();
        for length in [0, 1, 30, 31, 32, 100] {
            let text = vec![b'x'; length];
            let sealed = seal.close(b"p", &text);
            assert_eq!(seal.open(b"p", &sealed), Some(text));
            assert_ne!(seal.close(b"p", b"web1"), seal.close(b"p", b"web1"));
        }
        assert_eq!(
            seal.open(b"p", &seal.close(b"p", b"a\0\0")),
            Some(b"a\0\0".to_vec())
        );
        assert_eq!(
            seal.close(b"p", b"a").len(),
            seal.close(b"p", b"web-number-17").len()
        );
    }

    #[test]
    fn one_changed_bit_is_noticed() {
        let seal = Seal::new(&[OLD]).unwrap();
        let bytes = base64::decode_url(seal.close(b"p", b"web1")).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert_eq!(
                seal.open(b"p", &base64::encode_url(&changed)),
                None,
                "bit {at}"
            );
        }
        for text in ["", "web1", "AAAA", "!"] {
            assert_eq!(seal.open(b"p", text), None);
        }
    }

    #[test]
    fn a_secret_may_be_changed() {
        let (old, both, new) = (
            Seal::new(&[OLD]).unwrap(),
            Seal::new(&[NEW, OLD]).unwrap(),
            Seal::new(&[NEW]).unwrap(),
        );
        assert!(both.open(b"p", &old.close(b"p", b"x")).is_some());
        assert!(new.open(b"p", &both.close(b"p", b"x")).is_some());
        assert!(new.open(b"p", &old.close(b"p", b"x")).is_none());
    }
}
