//! Proof that a started proxy does what the setup asks of all: a proxy that leaves something out would win by it.

use std::io::{BufReader, Read, Write};

use tidegate_tests::{Client, Message, tls_connect};

use super::origin::SEEN;
use super::{HOST, Program, Proxy, filter_headers};
use crate::scenario::{Logic, Setup};

/// More than the 1,000 after which nginx closes a connection unless it is told otherwise.
const REQUESTS: usize = 1_100;

pub fn of(proxy: &Proxy, setup: &Setup) -> Result<(), String> {
    let address = proxy.running.port().address();
    match proxy.authority() {
        Some(authority) => {
            let mut stream = BufReader::new(tls_connect(address, authority, HOST));
            all(proxy, setup, |path| over(&mut stream, path))
        }
        None => {
            let mut client = Client::try_connect(address).map_err(|e| e.to_string())?;
            all(proxy, setup, |path| {
                let answer = client.try_ask(&request(path)).map_err(|e| e.to_string())?;
                good(path, answer)
            })
        }
    }
}

fn all(
    proxy: &Proxy,
    setup: &Setup,
    mut ask: impl FnMut(&str) -> Result<Message, String>,
) -> Result<(), String> {
    let seen = ask(SEEN)?.text();
    let lacking: Vec<String> = expected(setup, proxy.program)
        .into_iter()
        .filter(|line| !has(&seen, line))
        .collect();
    if !lacking.is_empty() {
        return Err(format!("the server was not told {lacking:?}, but:\n{seen}"));
    }
    for number in 1..=REQUESTS {
        let answer =
            ask("/1k").map_err(|words| format!("request {number} on one connection: {words}"))?;
        if answer.body.len() != 1024 {
            return Err(format!("1,024 bytes became {}", answer.body.len()));
        }
    }
    Ok(())
}

fn over<S: Read + Write>(stream: &mut BufReader<S>, path: &str) -> Result<Message, String> {
    let asked = stream.get_mut().write_all(request(path).as_bytes());
    asked.map_err(|e| e.to_string())?;
    let answer = Message::read_response(stream, false).map_err(|e| e.to_string())?;
    good(path, answer.ok_or("the connection was closed")?)
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\nx-tenant: beta\r\n\r\n")
}

fn good(path: &str, answer: Message) -> Result<Message, String> {
    match answer.status() {
        200 => Ok(answer),
        status => Err(format!("{path} got {status}")),
    }
}

/// Lines as the origin says them; one that ends in `=` may have any value.
fn expected(setup: &Setup, program: Program) -> Vec<String> {
    let mut lines = vec!["host=bench.example".to_owned()];
    if setup.tcp {
        return lines;
    }
    lines.push("x-forwarded-for=127.0.0.1".to_owned());
    if setup.peers_tell_all || program == Program::Tidegate {
        lines.extend(
            [
                if setup.tls {
                    "x-forwarded-proto=https"
                } else {
                    "x-forwarded-proto=http"
                },
                "x-forwarded-host=bench.example",
                "x-real-ip=127.0.0.1",
                "x-request-id=",
            ]
            .map(str::to_owned),
        );
    }
    for [edge, zone] in (1..=setup.filters).map(filter_headers) {
        lines.extend([format!("{edge}=127.0.0.1"), format!("{zone}=a")]);
    }
    if setup.logic == Logic::Own {
        lines.push("x-pool=beta".to_owned());
    }
    lines
}

fn has(seen: &str, line: &str) -> bool {
    seen.lines().any(|told| {
        if line.ends_with('=') {
            told.len() > line.len() && told.starts_with(line)
        } else {
            told == line
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_compared_and_an_id_must_not_be_empty() {
        let seen = "host=a\nx-request-id=\nx-pool=beta";
        assert!(has(seen, "x-pool=beta"));
        assert!(!has(seen, "x-pool=app"));
        assert!(!has(seen, "x-request-id="));
    }
}
