//! Writing header blocks. A field goes to the table when it is said for the second time, and a name that neither side knows does, so
//! that ids and dates, which differ each time, neither fill the table nor cost a search. Secrets are said in the form that
//! nobody keeps (RFC 7541, 7.1.3).

use super::table::Table;
use super::{A_FIELD, TABLE, known, write_integer};

/// Places for what was said lately; one is found by its hash, and of two with the same place by the later.
const PLACES: usize = 64;

/// Fields whose values are not to be guessed, a byte after the other, by how long a block becomes.
const SECRET: [&[u8]; 4] = [
    b"set-cookie",
    b"cookie",
    b"authorization",
    b"proxy-authorization",
];

/// Of one direction of a connection.
#[derive(Default)]
pub struct Encoder {
    /// None: nothing was said yet.
    said: Option<Box<Said>>,
    /// Bytes of the table that the reader allows, where it has said so since the last block: the least, and the last.
    bound: Option<(usize, usize)>,
}

struct Said {
    table: Table,
    /// Entries ever made, which are numbered from 1 on; what has an old one's number is told from it by its text.
    made: u16,
    /// By hash of name and value, and of the name: the number of its entry.
    fields: [u16; PLACES],
    names: [u16; PLACES],
    /// Hashes of what was said lately without an entry.
    lately: [u32; PLACES],
    names_lately: [u32; PLACES],
}

impl Encoder {
    /// The reader's table may have that many bytes (SETTINGS_HEADER_TABLE_SIZE).
    pub fn bound(&mut self, most: usize) {
        let most = most.min(TABLE);
        let least = self.bound.map_or(most, |(least, _)| least.min(most));
        self.bound = Some((least, most));
    }

    /// The first of an answer's block.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        self.begin(out);
        if let Some(index) = known::status(status) {
            return write_integer(0x80, 7, index, out);
        }
        // Rare ones come again and again where they come, but a byte or two more is nothing beside their answers.
        write_integer(0, 4, known::STATUS, out);
        out.push(3);
        out.extend_from_slice(
            &[status / 100, status / 10 % 10, status % 10].map(|d| b'0' + d as u8),
        );
    }

    /// The first of a request's block.
    pub fn request(
        &mut self,
        method: &[u8],
        secure: bool,
        authority: &[u8],
        path: &[u8],
        out: &mut Vec<u8>,
    ) {
        self.begin(out);
        match method {
            b"GET" => write_integer(0x80, 7, known::METHOD_GET, out),
            b"POST" => write_integer(0x80, 7, known::METHOD_POST, out),
            _ => literal(0, 4, known::METHOD, method, out),
        }
        let scheme = if secure {
            known::SCHEME_HTTPS
        } else {
            known::SCHEME_HTTP
        };
        write_integer(0x80, 7, scheme, out);
        self.repeated(b":authority", || Some(known::AUTHORITY), authority, out);
        if path == b"/" {
            write_integer(0x80, 7, known::PATH, out);
        } else {
            literal(0, 4, known::PATH, path, out);
        }
    }

    /// The first of a block that has no pseudo-fields.
    pub fn trailers(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
    }

    /// A field; its name is in lower case.
    pub fn field(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        if SECRET.contains(&name) {
            return literal(0x10, 4, known::name(name).unwrap_or(0), value, out);
        }
        self.repeated(name, || known::name(name), value, out);
    }

    fn repeated(
        &mut self,
        name: &[u8],
        known: impl FnOnce() -> Option<usize>,
        value: &[u8],
        out: &mut Vec<u8>,
    ) {
        let said = self.said.get_or_insert_with(Said::new);
        let of_name = hash(SEED, name);
        let of_field = hash(of_name, value);
        if let Some(index) = said.field(of_field, name, value) {
            return write_integer(0x80, 7, index, out);
        }
        let known = known().or_else(|| said.name(of_name, name));
        let again = said.again(of_field, known.is_none().then_some(of_name));
        if again && name.len() + value.len() + A_FIELD <= said.table.most() {
            literal_head(0x40, 6, known, name, out);
            text(value, out);
            said.make(name, value, of_name, of_field);
        } else {
            literal_head(0, 4, known, name, out);
            text(value, out);
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        let Some((least, last)) = self.bound.take() else {
            return;
        };
        let said = self.said.get_or_insert_with(Said::new);
        for most in [least, last] {
            if most != said.table.most() {
                said.table.bound(most);
                write_integer(0x20, 5, most, out);
            }
        }
    }
}

/// With a name that has an index.
fn literal(first: u8, bits: u32, name: usize, value: &[u8], out: &mut Vec<u8>) {
    write_integer(first, bits, name, out);
    text(value, out);
}

fn literal_head(first: u8, bits: u32, known: Option<usize>, name: &[u8], out: &mut Vec<u8>) {
    write_integer(first, bits, known.unwrap_or(0), out);
    if known.is_none() {
        text(name, out);
    }
}

fn text(text: &[u8], out: &mut Vec<u8>) {
    write_integer(0, 7, text.len(), out);
    out.extend_from_slice(text);
}

const SEED: u32 = 0x811c_9dc5;

/// What spreads short texts well enough over a few places; a text is compared before it is believed.
fn hash(seed: u32, text: &[u8]) -> u32 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = (u64::from(seed) ^ text.len() as u64).wrapping_mul(SPREAD);
    let mut mix = |word: u64| state = (state ^ word).wrapping_mul(SPREAD).rotate_left(29);
    let (words, _) = text.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    // What is left, with some of what was there already.
    match text.last_chunk::<8>() {
        Some(last) => mix(u64::from_le_bytes(*last)),
        None => mix(text
            .iter()
            .fold(1, |word, byte| word << 8 | u64::from(*byte))),
    }
    (state >> 32) as u32 | 1
}

fn place(hash: u32) -> usize {
    (hash >> 8) as usize % PLACES
}

impl Said {
    fn new() -> Box<Said> {
        Box::new(Said {
            table: Table::default(),
            made: 0,
            fields: [0; PLACES],
            names: [0; PLACES],
            lately: [0; PLACES],
            names_lately: [0; PLACES],
        })
    }

    /// The index of the entry of that number, with its name and value.
    fn entry(&self, number: u16) -> Option<(usize, &[u8], &[u8])> {
        let age = self.made.wrapping_sub(number).into();
        let (name, value) = self.table.get(age).filter(|_| number != 0)?;
        Some((known::COUNT + 1 + age, name, value))
    }

    fn field(&self, hash: u32, name: &[u8], value: &[u8]) -> Option<usize> {
        let (index, known, its_value) = self.entry(self.fields[place(hash)])?;
        (known == name && its_value == value).then_some(index)
    }

    fn name(&self, hash: u32, name: &[u8]) -> Option<usize> {
        let (index, known, _) = self.entry(self.names[place(hash)])?;
        (known == name).then_some(index)
    }

    /// Whether the field, or the name that has no index, was said lately; from now on it was.
    fn again(&mut self, field: u32, name: Option<u32>) -> bool {
        let again = std::mem::replace(&mut self.lately[place(field)], field) == field;
        let named = name.is_some_and(|name| {
            std::mem::replace(&mut self.names_lately[place(name)], name) == name
        });
        again || named
    }

    fn make(&mut self, name: &[u8], value: &[u8], of_name: u32, of_field: u32) {
        self.table.push(name, value);
        // One in 65,536 is found by nobody.
        self.made = self.made.wrapping_add(1);
        self.fields[place(of_field)] = self.made;
        self.names[place(of_name)] = self.made;
    }
}
