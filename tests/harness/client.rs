//! Clients: one that keeps its connection and sends bytes as given, one-shot helpers, and curl.

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::message::Message;

/// Longer than any timeout that a test configures: a proxy that hangs fails the test instead of stopping it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is kept between requests.
pub struct Client {
    stream: BufReader<TcpStream>,
    to_head: bool,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|e| panic!("{address}: {e}"))
    }

    pub fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// From that address of this machine.
    #[track_caller]
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Client {
        let connect = || {
            use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
            bind(&socket, &SocketAddr::from((source, 0)))?;
            connect(&socket, &address)?;
            Client::over(socket.into())
        };
        connect().unwrap_or_else(|e: io::Error| panic!("{address} from {source}: {e}"))
    }

    fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream: BufReader::new(stream),
            to_head: false,
        })
    }

    /// Sends a request without a body and reads the answer.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Message {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nhost: test.example\r\n\r\n"
        ))
    }

    /// Sends these bytes and reads one response.
    #[track_caller]
    pub fn ask(&mut self, request: &str) -> Message {
        self.try_ask(request)
            .unwrap_or_else(|e| panic!("{e}, asked: {request:?}"))
    }

    pub fn try_ask(&mut self, request: &str) -> io::Result<Message> {
        self.write(request.as_bytes())?;
        self.read()
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to_head = bytes.starts_with(b"HEAD ");
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads one response; an error when the peer closes first.
    pub fn read(&mut self) -> io::Result<Message> {
        self.read_answer(self.to_head)
    }

    /// As `read`, for requests that were written in pieces: `to_head` says what was asked.
    pub fn read_answer(&mut self, to_head: bool) -> io::Result<Message> {
        Message::read_response(&mut self.stream, to_head)?
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// True once the peer has closed; panics when bytes come instead, or nothing for 30 seconds.
    #[track_caller]
    pub fn closed(&mut self) -> bool {
        match Message::read_response(&mut self.stream, false) {
            Ok(None) => true,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
            Ok(Some(message)) => panic!("expected a closed connection, got {:?}", message.first),
            Err(e) => panic!("expected a closed connection, got {e}"),
        }
    }

    /// How many bytes have come, without waiting for any; an error when the peer has closed.
    pub fn pending(&self) -> io::Result<usize> {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0; 1]);
        stream.set_nonblocking(false)?;
        match seen {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// One GET on a connection of its own, with the address as Host.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Message {
    send(address, &format!("GET {path} HTTP/1.1\nhost: {address}"))
}

/// One request, as text with `\n` line ends, on a connection of its own. An empty line is added when the text has none.
#[track_caller]
pub fn send(address: SocketAddr, request: &str) -> Message {
    let text = if request.contains("\n\n") {
        request.to_owned()
    } else {
        format!("{}\n\n", request.trim_end())
    };
    Client::connect(address).ask(&text.replace('\n', "\r\n"))
}

/// Runs curl and answers what it wrote to standard output; panics when it fails.
#[track_caller]
pub fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ])
        .args(arguments)
        .output()
        .expect("curl is installed; tests/run sees to it");
    assert!(
        output.status.success(),
        "curl {}: {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
