//! The TLS hello of a connection that is passed on as it is: what a client asks for, read without ending TLS (RFC 8446,
//! 4.1.2). Strict and within bounds: whatever is no whole, sound hello is none.

/// What a client says first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// RFC 6066, 3; lower case.
    pub server_name: Option<Box<str>>,
    /// The protocols that it offers, the one it likes best first (RFC 7301). None: it does not say; empty: only such as are no
    /// text.
    pub protocols: Option<Vec<Box<str>>>,
}

/// Bytes of a hello, its records' heads included. Post-quantum key shares make some 2 KiB of one.
pub const LONGEST: usize = 16 << 10;

/// Protocols that are kept.
const MOST_PROTOCOLS: usize = 16;

/// These bytes begin no TLS connection.
#[derive(Debug, PartialEq, Eq)]
pub struct NoHello;

/// The hello in what a client has sent so far. None: it is not whole yet.
pub fn hello(bytes: &[u8]) -> Result<Option<Hello>, NoHello> {
    let Some(message) = handshake(bytes)? else {
        return match bytes.len() < LONGEST {
            true => Ok(None),
            false => Err(NoHello),
        };
    };
    parse(&message).map(Some).ok_or(NoHello)
}

/// The body of the first handshake message, which several records may carry (RFC 8446, 5.1).
fn handshake(bytes: &[u8]) -> Result<Option<Vec<u8>>, NoHello> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let known = |at: usize, fits: fn(u8) -> bool| rest.get(at).is_none_or(|b| fits(*b));
        if !known(0, |kind| kind == 22) || !known(1, |major| major == 3) {
            return Err(NoHello);
        }
        let Some(([_, _, _, high, low], body)) = rest.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // An empty record carries nothing on; a longer one is no plaintext's.
        if length == 0 || length > 1 << 14 {
            return Err(NoHello);
        }
        let part = &body[..length.min(body.len())];
        message.extend_from_slice(part);
        if message.first().is_some_and(|kind| *kind != 1) {
            return Err(NoHello);
        }
        if let Some(([_, a, b, c], body)) = message.split_first_chunk::<4>() {
            let whole = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if whole > LONGEST {
                return Err(NoHello);
            }
            if let Some(whole) = body.get(..whole) {
                return Ok(Some(whole.to_vec()));
            }
        }
        if part.len() < length {
            return Ok(None);
        }
        rest = &body[length..];
    }
}

fn parse(message: &[u8]) -> Option<Hello> {
    let mut reader = Reader(message);
    reader.take(2 + 32)?;
    let session = reader.u8()?;
    reader.take(session.into())?;
    let suites = reader.u16()?;
    reader.take(suites.into())?;
    let compressions = reader.u8()?;
    reader.take(compressions.into())?;
    let mut hello = Hello::default();
    if reader.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = reader.list()?;
    if !reader.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let body = extensions.list()?;
        match kind {
            0 if hello.server_name.is_none() => hello.server_name = server_name(body)?,
            16 if hello.protocols.is_none() => hello.protocols = Some(protocols(body)?),
            // RFC 8446, 4.2: once each.
            0 | 16 => return None,
            _ => {}
        }
    }
    Some(hello)
}

fn server_name(mut body: Reader<'_>) -> Option<Option<Box<str>>> {
    let mut list = body.list()?;
    if !body.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !list.0.is_empty() {
        let kind = list.u8()?;
        let name = list.list()?.0;
        if kind == 0 {
            let name = str::from_utf8(name).ok()?;
            let fits = |c: u8| c.is_ascii_alphanumeric() || b"-._".contains(&c);
            let sane = (1..=253).contains(&name.len()) && name.bytes().all(fits);
            if !sane || found.is_some() {
                return None;
            }
            found = Some(name.to_ascii_lowercase().into());
        }
    }
    Some(found)
}

fn protocols(mut body: Reader<'_>) -> Option<Vec<Box<str>>> {
    let mut list = body.list()?;
    // RFC 7301, 3.1: there is one at least, and none is empty.
    if list.0.is_empty() || !body.0.is_empty() {
        return None;
    }
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let length = list.u8().filter(|length| *length > 0)?;
        let name = list.take(length.into())?;
        // GREASE (RFC 8701) is no text, and nobody's protocol.
        let text = str::from_utf8(name).ok();
        let text = text.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic()));
        if protocols.len() < MOST_PROTOCOLS {
            protocols.extend(text.map(Into::into));
        }
    }
    Some(protocols)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// What a length of 16 bits announces.
    fn list(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?;
        self.take(length.into()).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
    }

    fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
        [vec![0, kind], long(body)].concat()
    }

    /// A hello in one record, with these extensions.
    fn with(extensions: &[u8]) -> Vec<u8> {
        let session = [&[32][..], &[9; 32]].concat();
        let rest = [&long(&[0x13, 1, 0x13, 2]), &[1, 0][..], &long(extensions)].concat();
        let body = [&[3, 3][..], &[7; 32], &session, &rest].concat();
        let message = [&[1, 0][..], &long(&body)].concat();
        [&[22, 3, 1][..], &long(&message)].concat()
    }

    fn named(name: &str, protocols: &[&str]) -> Vec<u8> {
        let name = [&[0][..], &long(name.as_bytes())].concat();
        let protocols = protocols.iter().flat_map(|name| {
            let length = [name.len() as u8];
            [&length[..], name.as_bytes()].concat()
        });
        let protocols: Vec<u8> = protocols.collect();
        let versions = extension(43, &[2, 3, 4]);
        let name = extension(0, &long(&name));
        let protocols = extension(16, &long(&protocols));
        with(&[versions, name, protocols].concat())
    }

    #[test]
    fn name_and_protocols_are_read() {
        let bytes = named("App.Example.com", &["h2", "http/1.1"]);
        let found = hello(&bytes).unwrap().unwrap();
        assert_eq!(found.server_name.as_deref(), Some("app.example.com"));
        let protocols = found.protocols.unwrap();
        assert_eq!(protocols, ["h2", "http/1.1"].map(Box::<str>::from));
        let grease = named("a", &["\u{1}", "h2"]);
        let found = hello(&grease).unwrap().unwrap().protocols;
        assert_eq!(found.unwrap().len(), 1, "what is no text is nobody's");
        let grease = hello(&named("a", &["\u{1}"])).unwrap().unwrap();
        assert_eq!(grease.protocols, Some(Vec::new()));
        assert_eq!(hello(&with(&[])), Ok(Some(Hello::default())));
    }

    #[test]
    fn a_part_of_one_is_not_whole_and_never_wrong() {
        let bytes = named("app.example.com", &["h2"]);
        for end in 0..bytes.len() {
            assert_eq!(hello(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn records_may_cut_it_anywhere() {
        let bytes = named("app.example.com", &["h2"]);
        let mut cut = Vec::new();
        for part in bytes[5..].chunks(7) {
            cut.extend_from_slice(&[22, 3, 1, 0, part.len() as u8]);
            cut.extend_from_slice(part);
        }
        let name = hello(&cut).unwrap().unwrap().server_name;
        assert_eq!(name.as_deref(), Some("app.example.com"));
    }

    #[test]
    fn what_is_no_hello_is_refused_at_once() {
        let name = || extension(0, &long(&[0, 0, 1, b'a']));
        let twice = with(&[name(), name()].concat());
        let [odd, empty] = ["a\0b", ""].map(|name| named(name, &["h2"]));
        let [nothing, no_name] = [&[][..], &["h2", ""]].map(|protocols| named("a", protocols));
        let protocols = || extension(16, &long(&[1, 1]));
        let protocols_twice = with(&[protocols(), protocols()].concat());
        let server_hello = [22, 3, 3, 0, 40, 2];
        let no_end: Vec<u8> = [22, 3, 1, 0, 1, 1].repeat(LONGEST);
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"\0",
            &[22, 2],
            &[22, 3, 1, 0, 0],
            &[22, 3, 1, 0xff, 0xff],
            &server_hello,
            &[22, 3, 1, 0, 4, 1, 0xff, 0, 0],
            &no_end,
            &odd,
            &twice,
            &empty,
            &nothing,
            &no_name,
            &protocols_twice,
            &with(&[0, 0, 0, 9]),
        ] {
            assert_eq!(
                hello(bytes),
                Err(NoHello),
                "{:?}",
                &bytes[..bytes.len().min(9)]
            );
        }
    }

    /// Whatever byte of it is another: an answer, and no panic.
    #[test]
    fn no_change_of_a_byte_is_more_than_an_answer() {
        let bytes = named("app.example.com", &["h2", "http/1.1"]);
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = hello(&changed);
            }
        }
    }
}
