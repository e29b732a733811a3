//! What was said lately in one direction (RFC 7541, 2.3.2): the last is the first, and the oldest go when there are too many bytes.

use std::collections::VecDeque;

use super::{A_FIELD, TABLE};

/// Of either side: what one of them writes is what the other has read.
pub struct Table {
    /// The last first. A few bytes each, so that a look at several costs the processor one line of its cache.
    fields: VecDeque<Place>,
    /// Names and values one behind the other, those that were said first at the front; the oldest of them may be gone already.
    text: Vec<u8>,
    /// Bytes as they are counted, and how many there may be.
    size: usize,
    most: usize,
}

/// Where a field's text lies. There are never more than twice as many bytes as a table has.
#[derive(Clone, Copy)]
struct Place {
    begin: u16,
    name: u16,
    value: u16,
}

const _: () = assert!(2 * TABLE <= u16::MAX as usize);

impl Default for Table {
    fn default() -> Table {
        Table {
            fields: VecDeque::new(),
            text: Vec::new(),
            size: 0,
            most: TABLE,
        }
    }
}

impl Table {
    pub fn most(&self) -> usize {
        self.most
    }

    /// There may be so many bytes from now on.
    pub fn bound(&mut self, most: usize) {
        self.most = most;
        self.shrink(most);
    }

    /// Name and value of the field that was said so many others ago.
    pub fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let place = self.fields.get(age)?;
        let text = self.text.get(place.begin.into()..place.end())?;
        text.split_at_checked(place.name.into())
    }

    /// One that is larger than the table empties it (RFC 7541, 4.4).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let length = name.len() + value.len();
        let size = length + A_FIELD;
        self.shrink(self.most.saturating_sub(size));
        if size > self.most {
            return;
        }
        self.make_room(length);
        self.fields.push_front(Place {
            begin: self.text.len() as u16,
            name: name.len() as u16,
            value: value.len() as u16,
        });
        self.text.extend_from_slice(name);
        self.text.extend_from_slice(value);
        self.size += size;
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some(place) = self.fields.pop_back()
        {
            self.size -= place.length() + A_FIELD;
        }
    }

    /// Instead of growing, the text loses what is gone of it, once that is half of it: so it is moved no more often than it was
    /// written, and grows to twice what a table has at most.
    fn make_room(&mut self, length: usize) {
        let here = self.text.len();
        if here + length <= self.text.capacity() {
            return;
        }
        let oldest = self.fields.back();
        let gone = oldest.map_or(here, |oldest| oldest.begin.into());
        if gone < here - gone {
            let most = (2 * (here + length)).min(2 * TABLE);
            return self.text.reserve_exact(most - here);
        }
        self.text.drain(..gone);
        for place in &mut self.fields {
            place.begin -= gone as u16;
        }
    }
}

impl Place {
    fn length(self) -> usize {
        usize::from(self.name) + usize::from(self.value)
    }

    fn end(self) -> usize {
        usize::from(self.begin) + self.length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_there_and_its_text_stays_within_bounds() {
        let mut table = Table::default();
        // Lengths that meet the bounds at ever other places, for many times what a table has.
        let field = |n: usize| (format!("name-{n}"), "v".repeat(n * 7 % 1_500));
        for n in 0..2_000 {
            let (name, value) = field(n);
            table.push(name.as_bytes(), value.as_bytes());
            assert!(table.size <= TABLE && table.text.capacity() <= 2 * TABLE);
            let (mut size, mut age) = (0, 0);
            loop {
                let (name, value) = field(n - age);
                size += name.len() + value.len() + A_FIELD;
                if size > TABLE {
                    break;
                }
                let there = table.get(age);
                assert_eq!(there, Some((name.as_bytes(), value.as_bytes())));
                if age == n {
                    break;
                }
                age += 1;
            }
            assert_eq!(table.get(age).is_some(), size <= TABLE);
        }
        table.bound(0);
        assert_eq!((table.get(0), table.size), (None, 0));
    }
}
