//! A password's hash as it stands in the settings: `pbkdf2-sha256$ITERATIONS$SALT$HASH`, salt and hash in base64.

use tidegate_sdk::{base64, crypto};

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
            base64::decode(text).ok_or_else(|| format!("the {what} is not base64; {FORM}"))
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

#[cfg(test)]
pub mod tests {
    use super::*;

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
        format!(
            "pbkdf2-sha256${LEAST}${}${}",
            base64::encode(salt),
            base64::encode(&sum)
        )
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
