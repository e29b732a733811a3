//! Connections that are held open, each having made one request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::answer::Answer;
use super::request;

/// One after the other.
pub fn in_turn(port: u16, connections: u32) -> Result<Vec<TcpStream>, String> {
    let one = |_| {
        let mut stream = connect(port)?;
        ask(&mut stream, port).map(|()| stream)
    };
    (0..connections).map(one).collect()
}

/// All connected before the first of them asks, as after a restart or a failover.
pub fn at_once(port: u16, connections: u32) -> Result<Vec<TcpStream>, String> {
    let mut streams = (0..connections)
        .map(|_| connect(port))
        .collect::<Result<Vec<_>, _>>()?;
    for stream in &mut streams {
        ask(stream, port)?;
    }
    Ok(streams)
}

fn connect(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect(("127.0.0.1", port))
        .and_then(|stream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        })
        .map_err(|e| format!("a connection to be held: {e}"))
}

const PATIENCE: Duration = Duration::from_secs(10);

fn ask(stream: &mut TcpStream, port: u16) -> Result<(), String> {
    let failed = |e| format!("a held connection: {e}");
    stream
        .write_all(request(port, "/1k").as_bytes())
        .map_err(failed)?;
    let (mut answer, mut buffer) = (Answer::default(), [0; 4096]);
    loop {
        match stream.read(&mut buffer).map_err(failed)? {
            0 => return Err("a held connection was closed".into()),
            n if answer.take(&buffer[..n])? => return Ok(()),
            _ => {}
        }
    }
}
