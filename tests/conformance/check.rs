//! What must come of a case: what the client sees, and which bytes the origin got.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tidegate_tests::{Client, Heard, Mark, Message, within};

use crate::case::{Accepted, Answer, Broken, Refused, Seen};
use crate::pieces::Manner;
use crate::site::Site;

/// Stands before a case on its connection.
pub const FIRST: &[u8] = b"GET /first HTTP/1.1\r\nHost: good\r\n\r\n";

type Found = Result<(), String>;

/// Alone, not one byte of it has come to the origin; behind a good request, that request has.
pub fn refused(site: &mut Site, case: &Refused, send: Manner<'_>) -> Found {
    for before in [&b""[..], FIRST] {
        let mark = site.origin.recording().mark();
        let mut client = begin(site, before, &case.sent, send)?;
        site.expect(&client, case.status, Some(case.word));
        expect_page(&mut client, case.status)?;
        let heard = site.origin.recording().since(&mark);
        same("the origin got", before, &without_ours(&all(&heard)))?;
    }
    Ok(())
}

/// The origin may have got a part of it, but never a whole request, nor what stands behind it.
pub fn broken(site: &mut Site, case: &Broken, send: Manner<'_>) -> Found {
    for before in [&b""[..], FIRST] {
        let mark = site.origin.recording().mark();
        let mut client = begin(site, before, &case.sent, send)?;
        site.expect(&client, 400, Some("request-body-broken"));
        expect_page(&mut client, 400)?;
        let heard = ended(site, &mark);
        let whole = without_ours(&whole_requests(&heard));
        same("whole requests at the origin", before, &whole)?;
    }
    Ok(())
}

/// What arrives is compared as `read` has it; each request is answered in its turn.
pub fn accepted(
    site: &mut Site,
    case: &Accepted,
    send: Manner<'_>,
    read: fn(&[u8]) -> Vec<u8>,
) -> Found {
    let mark = site.origin.recording().mark();
    let mut client = begin(site, b"", &case.sent, send)?;
    let to_head = case.sent.starts_with(b"HEAD ");
    for request in requests(&case.arrives) {
        site.expect(&client, 200, None);
        let answer = client.read_answer(to_head).map_err(text)?;
        same("status", b"200", answer.status().to_string().as_bytes())?;
        let body = if to_head { "" } else { request.target() };
        same("body", body.as_bytes(), &answer.body)?;
    }
    let heard = site.origin.recording().since(&mark);
    same(
        "the origin got",
        &read(&placed(&case.arrives, site)),
        &read(&without_ours(&all(&heard))),
    )
}

/// The client sees what it should, and so does the next one.
pub fn answer(site: &mut Site, case: &Answer, in_pieces: bool) -> Found {
    let mark = site.origin.recording().mark();
    site.script(&case.sent, in_pieces, case.closes);
    let mut client = Client::connect(site.address());
    client.write(&case.request).map_err(text)?;
    let to_head = case.request.starts_with(b"HEAD ");
    let got = client.read_answer(to_head);
    match &case.seen {
        Seen::Bad => {
            site.expect(&client, 502, Some("bad-response"));
            same(
                "status",
                b"502",
                got.map_err(text)?.status().to_string().as_bytes(),
            )?;
        }
        Seen::Cut => {
            site.expect(&client, 200, Some("server-aborted"));
            if let Ok(whole) = got {
                return Err(format!(
                    "expected a cut, got {:?} and {:?}",
                    whole.first,
                    whole.text()
                ));
            }
        }
        Seen::Whole { status, body, .. } => {
            site.expect(&client, *status, None);
            let got = got.map_err(text)?;
            same(
                "status",
                status.to_string().as_bytes(),
                got.status().to_string().as_bytes(),
            )?;
            same("body", body, &got.body)?;
            // RFC 9110, 8.6: nothing may say that a body follows where there is none.
            let length = got.header("content-length").filter(|_| *status == 204);
            same("length of a 204", b"", length.unwrap_or("").as_bytes())?;
        }
    }
    let kept = matches!(case.seen, Seen::Whole { kept: true, .. });
    expect_next(site, &mark, kept)
}

/// A server that says more once its answer has been taken is not asked again on that connection.
pub fn unasked(site: &mut Site, head: &str, more: &str) -> Found {
    let mark = site.origin.recording().mark();
    site.script(format!("{head}hello").as_bytes(), false, false);
    let mut client = Client::connect(site.address());
    site.expect(&client, 200, None);
    client
        .write(b"GET /case HTTP/1.1\r\nHost: h\r\n\r\n")
        .map_err(text)?;
    same("body", b"hello", &client.read().map_err(text)?.body)?;
    site.say_more(more.as_bytes()).map_err(text)?;
    expect_next(site, &mark, false)
}

/// Another client gets its own answer, on the connection of the case if that was to be `kept`, else on another one.
pub fn expect_next(site: &mut Site, mark: &Mark, kept: bool) -> Found {
    let of_case = last_connection(site, mark);
    let after = site.origin.recording().mark();
    let mut next = Client::connect(site.address());
    site.expect(&next, 200, None);
    next.write(FIRST).map_err(text)?;
    let got = next.read().map_err(text)?;
    same("the next answer", b"/first", &got.body)?;
    match (kept, last_connection(site, &after) == of_case) {
        (true, false) => Err("the connection to the server was not kept".into()),
        (false, true) => Err("the connection to the server was used again".into()),
        _ => Ok(()),
    }
}

/// A connection of its own, on which this was sent, and the request that stands before it answered.
fn begin(site: &mut Site, before: &[u8], sent: &[u8], send: Manner<'_>) -> Result<Client, String> {
    let mut client = Client::connect(site.address());
    send(&mut client, &[before, sent].concat()).map_err(text)?;
    if !before.is_empty() {
        site.expect(&client, 200, None);
        let answer = client.read_answer(false).map_err(text)?;
        same(
            "the first status",
            b"200",
            answer.status().to_string().as_bytes(),
        )?;
    }
    Ok(client)
}

/// A page with this status, and the end of the connection behind it.
fn expect_page(client: &mut Client, status: u16) -> Found {
    let page = client.read_answer(false).map_err(text)?;
    same(
        "status",
        status.to_string().as_bytes(),
        page.status().to_string().as_bytes(),
    )?;
    same(
        "connection",
        b"close",
        page.header("connection").unwrap_or("").as_bytes(),
    )?;
    match client.read_answer(false) {
        Err(e)
            if matches!(
                e.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
            ) =>
        {
            Ok(())
        }
        Err(e) => Err(format!("the connection was not closed: {e}")),
        Ok(more) => Err(format!("another answer came: {:?}", more.first)),
    }
}

/// What came since the mark, once its connections have ended, or as much as has come in two seconds.
fn ended(site: &Site, mark: &Mark) -> Vec<Heard> {
    let since = || site.origin.recording().since(mark);
    let all_ended = || {
        let heard = since();
        (!heard.is_empty() && heard.iter().all(|heard| heard.ended)).then_some(heard)
    };
    within(Duration::from_secs(2), all_ended).unwrap_or_else(since)
}

fn last_connection(site: &Site, mark: &Mark) -> Option<usize> {
    let heard = site.origin.recording().since(mark);
    heard.last().map(|heard| heard.connection)
}

fn all(heard: &[Heard]) -> Vec<u8> {
    heard.iter().flat_map(|heard| heard.bytes.clone()).collect()
}

/// The requests that an origin would have acted on.
fn whole_requests(heard: &[Heard]) -> Vec<u8> {
    let all = heard.iter().flat_map(|heard| requests(&heard.bytes));
    all.flat_map(|request| [request.head, request.body].concat())
        .collect()
}

/// As far as they are whole.
fn requests(mut bytes: &[u8]) -> Vec<Message> {
    std::iter::from_fn(|| Message::read_request(&mut bytes).ok().flatten()).collect()
}

/// Requests, the data of each chunked body in one chunk: how data comes in chunks depends on how it was read.
pub fn in_one_chunk(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while let Ok(Some(request)) = Message::read_request(&mut rest) {
        all.extend_from_slice(&request.head);
        if request.header("transfer-encoding").is_some() {
            all.extend_from_slice(format!("{:x}\r\n", request.body.len()).as_bytes());
        }
        all.extend_from_slice(&request.body);
        all.extend_from_slice(&request.trailers);
    }
    all.extend_from_slice(rest);
    all
}

/// Without the lines that the proxy adds to every request.
fn without_ours(bytes: &[u8]) -> Vec<u8> {
    const OURS: [&[u8]; 5] = [
        b"x-forwarded-for: 127.0.0.1\r\n",
        b"x-real-ip: 127.0.0.1\r\n",
        b"x-forwarded-proto: http\r\n",
        b"x-forwarded-host: ",
        b"x-request-id: ",
    ];
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let theirs = lines.filter(|line| !OURS.iter().any(|ours| line.starts_with(ours)));
    theirs.flatten().copied().collect()
}

/// With the origin's address in its place.
fn placed(arrives: &[u8], site: &Site) -> Vec<u8> {
    const MARK: &[u8] = b"@origin";
    match arrives
        .windows(MARK.len())
        .position(|window| window == MARK)
    {
        Some(at) => {
            let address = site.origin.address().to_string();
            [
                &arrives[..at],
                address.as_bytes(),
                &arrives[at + MARK.len()..],
            ]
            .concat()
        }
        None => arrives.to_vec(),
    }
}

fn same(what: &str, expected: &[u8], found: &[u8]) -> Found {
    if expected == found {
        return Ok(());
    }
    Err(format!(
        "{what}: expected \"{}\", found \"{}\"",
        shown(expected),
        shown(found)
    ))
}

/// The beginning, where it is long.
fn shown(bytes: &[u8]) -> String {
    let begin = &bytes[..bytes.len().min(600)];
    begin.escape_ascii().to_string()
}

fn text(error: io::Error) -> String {
    error.to_string()
}
