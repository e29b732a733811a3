//! `GET /api/v1/tap`: requests as they end, an object a line, for as long as somebody reads.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep, sleep_until};

use crate::control::Status;
use crate::observe::tap::{Asked, MOST_TAPS, Reader, Terms, is_plugin};

use super::Proxy;
use super::answer::Refusal;

/// An empty line after so much silence: a reader that has gone is noticed as it is written.
const BEAT: Duration = Duration::from_secs(10);
/// Lines that wait are sent together, up to about so many bytes.
const PIECE: usize = 32 << 10;

pub fn answer(proxy: &dyn Proxy, asked: &[(String, String)]) -> Result<Response, Refusal> {
    let bad = |why| Refusal::new(StatusCode::BAD_REQUEST, why);
    let Asked {
        terms,
        limit,
        at_most,
    } = Asked::parse(asked).map_err(bad)?;
    known(&terms, &proxy.status()).map_err(bad)?;
    let reader = proxy.tap(terms).ok_or_else(|| {
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{MOST_TAPS} taps are open already; end one of them first"),
        )
    })?;
    let following = Following {
        reader,
        left: limit,
        until: at_most.map(|time| Instant::now() + time),
        begun: false,
        beat: BEAT,
    };
    let pieces = unfold(Some(following), |following| async move {
        following?.piece().await
    });
    let kind = (header::CONTENT_TYPE, "application/x-ndjson");
    Ok(([kind], Body::from_stream(pieces)).into_response())
}

/// A name that there is not is a slip that would show in nothing but silence.
fn known(terms: &Terms, status: &Status) -> Result<(), String> {
    let names = status.listeners.iter().map(|one| one.name.as_str());
    all_of("listener", &terms.listeners, names.collect())?;
    let names = status.routes.iter().map(|one| one.name.as_str());
    all_of("route", &terms.routes, names.collect())?;
    let names: Vec<_> = status.pools.iter().map(|one| one.name.as_str()).collect();
    all_of("pool", &terms.pools, names.clone())?;
    let of_servers = terms
        .servers
        .iter()
        .filter_map(|server| server.pool.clone());
    all_of("pool", &of_servers.collect::<Vec<_>>(), names)?;
    let names = status.plugins.iter().map(|one| one.name.as_str());
    all_by("plugin", &terms.plugins, names.collect(), is_plugin)
}

fn all_of(kind: &str, wanted: &[String], known: Vec<&str>) -> Result<(), String> {
    all_by(kind, wanted, known, |wanted, name| wanted == name)
}

fn all_by(
    kind: &str,
    wanted: &[String],
    known: Vec<&str>,
    is: impl Fn(&str, &str) -> bool,
) -> Result<(), String> {
    let unknown = |name: &&String| !known.iter().any(|known| is(name, known));
    match wanted.iter().find(unknown) {
        None => Ok(()),
        Some(name) => Err(format!(
            "{kind}: there is no {kind} {name:?}; there are: {}",
            known.join(", ")
        )),
    }
}

/// A stream on its way.
struct Following {
    reader: Reader,
    /// Requests that are still wanted.
    left: Option<u64>,
    until: Option<Instant>,
    begun: bool,
    beat: Duration,
}

enum Came {
    Line(Bytes),
    Nothing,
    /// It was to go on for so long.
    Over,
    /// The process ends.
    Gone,
}

impl Following {
    /// What is to be sent next, and what comes after it.
    async fn piece(mut self) -> Option<(io::Result<Vec<u8>>, Option<Following>)> {
        // So that whoever asks knows at once that it is heard.
        if !self.begun {
            self.begun = true;
            return Some((Ok(b"\n".to_vec()), Some(self)));
        }
        if self.left == Some(0) {
            return None;
        }
        let mut piece = Vec::new();
        match self.wait().await {
            Came::Line(line) => {
                self.take(&mut piece, &line);
                while piece.len() < PIECE
                    && self.left != Some(0)
                    && let Some(line) = self.reader.more()
                {
                    self.take(&mut piece, &line);
                }
            }
            Came::Nothing => {}
            Came::Over => self.left = Some(0),
            Came::Gone => {
                let end = io::Error::other("the proxy ends");
                return Some((Err(end), None));
            }
        }
        match self.reader.dropped() {
            0 => {}
            dropped => piece.extend_from_slice(format!("{{\"dropped\":{dropped}}}\n").as_bytes()),
        }
        if piece.is_empty() {
            piece.push(b'\n');
        }
        Some((Ok(piece), Some(self)))
    }

    async fn wait(&mut self) -> Came {
        let (until, beat) = (self.until, self.beat);
        let over = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What is there goes before the end.
            biased;
            line = self.reader.next() => line.map_or(Came::Gone, Came::Line),
            () = over => Came::Over,
            () = sleep(beat) => Came::Nothing,
        }
    }

    fn take(&mut self, piece: &mut Vec<u8>, line: &[u8]) {
        piece.extend_from_slice(line);
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::observe::tap::Taps;

    use super::*;

    /// Of all that comes until then, in that time.
    fn following(taps: &Arc<Taps>, beat: u64, until: Option<u64>) -> Following {
        let in_ms = |ms| Instant::now() + Duration::from_millis(ms);
        Following {
            reader: taps.open(Terms::default()).unwrap(),
            left: None,
            until: until.map(in_ms),
            begun: false,
            beat: Duration::from_millis(beat),
        }
    }

    #[tokio::test]
    async fn silence_is_broken_by_empty_lines_until_it_is_over() {
        let taps = Arc::<Taps>::default();
        let mut next = Some(following(&taps, 1, Some(50)));
        let mut pieces = 0;
        while let Some(now) = next.take() {
            let Some((piece, then)) = now.piece().await else {
                break;
            };
            assert_eq!(piece.unwrap(), b"\n");
            pieces += 1;
            next = then;
        }
        assert!(pieces > 2, "{pieces}");
        assert!(!taps.followed().now(), "its reader is gone");
    }

    #[tokio::test]
    async fn the_processs_end_breaks_it_off() {
        let taps = Arc::<Taps>::default();
        let (_, begun) = following(&taps, 60_000, None).piece().await.unwrap();
        taps.close();
        let (end, then) = begun.unwrap().piece().await.unwrap();
        assert!(end.is_err() && then.is_none(), "no clean end");
    }
}
