//! A password's hash as it stands in the settings: `pbkdf2-sha256$ITERATIONS$SALT$HASH`, salt and hash in base64.

use tidegate_sdk::crypto;

/// A guess costs an attacker who has the hashes as many iterations as it costs us; more than the most would cost a request more CPU time than
/// a plugin's call may take.
const LEAST: u32 = 1_000;
const MOST: u32 = 20_000;

pub struct Hash {
    pub iterations: u32,
    pub salt: Vec<u8>,
    pub expected: Vec<u8>,
}

impl Hash {
    pub fn parse(text: &str) -> Result<Hash, String> {
        let text = text.trim();
        if [
            "$2a$", "$2b$", "$2y$", "$apr1$", "$5$", "$6$", "{SHA}", "$argon2",
        ]
        .iter()
        .any(|kind| text.starts_with(kind))
        {
            return Err(format!(
                "it is a hash of another kind (bcrypt, crypt or the like), which takes too long for a request; {FORM}"
            ));
        }
        let parts: Vec<&str> = text.split('$').collect();
        let ["pbkdf2-sha256", iterations, salt, expected] = parts[..] else {
            return Err(format!("it is no hash; {FORM}"));
        };
        let iterations: u32 = iterations
            .parse()
            .map_err(|_| format!("`{iterations}` is no number of iterations; {FORM}"))?;
        if !(LEAST..=MOST).contains(&iterations) {
            return Err(format!("{iterations} iterations; give {LEAST} to {MOST}"));
        }
        let part = |what: &str, text: &str| {
            base64(text.as_bytes()).ok_or_else(|| format!("the {what} is not base64; {FORM}"))
        };
        let (salt, expected) = (part("salt", salt)?, part("hash", expected)?);
        if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&expected.len()) {
            return Err(format!(
                "a salt has 8 to 64 bytes, a hash 16 to 64; these have {} and {}",
                salt.len(),
                expected.len()
            ));
        }
        Ok(Hash {
            iterations,
            salt,
            expected,
        })
    }

    pub fn fits(&self, password: &[u8]) -> bool {
        crypto::password_fits(password, &self.salt, self.iterations, &self.expected)
    }
}

const FORM: &str = "write `pbkdf2-sha256$ITERATIONS$SALT$HASH` with salt and hash in base64; the plugin's README has a command that makes it";

/// RFC 4648, 4, with or without padding.
pub fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |at| at + 1);
    let padding = text.len() - end;
    let digits = &text[..end];
    if digits.len() % 4 == 1 || padding > 2 || (padding > 0 && text.len() % 4 != 0) {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() * 3 / 4);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = bits << 6 | u32::from(value(*digit)?);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    Some(match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub fn encoded(bytes: &[u8]) -> String {
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let mut padded = [0; 4];
            padded[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(padded);
            for at in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
                text.push(if at > group.len() { '=' } else { digit.into() });
            }
        }
        text
    }

    /// The hash of a password of one block, with few iterations.
    pub fn made(password: &str) -> String {
        let salt = b"salt and pepper";
        let mut last =
            crypto::hmac_sha256(password.as_bytes(), &[&salt[..], &[0, 0, 0, 1]].concat());
        let mut sum = last.clone();
        for _ in 1..LEAST {
            last = crypto::hmac_sha256(password.as_bytes(), &last);
            sum.iter_mut()
                .zip(&last)
                .for_each(|(sum, byte)| *sum ^= byte);
        }
        format!("pbkdf2-sha256${LEAST}${}${}", encoded(salt), encoded(&sum))
    }

    #[test]
    fn base64_is_read() {
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"foob", b"\xff\xfe\xfd\x00"] {
            let text = encoded(bytes);
            assert_eq!(base64(text.as_bytes()).as_deref(), Some(bytes));
            assert_eq!(
                base64(text.trim_end_matches('=').as_bytes()).as_deref(),
                Some(bytes)
            );
        }
        for text in ["A", "AA=", "AAAA=", "A=A=", "AA AA", "AA-_", "===="] {
            assert_eq!(base64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_hash_is_what_other_tools_make_of_the_password() {
        // python3: hashlib.pbkdf2_hmac("sha256", b"password", b"saltsalt", 4096)
        let hash = Hash::parse(
            "pbkdf2-sha256$4096$c2FsdHNhbHQ=$ZiMD/VuDIBLM8rT9ZlFkcm8vO44PH2jtvpsH6s4pwvU=",
        )
        .map(|hash| hash.fits(b"password"));
        assert_eq!(hash, Ok(true));
    }
}
