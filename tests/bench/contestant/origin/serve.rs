//! What the origin's process does: answers that are known beforehand, with as little work as a server can have. A proxy that waits
//! for its origin sleeps and wakes up in between, the more often the faster it is, and what it saved doesn't show. So the origin must
//! be what waits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::{ACCEPTED, SEEN, addresses, told};

/// One read: a request's head is far smaller.
const READ: usize = 64 << 10;

/// Answers on 127.0.0.1 and at the addresses of so many servers, until its process is ended.
pub fn run(port: u16, servers: u32) -> io::Result<()> {
    let own = format!("127.0.0.1:{port}");
    let all = std::iter::once(own).chain(addresses(servers, port));
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut ends: Vec<End> = Vec::new();
    for address in all {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let number = listener.as_raw_fd();
        epoll::add(&epoll, &listener, data(number), EventFlags::IN)?;
        put(&mut ends, number, End::Listener(listener));
    }
    let mut server = Server {
        bodies: [("/1k", 1 << 10), ("/64k", 64 << 10), ("/1m", 1 << 20)]
            .map(|(path, size)| (path, answer(&vec![b'x'; size]))),
        accepted: 0,
        buffer: vec![0; READ],
    };
    let mut events = Vec::with_capacity(512);
    loop {
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        for event in events.drain(..) {
            let number = event.data.u64() as usize;
            let mut fresh = Vec::new();
            match &mut ends[number] {
                End::Listener(listener) => {
                    while let Ok((stream, _)) = listener.accept() {
                        fresh.push(stream);
                    }
                }
                End::Client(client) => {
                    if server.serve(client).is_err() {
                        ends[number] = End::None;
                    }
                }
                End::None => {}
            }
            for stream in fresh {
                server.accepted += 1;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let number = stream.as_raw_fd();
                let wanted = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                epoll::add(&epoll, &stream, data(number), wanted)?;
                put(&mut ends, number, End::Client(Client::new(stream)));
            }
        }
    }
}

enum End {
    None,
    Listener(TcpListener),
    Client(Client),
}

struct Client {
    stream: TcpStream,
    /// Of a head that is not whole.
    have: Vec<u8>,
    /// Not taken yet.
    owed: Vec<u8>,
}

struct Server {
    bodies: [(&'static str, Vec<u8>); 3],
    accepted: u64,
    buffer: Vec<u8>,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client {
            stream,
            have: Vec::new(),
            owed: Vec::new(),
        }
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.owed.is_empty() {
            self.owed.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            written => written?,
        };
        self.owed.extend_from_slice(&bytes[taken..]);
        // What was taken in part is owed at once: the socket may have had room again before anybody looks.
        if taken > 0 && taken < bytes.len() {
            return self.pay();
        }
        Ok(())
    }

    /// What it takes of what is owed.
    fn pay(&mut self) -> io::Result<()> {
        let mut paid = 0;
        while paid < self.owed.len() {
            match self.stream.write(&self.owed[paid..]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => paid += written?,
            }
        }
        self.owed.drain(..paid);
        Ok(())
    }
}

impl Server {
    /// What there is to be read and written. Err: it is over.
    fn serve(&mut self, client: &mut Client) -> io::Result<()> {
        client.pay()?;
        loop {
            let read = match client.stream.read(&mut self.buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            client.have.extend_from_slice(&self.buffer[..read]);
            while let Some(end) = client.have.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = client.have.drain(..end + 4).collect();
                self.answer(client, &head)?;
            }
            // Less than there was room for was all.
            if read < self.buffer.len() {
                return Ok(());
            }
        }
    }

    fn answer(&self, client: &mut Client, head: &[u8]) -> io::Result<()> {
        let path = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let body = self.bodies.iter().find(|(own, _)| own.as_bytes() == path);
        if let Some((_, answer)) = body {
            return client.say(answer);
        }
        let text = match path {
            path if path == SEEN.as_bytes() => told(&String::from_utf8_lossy(head)),
            path if path == ACCEPTED.as_bytes() => self.accepted.to_string(),
            _ => String::new(),
        };
        client.say(&answer(text.as_bytes()))
    }
}

/// As much of a head as servers commonly say.
fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: origin/1.0\r\nDate: Tue, 01 Dec 2026 03:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Last-Modified: Mon, 30 Nov 2026 21:39:00 GMT\r\nConnection: keep-alive\r\nETag: \"692c-400\"\r\nAccept-Ranges: bytes\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn data(number: i32) -> EventData {
    EventData::new_u64(number as u64)
}

fn put(ends: &mut Vec<End>, number: i32, end: End) {
    let number = number as usize;
    if ends.len() <= number {
        ends.resize_with(number + 1, || End::None);
    }
    ends[number] = end;
}
