//! An HTTP/1.1 message as it came over the wire, read by a parser of the tests' own: what is under test must not judge
//! itself.

use std::io::{self, BufRead, ErrorKind, Read};

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The request line or the status line, without its line end.
    pub first: String,
    /// Names and values as sent, in order.
    pub headers: Vec<(String, String)>,
    /// With chunks joined.
    pub body: Vec<u8>,
    /// The lines behind the last chunk, the empty one included.
    pub trailers: Vec<u8>,
    /// The head's bytes, up to and including the empty line.
    pub head: Vec<u8>,
}

impl Message {
    /// Reads a request; None when the peer closed before its first byte.
    pub fn read_request(from: &mut impl BufRead) -> io::Result<Option<Message>> {
        let Some(mut message) = Message::read_head(from)? else {
            return Ok(None);
        };
        message.body = match message.framing()? {
            Framing::Chunked => chunked(from, &mut message.trailers)?,
            Framing::Length(length) => exactly(from, length)?,
            Framing::Open => Vec::new(),
        };
        Ok(Some(message))
    }

    /// Reads a response, interim ones (1xx) skipped; None when the peer closed before its first byte.
    pub fn read_response(from: &mut impl BufRead, to_head: bool) -> io::Result<Option<Message>> {
        let mut message = loop {
            let Some(message) = Message::read_head(from)? else {
                return Ok(None);
            };
            if !(100..200).contains(&message.status()) {
                break message;
            }
        };
        if to_head || matches!(message.status(), 204 | 304) {
            return Ok(Some(message));
        }
        message.body = match message.framing()? {
            Framing::Chunked => chunked(from, &mut message.trailers)?,
            Framing::Length(length) => exactly(from, length)?,
            Framing::Open => {
                let mut body = Vec::new();
                from.read_to_end(&mut body)?;
                body
            }
        };
        Ok(Some(message))
    }

    /// Of a response; 0 for anything else.
    pub fn status(&self) -> u16 {
        self.first
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    }

    /// Of a request.
    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or("")
    }

    /// Of a request: path and query as sent.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or("")
    }

    /// The first value of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// Every value of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text, without white space around.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {:?}", self.text()))
    }

    fn read_head(from: &mut impl BufRead) -> io::Result<Option<Message>> {
        let mut message = Message::default();
        loop {
            let start = message.head.len();
            if from.read_until(b'\n', &mut message.head)? == 0 {
                return if start == 0 {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
            let line = String::from_utf8_lossy(&message.head[start..]);
            let line = line.trim_end_matches(['\r', '\n']);
            if start == 0 {
                message.first = line.to_owned();
            } else if line.is_empty() {
                return Ok(Some(message));
            } else {
                let (name, value) = line.split_once(':').ok_or_else(|| broken(line))?;
                message
                    .headers
                    .push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }

    fn framing(&self) -> io::Result<Framing> {
        if self
            .all("transfer-encoding")
            .iter()
            .any(|value| value.eq_ignore_ascii_case("chunked"))
        {
            return Ok(Framing::Chunked);
        }
        match self.header("content-length") {
            Some(length) => Ok(Framing::Length(length.parse().map_err(|_| broken(length))?)),
            None => Ok(Framing::Open),
        }
    }
}

enum Framing {
    Chunked,
    Length(usize),
    Open,
}

/// Takes no room for what a peer only says will come.
fn exactly(from: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

fn chunked(from: &mut impl BufRead, trailers: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(from)?;
        let digits = size.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| broken(&size))?;
        if size == 0 {
            loop {
                let begin = trailers.len();
                if from.read_until(b'\n', trailers)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                if trailers[begin..].trim_ascii().is_empty() {
                    return Ok(body);
                }
            }
        }
        body.extend(exactly(from, size)?);
        line(from)?;
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not HTTP/1.1: {what:?}"))
}
