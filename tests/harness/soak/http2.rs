//! Clients of HTTP/2: a few streams at a time, a few rounds, then another connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request};
use tokio::net::TcpStream;

use super::clients::{PATHS, Turn, body};
use super::site::BIG;

/// Of streams on one connection.
const ROUNDS: usize = 10;

const PATIENCE: Duration = Duration::from_secs(30);

pub fn client(mut turn: Turn) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut paths = PATHS.iter().cycle();
    while turn.comes() {
        let began = Instant::now();
        let connected = runtime.block_on(in_time(connect(&turn)));
        let sender = match connected {
            Ok(sender) => sender,
            Err(words) => {
                turn.ledger.note("http2", began, Err(words));
                continue;
            }
        };
        for _ in 0..ROUNDS {
            let mut next = || ask(&turn, &sender, paths.next().expect("a circle"));
            let (first, second, third) = (next(), next(), next());
            let fine = runtime.block_on(async { tokio::join!(first, second, third) });
            if fine != (true, true, true) || !turn.comes() {
                break;
            }
        }
        // Its driver ends with it, as soon as it is looked at.
        drop(sender);
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
}

async fn connect(turn: &Turn) -> Result<SendRequest<Bytes>, String> {
    let socket = TcpStream::connect(turn.targets.web).await;
    let socket = socket.map_err(|e| format!("connect: {e}"))?;
    let handshake = h2::client::handshake(socket).await;
    let (sender, connection) = handshake.map_err(|e| format!("handshake: {e}"))?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(turn: &Turn, sender: &SendRequest<Bytes>, path: &str) -> bool {
    let began = Instant::now();
    let result = in_time(exchange(sender.clone(), path)).await;
    let result = result.map_err(|words| format!("{path}: {words}"));
    let fine = result.is_ok();
    turn.ledger.note("http2", began, result);
    fine
}

async fn exchange(sender: SendRequest<Bytes>, path: &str) -> Result<(), String> {
    let posted = (path == "POST").then(|| Bytes::from(body()));
    let mut sender = sender.ready().await.map_err(words)?;
    let (method, path) = match &posted {
        Some(_) => (Method::POST, "/echo"),
        None => (Method::GET, path),
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://site.example{path}"))
        .body(())
        .map_err(|e| e.to_string())?;
    let sent = sender.send_request(request, posted.is_none());
    let (answer, mut out) = sent.map_err(words)?;
    if let Some(body) = posted.clone() {
        out.send_data(body, true).map_err(words)?;
    }
    let answer = answer.await.map_err(words)?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut got = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(words)?;
        got.extend_from_slice(&data);
        let _ = body.flow_control().release_capacity(data.len());
    }
    let whole = match (&posted, path) {
        (Some(posted), _) => got == *posted,
        (None, "/big") => got.len() == BIG,
        _ => !got.is_empty(),
    };
    match (status.as_u16(), whole) {
        (200, true) => Ok(()),
        (200, false) => Err(format!("{} bytes", got.len())),
        _ => Err(format!("{status} {}", String::from_utf8_lossy(&got))),
    }
}

fn words(error: h2::Error) -> String {
    error.to_string()
}

async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| Err(format!("nothing within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(late)
}
