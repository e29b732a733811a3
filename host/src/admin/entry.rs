//! The admin's Unix socket. Two kinds of clients come there: `tidegate ctl`, which speaks the admin port's HTTP, and those who have
//! HAProxy's runtime commands at hand (`echo "show stat" | socat stdio unix-connect:PATH`). Their first bytes tell them apart: a
//! request begins with a method in capitals, and no command does. After `prompt` a connection takes one line of commands after the
//! other, as HAProxy's does: hatop speaks so.
//!
//! Who can open the socket may change everything: its file's permissions are the guard, and no web page reaches it.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::socket::{Connection, Permits, Who};
use super::{Proxy, words};
use crate::net::accept::{self, Outage};

/// Bytes of a line of commands (HAProxy's `tune.bufsize`).
const LONGEST_LINE: usize = 16 << 10;

const METHODS: [&[u8]; 7] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
];

/// Accepts for ever; connections that speak HTTP go to `http`.
pub async fn accept(
    mut socket: UnixListener,
    proxy: Arc<dyn Proxy>,
    http: mpsc::Sender<(Connection, Who)>,
) {
    let (permits, mut outage) = (Permits::new(), Outage::default());
    loop {
        let permit = permits.one().await;
        let stream = accept::next(&mut socket, "admin socket", &mut outage).await;
        let who = who(&stream);
        let connection = Connection::new(stream, permit);
        let (proxy, http) = (proxy.clone(), http.clone());
        tokio::spawn(async move {
            // It went away: there is nobody to tell.
            let _ = attend(connection, who, &*proxy, http).await;
        });
    }
}

fn who(stream: &UnixStream) -> Who {
    let told = stream.peer_cred().map(|peer| {
        let process = peer.pid();
        let process = process.map_or(String::new(), |id| format!(", process {id}"));
        format!("admin socket, user {}{process}", peer.uid())
    });
    Who(told.unwrap_or_else(|_| "admin socket".to_owned()))
}

async fn attend(
    mut connection: Connection,
    who: Who,
    proxy: &dyn Proxy,
    http: mpsc::Sender<(Connection, Who)>,
) -> io::Result<()> {
    let mut begun = Vec::new();
    let is_http = loop {
        if let Some(known) = is_http(&begun) {
            break known;
        }
        if connection.read_buf(&mut begun).await? == 0 {
            break false;
        }
    };
    if is_http {
        connection.put_back(begun);
        // The surface is being stopped.
        let _ = http.send((connection, who)).await;
        return Ok(());
    }
    let mut asks_for_more = false;
    loop {
        let Some(line) = line(&mut connection, &mut begun).await? else {
            return connection.write_all(b"The line is too long.\n\n").await;
        };
        if asks_for_more && (line.is_over || line.is("quit")) {
            break;
        }
        let prompt = line.is("prompt");
        let mut answer = match asks_for_more && line.is("") {
            true => String::new(),
            false => words::answer(proxy, &line.text, &who.0).await,
        };
        asks_for_more ^= prompt;
        if asks_for_more {
            answer += "> ";
        }
        connection.write_all(answer.as_bytes()).await?;
        if !asks_for_more {
            break;
        }
    }
    connection.shutdown().await
}

/// None: more is to be read.
fn is_http(begun: &[u8]) -> Option<bool> {
    if METHODS.iter().any(|method| begun.starts_with(method)) {
        return Some(true);
    }
    let may_be = METHODS.iter().any(|method| method.starts_with(begun));
    (!may_be).then_some(false)
}

/// A line of commands.
struct Line {
    text: String,
    /// The client has said all, and this was nothing.
    is_over: bool,
}

impl Line {
    fn is(&self, command: &str) -> bool {
        self.text.trim() == command
    }
}

/// The next line, or what there is of it when the client has said all. What comes behind it stays in `begun`. None: it is too long.
async fn line(connection: &mut Connection, begun: &mut Vec<u8>) -> io::Result<Option<Line>> {
    loop {
        let end = begun.iter().position(|byte| *byte == b'\n');
        if end.unwrap_or(begun.len()) > LONGEST_LINE {
            return Ok(None);
        }
        if end.is_some() || connection.read_buf(begun).await? == 0 {
            let rest = begun.split_off(end.map_or(begun.len(), |end| end + 1));
            let line = std::mem::replace(begun, rest);
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches('\n')
                .to_owned();
            return Ok(Some(Line {
                text,
                is_over: line.is_empty(),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_its_method() {
        assert_eq!(is_http(b"GET / HTTP/1.1"), Some(true));
        assert_eq!(is_http(b"DELETE /x"), Some(true));
        assert_eq!(is_http(b"PAT"), None, "it may become PATCH");
        assert_eq!(is_http(b""), None);
        for command in [
            "show stat",
            "s",
            "SHOW INFO",
            "PATCHES",
            "\n",
            "get weight a/b",
        ] {
            assert_eq!(is_http(command.as_bytes()), Some(false), "{command}");
        }
    }
}
