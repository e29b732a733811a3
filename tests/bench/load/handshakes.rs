//! A full TLS handshake a request: wrk would resume sessions. So many clients at a time, each of which connects, asks once,
//! reads the answer and closes.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_tests::{Authority, try_tls_connect};

use super::answer::Answer;
use super::request;
use super::wrk::Load;
use crate::contestant::HOST;
use crate::machine;

pub struct Plan<'a> {
    pub port: u16,
    /// Whose certificate the proxy has.
    pub authority: &'a Authority,
    pub path: &'a str,
    pub clients: u32,
    pub seconds: u32,
    pub cpu: usize,
}

pub fn run(plan: &Plan<'_>) -> Result<Load, String> {
    let end = Instant::now() + Duration::from_secs(u64::from(plan.seconds));
    let client = || -> Result<Load, String> {
        machine::pin(plan.cpu)?;
        let (mut requests, mut failures) = (0, 0);
        while Instant::now() < end {
            match once(plan) {
                Ok(()) => requests += 1,
                Err(_) => failures += 1,
            }
        }
        Ok(Load { requests, failures })
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients).map(|_| scope.spawn(client)).collect();
        let mut all = Load {
            requests: 0,
            failures: 0,
        };
        for client in clients {
            let load = client.join().expect("the load does not panic")?;
            all.requests += load.requests;
            all.failures += load.failures;
        }
        match all.requests {
            0 => Err("no handshake came to a request".to_owned()),
            _ => Ok(all),
        }
    })
}

fn once(plan: &Plan<'_>) -> io::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], plan.port));
    // Each has a configuration of its own, and so no session of another.
    let mut stream = try_tls_connect(address, plan.authority, HOST)?;
    stream.write_all(request(plan.port, plan.path).as_bytes())?;
    let (mut answer, mut buffer) = (Answer::default(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if answer.take(&buffer[..read]).map_err(io::Error::other)? {
            stream.conn.send_close_notify();
            return stream.flush();
        }
    }
}
