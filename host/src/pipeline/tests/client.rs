//! A client that writes and reads bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
}

/// A response's head as text, and its body.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).await.unwrap())
    }

    pub fn over(socket: TcpStream) -> Client {
        socket.set_nodelay(true).unwrap();
        Client {
            socket,
            buffer: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(
            "the proxy to take bytes",
            self.socket.write_all(bytes.as_ref()),
        )
        .await
        .unwrap();
    }

    /// Bytes that were read and not looked at yet.
    pub fn at_hand(&self) -> usize {
        self.buffer.len()
    }

    /// GET on a kept connection.
    pub async fn get(&mut self, path: &str) -> Got {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: example.com\r\n\r\n"))
            .await;
        self.response().await
    }

    pub async fn head(&mut self) -> String {
        match self.next_head().await {
            Some(head) => head,
            None => panic!("the connection ended within a head: {:?}", self.so_far()),
        }
    }

    /// None: the connection has ended.
    pub async fn next_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                let rest = self.buffer.split_off(at + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// A response with Content-Length, without a body, or in one piece until the end of the connection.
    pub async fn response(&mut self) -> Got {
        let head = self.head().await;
        let status: u16 = head[9..12].parse().unwrap();
        let length = field(&head, "content-length").map(|v| v.parse().unwrap());
        let chunked = field(&head, "transfer-encoding").as_deref() == Some("chunked");
        let body = match length {
            _ if status == 204 || status == 304 || status < 200 => Vec::new(),
            Some(length) => self.exactly(length).await,
            None if chunked => self.chunks().await,
            None => self.rest().await,
        };
        Got { status, head, body }
    }

    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(
                self.more().await,
                "the connection ended within a body: {:?}",
                self.so_far()
            );
        }
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// One chunk; empty: the last, without its trailers.
    pub async fn chunk(&mut self) -> Vec<u8> {
        let size = self.line().await;
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            return Vec::new();
        }
        let mut data = self.exactly(size + 2).await;
        data.truncate(size);
        data
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                while self.line().await != "\r\n" {}
                return all;
            }
            all.extend(chunk);
        }
    }

    pub async fn line(&mut self) -> String {
        loop {
            if let Some(at) = find(&self.buffer, b"\r\n") {
                let rest = self.buffer.split_off(at + 2);
                return String::from_utf8(std::mem::replace(&mut self.buffer, rest)).unwrap();
            }
            assert!(
                self.more().await,
                "the connection ended within a line: {:?}",
                self.so_far()
            );
        }
    }

    /// Everything up to the end of the connection, however that comes.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the connection has ended in order, or with a reset.
    pub async fn ends_cleanly(&mut self) -> bool {
        let mut byte = [0];
        matches!(
            within("the connection to end", self.socket.read(&mut byte)).await,
            Ok(0)
        )
    }

    async fn more(&mut self) -> bool {
        matches!(
            within(
                "bytes from the proxy",
                self.socket.read_buf(&mut self.buffer)
            )
            .await,
            Ok(1..)
        )
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

impl Got {
    pub fn field(&self, name: &str) -> Option<String> {
        field(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// The first field of that name in a head's text.
pub fn field(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
