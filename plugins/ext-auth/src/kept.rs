//! Answers that are good for a while, in the host's store: every worker knows them, and every proxy where they are shared.

use std::time::Duration;

use tidegate_sdk::{Answer, Fetch, crypto, shared, store};

/// A question that nobody comes back to (the client left) is forgotten after the longest time that a call may take.
const QUESTION: Duration = Duration::from_secs(60);

/// The name of an answer: a hash of who is asked, what is passed on of it, and all that the service is told, so that credentials are not
/// kept. Answers outlive a reload, after which another service may be asked, or more be passed on.
pub fn key(pool: &str, pass: &[String], call: &Fetch) -> Vec<u8> {
    let mut words = Vec::new();
    let mut add = |part: &[u8]| {
        words.extend_from_slice(&(part.len() as u32).to_le_bytes());
        words.extend_from_slice(part);
    };
    add(pool.as_bytes());
    add(call.path.as_bytes());
    add(&(pass.len() as u32).to_le_bytes());
    pass.iter().for_each(|name| add(name.as_bytes()));
    for (name, value) in &call.headers {
        add(name.as_bytes());
        add(value);
    }
    [b"yes/", &crypto::sha256(&words)[..]].concat()
}

pub fn remember_question(number: u64, key: &[u8]) {
    store::set(question(number), key, Some(QUESTION));
}

pub fn take_question(number: u64) -> Option<Vec<u8>> {
    let key = store::get(question(number))?;
    store::delete(question(number));
    Some(key)
}

/// What the service is asked if no other proxy knows. False: there is no room for it.
pub fn remember_call(number: u64, call: &Fetch) -> bool {
    store::set(waiting(number), written(&call.headers), Some(QUESTION))
}

/// Its headers.
pub fn take_call(number: u64) -> Option<Headers> {
    let headers = read(&store::get(waiting(number))?);
    store::delete(waiting(number));
    headers
}

fn waiting(number: u64) -> Vec<u8> {
    [b"call/", &number.to_le_bytes()[..]].concat()
}

fn question(number: u64) -> Vec<u8> {
    [b"asked/", &number.to_le_bytes()[..]].concat()
}

pub type Headers = Vec<(String, Vec<u8>)>;

/// The service's yes, with the headers that are passed on.
#[derive(Debug, Default, PartialEq)]
pub struct Yes(Headers);

impl Yes {
    pub fn of(answer: &Answer, pass: &[String]) -> Yes {
        let found = |name: &String| Some((name.clone(), answer.header(name)?.to_vec()));
        Yes(pass.iter().filter_map(found).collect())
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    pub fn find(key: &[u8], by_all: bool) -> Option<Yes> {
        let written = match by_all {
            true => shared::get(key),
            false => store::get(key),
        };
        Yes::read(&written?)
    }

    /// When the store is full, or the headers are too large for it, the service is asked again the next time.
    pub fn keep(&self, key: &[u8], time: Duration, by_all: bool) {
        match by_all {
            true => shared::set(key, written(&self.0), time),
            false => store::set(key, written(&self.0), Some(time)),
        };
    }

    pub fn read(bytes: &[u8]) -> Option<Yes> {
        read(bytes).map(Yes)
    }
}

fn written(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        for part in [name.as_bytes(), value] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

/// None: it is not what was written, and so no yes.
fn read(mut bytes: &[u8]) -> Option<Headers> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (name, rest) = part(bytes)?;
        let (value, rest) = part(rest)?;
        all.push((String::from_utf8(name.to_vec()).ok()?, value.to_vec()));
        bytes = rest;
    }
    Some(all)
}

fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yes_is_read_as_it_was_written() {
        let yes = Yes(vec![("a".into(), b"1".to_vec()), ("b".into(), Vec::new())]);
        assert_eq!(Yes::read(&written(&yes.0)), Some(yes));
        assert_eq!(Yes::read(b""), Some(Yes::default()));
        for cut in [&[1][..], &[2, 0, 0, 0, b'a'], &[1, 0, 0, 0, b'a']] {
            assert_eq!(Yes::read(cut), None, "cut short");
        }
    }

    #[test]
    fn the_key_tells_words_apart() {
        let call = |name: &str, value: &str| Fetch::pool("auth").header(name, value);
        let key = |call| key("auth", &[], &call);
        assert_eq!(key(call("a", "b")), key(call("a", "b")));
        assert_ne!(key(call("a", "bc")), key(call("ab", "c")));
    }

    #[test]
    fn the_key_tells_services_apart() {
        let call = |path: &str| Fetch::pool("auth").get(path);
        let known = key("auth", &[], &call("/check"));
        assert_eq!(key("auth", &[], &call("/check")), known);
        assert_ne!(key("other", &[], &call("/check")), known);
        assert_ne!(key("auth", &[], &call("/admin")), known);
        assert_ne!(key("auth", &["x-user".to_owned()], &call("/check")), known);
    }
}
