//! Every byte that an origin was sent, connection by connection, whether it was HTTP or not. What a proxy let through that it
//! should have refused is in here.

use std::io::{self, Read};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// Connections in the order in which they sent their first byte.
#[derive(Default)]
pub struct Recording {
    connections: Mutex<Vec<Connection>>,
}

#[derive(Clone, Debug, Default)]
struct Connection {
    bytes: Vec<u8>,
    ended: bool,
}

/// How far a recording had come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mark(Vec<usize>);

/// What one connection brought since a mark.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Which connection, counted from 0.
    pub connection: usize,
    pub bytes: Vec<u8>,
    /// The peer has closed it.
    pub ended: bool,
}

impl Recording {
    pub fn mark(&self) -> Mark {
        Mark(self.map(|connection| connection.bytes.len()))
    }

    /// What has come since then, by connection; those that brought nothing are left out.
    pub fn since(&self, mark: &Mark) -> Vec<Heard> {
        let all = self.map(Clone::clone);
        let heard = all.into_iter().enumerate().map(|(number, connection)| {
            let before = mark.0.get(number).copied().unwrap_or(0);
            Heard {
                connection: number,
                bytes: connection.bytes[before..].to_vec(),
                ended: connection.ended,
            }
        });
        heard.filter(|heard| !heard.bytes.is_empty()).collect()
    }

    fn map<T>(&self, of: impl FnMut(&Connection) -> T) -> Vec<T> {
        let connections = self.connections.lock().expect("nobody panics with it");
        connections.iter().map(of).collect()
    }
}

/// Reads from a socket and keeps what it read.
pub(crate) struct Tee {
    stream: TcpStream,
    recording: Arc<Recording>,
    /// None: not a byte came.
    number: Option<usize>,
}

impl Tee {
    pub(crate) fn new(stream: TcpStream, recording: Arc<Recording>) -> Tee {
        Tee {
            stream,
            recording,
            number: None,
        }
    }

    pub(crate) fn ended(self) {
        if let Some(number) = self.number {
            let mut all = self.recording.connections.lock().expect("as above");
            all[number].ended = true;
        }
    }
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if count > 0 {
            let mut all = self.recording.connections.lock().expect("as above");
            let number = *self.number.get_or_insert_with(|| {
                all.push(Connection::default());
                all.len() - 1
            });
            all[number].bytes.extend_from_slice(&buffer[..count]);
        }
        Ok(count)
    }
}
