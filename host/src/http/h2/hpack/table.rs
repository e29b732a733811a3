//! What was said lately in one direction (RFC 7541, 2.3.2): the last is the first, and the oldest go when there are too many bytes.

use std::collections::VecDeque;

use super::{A_FIELD, TABLE};

/// Of either side: what one of them writes is what the other has read.
pub struct Table {
    fields: VecDeque<Field>,
    /// Bytes as they are counted, and how many there may be.
    size: usize,
    most: usize,
}

/// Name and value, one behind the other. A field of its own: it may be made of one that the table is about to lose.
pub struct Field {
    text: Box<[u8]>,
    name: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            fields: VecDeque::new(),
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
        let field = self.fields.get(age)?;
        Some(field.text.split_at(field.name))
    }

    /// One that is larger than the table empties it (RFC 7541, 4.4).
    pub fn push(&mut self, field: Field) {
        let size = field.size();
        self.shrink(self.most.saturating_sub(size));
        if size <= self.most {
            self.size += size;
            self.fields.push_front(field);
        }
    }

    fn shrink(&mut self, most: usize) {
        while self.size > most
            && let Some(field) = self.fields.pop_back()
        {
            self.size -= field.size();
        }
    }
}

impl Field {
    pub fn new(name: &[u8], value: &[u8]) -> Field {
        Field {
            text: [name, value].concat().into(),
            name: name.len(),
        }
    }

    fn size(&self) -> usize {
        self.text.len() + A_FIELD
    }
}
