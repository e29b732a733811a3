//! A request on its way through the steps, as plugins see it.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use http::HeaderName;
use http::header::{HOST, SET_COOKIE};

use super::log::{Host, Record};
use crate::base::ids::{PoolIndex, RouteIndex};
use crate::hook::{ConnectionFacts, Edit, Note, RequestView, ResponseView, sets_cookie};
use crate::http::hop::Said;
use crate::http::known::Known;
use crate::http::{Body, Fields, ResponseHead, Target};

pub struct Exchange {
    /// None: it is on its way to a server.
    pub body: Option<Body>,
    /// The whole body, where it may have to be sent again.
    pub kept: Option<Box<Bytes>>,
    /// What it said to us alone.
    pub said: Said,
    /// The peer's word about the client is believed.
    pub trusted: bool,
    /// `http` or `https`, as the client speaks it.
    pub scheme: &'static str,
    /// The server is told of the client's certificate.
    pub tells_certificate: bool,
    pub route: Option<RouteIndex>,
    /// Where a filter wants it to go.
    pub overruled: Option<PoolIndex>,
    /// Filters that it has passed: of the listener, of the route.
    pub passed: (usize, usize),
    pub record: Box<Record>,
}

impl Exchange {
    /// Applies a plugin's edits in order.
    pub fn edit(&mut self, edits: Vec<Edit>) {
        let mut host_changed = false;
        for edit in edits {
            // It is of responses.
            if matches!(edit, Edit::SetCookie(..)) {
                continue;
            }
            host_changed |= apply(&mut self.record.head.fields, edit) == HOST;
        }
        if host_changed {
            let host = self.record.head.fields.first_of(Known::Host);
            self.record.host = host.and_then(host_of);
        }
    }

    /// A new path, which replaces the query too if it holds a `?`. False: it is none.
    pub fn set_path(&mut self, path: &str) -> bool {
        let target = &mut self.record.head.target;
        let changed = match target.query() {
            Some(query) if !path.contains('?') => {
                Target::parse(&[path.as_bytes(), b"?", query].concat())
            }
            _ => Target::parse(path.as_bytes()),
        };
        let Some(changed) = changed else {
            return false;
        };
        let before = std::mem::replace(target, changed);
        self.record
            .target_sent
            .get_or_insert_with(|| Box::new(before));
        true
    }

    /// A note set again is replaced.
    pub fn note(&mut self, notes: Vec<Note>) {
        for Note { name, value } in notes {
            let notes = &mut self.record.notes;
            match notes.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => notes.push((name, value)),
            }
        }
    }

    /// Beside what plugins say, what the proxy itself has to say; all of it in one.
    pub fn remark(&mut self, about: &'static str, why: String) {
        let reasons = &mut self.record.reasons;
        match reasons.iter_mut().find(|(known, _)| &**known == about) {
            Some((_, known)) => {
                known.push_str("; ");
                known.push_str(&why);
            }
            None => reasons.push((about.into(), why)),
        }
    }

    pub fn reason(&mut self, plugin: &Rc<str>, reason: Option<String>) {
        if let Some(reason) = reason {
            self.record.reasons.push((plugin.clone(), reason));
        }
    }
}

/// The name that was changed is returned.
pub fn apply(fields: &mut Fields, edit: Edit) -> HeaderName {
    match edit {
        Edit::Set(name, value) => {
            fields.set(&name, value);
            name
        }
        Edit::Append(name, value) => {
            fields.append(&name, value);
            name
        }
        Edit::Remove(name) => {
            fields.remove(&name);
            name
        }
        Edit::SetCookie(cookie, value) => {
            let same = |name: &[u8], value: &[u8]| {
                name.eq_ignore_ascii_case(b"set-cookie") && sets_cookie(value, &cookie).is_some()
            };
            fields.remove_where(same);
            fields.append(&SET_COOKIE, value);
            SET_COOKIE
        }
    }
}

/// Lower case, without a port and without the root's dot. None: there is none.
pub fn host_of(value: &[u8]) -> Option<Host> {
    let end = match value.first()? {
        b'[' => value.iter().position(|b| *b == b']')? + 1,
        _ => value.iter().position(|b| *b == b':').unwrap_or(value.len()),
    };
    let host = value[..end].strip_suffix(b".").unwrap_or(&value[..end]);
    (!host.is_empty()).then(|| {
        let mut host = Host::from_slice(host);
        host.make_ascii_lowercase();
        host
    })
}

impl RequestView for Exchange {
    fn method(&self) -> &str {
        self.record.head.method.as_str()
    }

    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn version(&self) -> &'static str {
        self.record.head.version_text()
    }

    fn host(&self) -> Option<&[u8]> {
        self.record.host.as_deref()
    }

    fn path(&self) -> &[u8] {
        self.record.head.target.path()
    }

    fn query(&self) -> Option<&[u8]> {
        self.record.head.target.query()
    }

    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        self.record.head.fields.joined(name)
    }

    fn connection(&self) -> &ConnectionFacts {
        &self.record.facts
    }

    fn request_id(&self) -> &str {
        self.record.request_id.as_str()
    }

    fn note(&self, name: &str) -> Option<&str> {
        let note = self.record.notes.iter().find(|(known, _)| known == name);
        note.map(|(_, value)| value.as_str())
    }

    fn route(&self) -> Option<&str> {
        self.record.route.as_deref()
    }

    fn pool(&self) -> Option<&str> {
        self.record.pool.as_deref()
    }
}

/// A response's head, beside its request.
pub struct Answered<'a> {
    pub exchange: &'a Exchange,
    pub head: &'a ResponseHead,
    /// None: the answer is our own.
    pub server: Option<&'a str>,
}

impl ResponseView for Answered<'_> {
    fn request(&self) -> &dyn RequestView {
        self.exchange
    }

    fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    fn server(&self) -> Option<&str> {
        self.server
    }

    fn field(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        if *name == SET_COOKIE {
            return self.head.fields.first(name).map(Cow::Borrowed);
        }
        self.head.fields.joined(name)
    }

    fn set_cookie(&self, cookie: &str) -> Option<&[u8]> {
        let mut all = self.head.fields.all(&SET_COOKIE);
        all.find_map(|field| sets_cookie(field, cookie))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_lower_case_and_bare() {
        let host =
            |value: &str| host_of(value.as_bytes()).map(|h| String::from_utf8(h.to_vec()).unwrap());
        assert_eq!(host("Example.COM:8080").unwrap(), "example.com");
        assert_eq!(host("example.com.").unwrap(), "example.com");
        assert_eq!(host("[2001:DB8::1]:80").unwrap(), "[2001:db8::1]");
        assert_eq!(host(""), None);
        assert_eq!(host(":80"), None);
        assert_eq!(host("[::1"), None);
    }
}
