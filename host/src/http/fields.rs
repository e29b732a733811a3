//! The fields of a message's head: one buffer and an index into it.
//!
//! What came over the wire stays where it lies; what is set or appended is written behind it. So a head that passes
//! through costs no allocation a field, and unchanged lines are written out in one piece. Buffers are taken from the
//! worker's stock and go back to it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use http::HeaderName;

use super::known::{Kinds, Known};

/// Heads whose buffers a worker keeps for the next ones, and how large such a buffer may have grown.
const MOST_KEPT: usize = 256;
const LARGEST_KEPT: usize = 16 * 1024;

/// A head's fields (RFC 9110, 5), in the order in which they came.
pub struct Fields {
    arena: Vec<u8>,
    index: Vec<Entry>,
    /// Kinds of names that are in the index, or were.
    kinds: Kinds,
}

/// A field: places in the arena.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    name: u32,
    name_length: u16,
    known: Known,
    removed: bool,
    origin: Origin,
    value: u32,
    value_length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Origin {
    /// The line as it came, from the name to its CRLF, can be written out as it is.
    Wire,
    /// The peer said it in another place than a field.
    Sent,
    /// Ours.
    Own,
}

thread_local! {
    static STOCK: RefCell<Vec<(Vec<u8>, Vec<Entry>)>> = const { RefCell::new(Vec::new()) };
}

impl Fields {
    pub fn new() -> Fields {
        let (arena, index) = STOCK.with_borrow_mut(Vec::pop).unwrap_or_default();
        Fields {
            arena,
            index,
            kinds: Kinds::default(),
        }
    }

    /// Of a head as it came; `fields` are places in `head`, whose lines end with CRLF.
    pub(super) fn of_head(head: &[u8], fields: &[super::h1::head::FieldAt]) -> Fields {
        let mut all = Fields::new();
        all.arena.extend_from_slice(head);
        let kinds = &mut all.kinds;
        all.index.extend(fields.iter().map(|at| {
            kinds.add(at.known);
            Entry {
                name: at.name.start,
                name_length: (at.name.end - at.name.start) as u16,
                known: at.known,
                removed: false,
                origin: Origin::Wire,
                value: at.value.start,
                value_length: at.value.end - at.value.start,
            }
        }));
        all
    }

    /// The value of the first field of that name.
    pub fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        let name = name.as_str().as_bytes();
        self.living()
            .find(|entry| self.is(entry, name))
            .map(|entry| self.value(entry))
    }

    /// The value of the first field of that kind that the peer has sent, whatever was changed since.
    pub fn first_sent(&self, kind: Known) -> Option<&[u8]> {
        let mut sent = self.index.iter().filter(|e| e.origin != Origin::Own);
        let entry = sent.find(|entry| entry.known == kind)?;
        Some(self.value(entry))
    }

    /// The value of the last field of that name, in lower case, that the peer has sent, whatever was changed since.
    pub fn last_sent(&self, name: &str) -> Option<&[u8]> {
        let mut sent = self.index.iter().rev().filter(|e| e.origin != Origin::Own);
        let entry = sent.find(|entry| self.is(entry, name.as_bytes()))?;
        Some(self.value(entry))
    }

    /// Names and values that the peer has sent, whatever was changed since.
    pub fn sent(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let sent = self.index.iter().filter(|e| e.origin != Origin::Own);
        sent.map(|entry| (name_in(&self.arena, entry), self.value(entry)))
    }

    /// Kinds that may be among the fields; one that is not is not.
    pub fn kinds(&self) -> Kinds {
        self.kinds
    }

    /// The value of the first field of that kind.
    pub fn first_of(&self, kind: Known) -> Option<&[u8]> {
        if !self.kinds.has(kind) {
            return None;
        }
        let entry = self.living().find(|entry| entry.known == kind)?;
        Some(self.value(entry))
    }

    /// The fields of that kind.
    pub fn of_kind(&self, kind: Known) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.living()
            .filter(move |entry| entry.known == kind)
            .map(|entry| (name_in(&self.arena, entry), self.value(entry)))
    }

    /// Removes the fields of these kinds.
    pub fn remove_kinds(&mut self, kinds: Kinds) {
        if !self.kinds.meets(kinds) {
            return;
        }
        for entry in &mut self.index {
            entry.removed |= kinds.has(entry.known);
        }
    }

    /// Every value of that name, in order.
    pub fn all<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let name = name.clone();
        self.living()
            .filter(move |entry| self.is(entry, name.as_str().as_bytes()))
            .map(|entry| self.value(entry))
    }

    /// The value, several occurrences joined (RFC 9110, 5.3; RFC 9113, 8.2.3 for Cookie).
    pub fn joined(&self, name: &HeaderName) -> Option<Cow<'_, [u8]>> {
        let bytes = name.as_str().as_bytes();
        let mut values = self
            .living()
            .filter(|entry| self.is(entry, bytes))
            .map(|entry| self.value(entry));
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        let separator: &[u8] = if *name == http::header::COOKIE {
            b"; "
        } else {
            b", "
        };
        let mut whole = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            whole.extend_from_slice(separator);
            whole.extend_from_slice(value);
        }
        Some(Cow::Owned(whole))
    }

    /// Whether a field that is a list (RFC 9110, 5.6.1) holds this token, case-insensitively.
    pub fn lists(&self, name: &HeaderName, token: &str) -> bool {
        self.all(name)
            .any(|value| tokens(value).any(|t| t.eq_ignore_ascii_case(token.as_bytes())))
    }

    pub fn contains(&self, name: &HeaderName) -> bool {
        self.first(name).is_some()
    }

    /// Replaces every occurrence by this one. The value holds no CR, LF or NUL.
    pub fn set(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        let known = Known::of(name.as_str().as_bytes());
        if self.kinds.has(known) {
            self.remove(name);
        }
        self.push(name, known, value.as_ref(), Origin::Own);
    }

    /// Adds one more occurrence. The value holds no CR, LF or NUL.
    pub fn append(&mut self, name: &HeaderName, value: impl AsRef<[u8]>) {
        let known = Known::of(name.as_str().as_bytes());
        self.push(name, known, value.as_ref(), Origin::Own);
    }

    /// Adds what the peer has said in another place than a field.
    pub(super) fn append_sent(&mut self, name: &HeaderName, value: &[u8]) {
        let known = Known::of(name.as_str().as_bytes());
        self.push(name, known, value, Origin::Sent);
    }

    fn push(&mut self, name: &HeaderName, known: Known, value: &[u8], origin: Origin) {
        let name = name.as_str().as_bytes();
        self.kinds.add(known);
        let name_at = self.arena.len() as u32;
        self.arena.extend_from_slice(name);
        let value_at = self.arena.len() as u32;
        self.arena.extend_from_slice(value);
        self.index.push(Entry {
            name: name_at,
            // A header name is bounded at 64 KiB by its type.
            name_length: name.len() as u16,
            known,
            removed: false,
            origin,
            value: value_at,
            value_length: value.len() as u32,
        });
    }

    /// Removes every occurrence; true: there was one.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let name = name.as_str().as_bytes();
        self.remove_where(|known, _| known.eq_ignore_ascii_case(name))
    }

    /// Removes the fields whose name and value are so; true: there was one.
    pub fn remove_where(&mut self, so: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let Fields { arena, index, .. } = self;
        let mut any = false;
        for entry in index.iter_mut().filter(|entry| !entry.removed) {
            if so(name_in(arena, entry), value_in(arena, entry)) {
                entry.removed = true;
                any = true;
            }
        }
        any
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.living()
            .map(|entry| (name_in(&self.arena, entry), self.value(entry)))
    }

    /// Writes them out, a line each; neighbours that came as they are in one piece. `skip` is asked about names of the kind
    /// `Forwarding`.
    pub fn write(&self, out: &mut Vec<u8>, skip: impl Fn(&[u8]) -> bool) {
        let mut run: Option<(usize, usize)> = None;
        for entry in self.living() {
            if entry.known == Known::Forwarding && skip(name_in(&self.arena, entry)) {
                continue;
            }
            let begin = entry.name as usize;
            if entry.origin == Origin::Wire {
                let end = self.line_end(entry);
                match &mut run {
                    Some((_, until)) if *until == begin => *until = end,
                    _ => {
                        self.write_run(run.replace((begin, end)), out);
                    }
                }
                continue;
            }
            self.write_run(run.take(), out);
            out.extend_from_slice(name_in(&self.arena, entry));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.value(entry));
            out.extend_from_slice(b"\r\n");
        }
        self.write_run(run, out);
    }

    fn write_run(&self, run: Option<(usize, usize)>, out: &mut Vec<u8>) {
        if let Some((begin, end)) = run {
            out.extend_from_slice(&self.arena[begin..end]);
        }
    }

    /// Behind the CRLF of a line as it came: blanks may stand before it.
    fn line_end(&self, entry: &Entry) -> usize {
        let behind = (entry.value + entry.value_length) as usize;
        let blanks = self.arena[behind..]
            .iter()
            .take_while(|b| matches!(b, b' ' | b'\t'))
            .count();
        behind + blanks + 2
    }

    fn living(&self) -> impl Iterator<Item = &Entry> {
        self.index.iter().filter(|entry| !entry.removed)
    }

    fn is(&self, entry: &Entry, name: &[u8]) -> bool {
        usize::from(entry.name_length) == name.len()
            && name_in(&self.arena, entry).eq_ignore_ascii_case(name)
    }

    fn value(&self, entry: &Entry) -> &[u8] {
        value_in(&self.arena, entry)
    }
}

fn name_in<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    &arena[entry.name as usize..][..usize::from(entry.name_length)]
}

fn value_in<'a>(arena: &'a [u8], entry: &Entry) -> &'a [u8] {
    &arena[entry.value as usize..][..entry.value_length as usize]
}

/// The elements of a list, blanks cut off; empty ones are passed over (RFC 9110, 5.6.1.2).
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

impl Drop for Fields {
    fn drop(&mut self) {
        if self.arena.capacity() == 0 || self.arena.capacity() > LARGEST_KEPT {
            return;
        }
        let (mut arena, mut index) = (
            std::mem::take(&mut self.arena),
            std::mem::take(&mut self.index),
        );
        arena.clear();
        index.clear();
        // The thread is on its way out when its stock is gone.
        let _ = STOCK.try_with(|stock| {
            let mut stock = stock.borrow_mut();
            if stock.len() < MOST_KEPT {
                stock.push((arena, index));
            }
        });
    }
}

impl Default for Fields {
    fn default() -> Fields {
        Fields::new()
    }
}

impl Clone for Fields {
    fn clone(&self) -> Fields {
        let mut copy = Fields::new();
        copy.arena.extend_from_slice(&self.arena);
        copy.index.extend_from_slice(&self.index);
        copy.kinds = self.kinds;
        copy
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| {
            (
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value),
            )
        });
        f.debug_list().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{ACCEPT, CONNECTION, COOKIE, HOST};

    fn of(text: &str) -> Fields {
        let mut index = Vec::new();
        super::super::h1::head::request(text.as_bytes(), &mut index)
            .unwrap()
            .unwrap();
        Fields::of_head(text.as_bytes(), &index)
    }

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write(&mut out, |_| false);
        String::from_utf8(out).unwrap()
    }

    const HEAD: &str = "GET / HTTP/1.1\r\nHOST: h\r\nAccept: a\r\nCookie:x=1 \r\naccept: b\r\ncookie: y=2\r\nX-E:\r\nX-F:  \r\n\r\n";

    #[test]
    fn several_fields_of_a_name_are_joined() {
        let fields = of(HEAD);
        assert_eq!(fields.joined(&ACCEPT).unwrap(), &b"a, b"[..]);
        assert_eq!(fields.joined(&COOKIE).unwrap(), &b"x=1; y=2"[..]);
        assert_eq!(fields.first(&HOST), Some(&b"h"[..]));
        assert!(fields.joined(&CONNECTION).is_none());
    }

    #[test]
    fn what_is_not_touched_is_written_as_it_came() {
        assert_eq!(
            written(&of(HEAD)),
            "HOST: h\r\nAccept: a\r\nCookie:x=1 \r\naccept: b\r\ncookie: y=2\r\nX-E:\r\nX-F:  \r\n"
        );
    }

    #[test]
    fn edits_are_written_behind() {
        let mut fields = of(HEAD);
        fields.set(&ACCEPT, b"c");
        fields.append(&ACCEPT, b"d");
        assert!(fields.remove(&HOST));
        assert!(!fields.remove(&HOST));
        assert_eq!(fields.joined(&ACCEPT).unwrap(), &b"c, d"[..]);
        assert_eq!(
            written(&fields),
            "Cookie:x=1 \r\ncookie: y=2\r\nX-E:\r\nX-F:  \r\naccept: c\r\naccept: d\r\n"
        );
    }

    #[test]
    fn what_was_sent_last_is_found_whatever_was_changed() {
        let mut fields = of(HEAD);
        fields.set(&ACCEPT, b"c");
        fields.remove(&COOKIE);
        fields.append(&CONNECTION, b"close");
        assert_eq!(fields.last_sent("accept"), Some(&b"b"[..]));
        assert_eq!(fields.last_sent("cookie"), Some(&b"y=2"[..]));
        assert_eq!(fields.last_sent("x-e"), Some(&b""[..]));
        assert_eq!(fields.last_sent("connection"), None, "it is ours");
    }

    #[test]
    fn a_list_is_searched_by_token() {
        let mut fields = Fields::new();
        fields.append(&CONNECTION, b"close ,, x-a");
        fields.append(&CONNECTION, b"Upgrade");
        assert!(fields.lists(&CONNECTION, "upgrade"));
        assert!(fields.lists(&CONNECTION, "X-A"));
        assert!(!fields.lists(&CONNECTION, "x"));
    }
}
