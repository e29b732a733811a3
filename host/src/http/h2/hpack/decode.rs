//! Reading header blocks. What they say is shown in place: a name or value is copied only where it was in Huffman's code, goes to
//! the table, or is a table's name for a value that isn't.

use super::table::Table;
use super::{TABLE, huffman, known};

/// A block that cannot be read. Those behind it can't be either, since the tables differ from then on (RFC 9113, 4.3).
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Of one direction of a connection.
#[derive(Default)]
pub struct Decoder {
    table: Table,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Shows every field of a block, in its order.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut rest = Rest(block);
        // The table's size may change at the beginning alone (RFC 7541, 4.2).
        while let Some(first) = rest.peek()
            && first >> 5 == 0b001
        {
            let most = rest.integer(5)?;
            if most > TABLE {
                return Err(Malformed);
            }
            self.table.bound(most);
        }
        while let Some(first) = rest.peek() {
            if first & 0x80 != 0 {
                let index = rest.integer(7)?;
                let (name, value) = self.field(index).ok_or(Malformed)?;
                each(name, value);
            } else if first & 0x40 != 0 {
                self.literal(&mut rest, 6, true, &mut each)?;
            } else if first & 0x20 != 0 {
                return Err(Malformed);
            } else {
                self.literal(&mut rest, 4, false, &mut each)?;
            }
        }
        Ok(())
    }

    fn literal(
        &mut self,
        rest: &mut Rest<'_>,
        bits: u32,
        keep: bool,
        each: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let index = rest.integer(bits)?;
        let (mut names, mut values) = (
            std::mem::take(&mut self.name),
            std::mem::take(&mut self.value),
        );
        let name = if index == 0 {
            rest.text(&mut names)?
        } else {
            let (name, _) = self.field(index).ok_or(Malformed)?;
            // One of the table's own may be about to go.
            names.clear();
            names.extend_from_slice(name);
            &names
        };
        let value = rest.text(&mut values)?;
        each(name, value);
        if keep {
            self.table.push(name, value);
        }
        (self.name, self.value) = (names, values);
        Ok(())
    }

    fn field(&self, index: usize) -> Option<(&[u8], &[u8])> {
        if index <= known::COUNT {
            return known::field(index);
        }
        self.table.get(index - known::COUNT - 1)
    }
}

/// What is left of a block.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    fn integer(&mut self, bits: u32) -> Result<usize, Malformed> {
        let most = (1 << bits) - 1;
        let mut number = usize::from(self.byte()?) & most;
        if number < most {
            return Ok(number);
        }
        // Four bytes say more than any block is long.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            number += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// As it stands there, or in `unpacked`.
    fn text<'b>(&mut self, unpacked: &'b mut Vec<u8>) -> Result<&'b [u8], Malformed>
    where
        'a: 'b,
    {
        let packed = self.peek().ok_or(Malformed)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        if !packed {
            return Ok(text);
        }
        unpacked.clear();
        huffman::decode(text, unpacked).ok_or(Malformed)?;
        Ok(unpacked)
    }
}
