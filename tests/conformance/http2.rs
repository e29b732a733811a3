//! The same tables over HTTP/2: what HTTP/1.1 may not say reaches no server when a client says it in frames either. How it is refused
//! (a status, a reset, the connection's end) is HTTP/2's own, and `e2e/http2/strict` tells it case by case.

use std::fmt::Write;

use tidegate_tests::{Origin, Proxy, python, reply, site};

use crate::case::Refused;

/// The h2 crate cuts a fragment off before anybody sees it.
const OTHERWISE: &[&str] = &["target: #", "target: /a#b"];

/// Bytes of a head; longer ones have tests of their own.
const LONGEST: usize = 20_000;

const SCRIPT: &str = r#"
import sys
from frames import *
text = lambda hex: bytes.fromhex(hex[1:])
for line in open(sys.argv[2]):
    method, path, authority, *fields = line.split()
    head = [(b":method", text(method)), (b":scheme", b"http"), (b":path", text(path))]
    head += [(b":authority", text(authority))] if authority != "-" else []
    head += [tuple(map(text, field.split(":"))) for field in fields]
    c = Client(sys.argv[1])
    c.send(c.headers(1, head))
    said = c.whole(1)
    say(said.status if isinstance(said, Answer) and said.reset is None else said)
    c.socket.close()
"#;

/// Panics with every case that was not refused.
pub fn run(cases: &[Refused]) {
    let origin = Origin::recorded("origin", |_, stream| reply(stream, 200, &[], ""));
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let tried: Vec<_> = cases
        .iter()
        .filter(|case| case.sent.len() <= LONGEST && !OTHERWISE.contains(&&*case.what))
        .filter_map(|case| Some((&case.what, in_frames(&case.sent)?)))
        .collect();
    assert!(
        tried.len() > cases.len() / 2,
        "{} of {}",
        tried.len(),
        cases.len()
    );
    let lines: String = tried.iter().map(|(_, line)| line.as_str()).collect();
    proxy.write_file("cases", lines);
    let (address, file) = (proxy.address("web").to_string(), proxy.path().join("cases"));
    let said = python(SCRIPT, &[&address, &file.display().to_string()]);
    let wrong: Vec<_> = tried
        .iter()
        .zip(said.lines())
        .filter(|(_, said)| !is_refusal(said))
        .map(|((what, _), said)| format!("{what}: {said}"))
        .collect();
    assert_eq!(said.lines().count(), tried.len());
    let heard = origin.recording().since(&Default::default());
    assert!(
        wrong.is_empty() && heard.is_empty(),
        "{}\n{heard:?}",
        wrong.join("\n")
    );
}

fn is_refusal(said: &str) -> bool {
    said.starts_with('4') || said == "reset 1" || said == "goaway 1"
}

/// A head of HTTP/1.1 as the script reads it. None: it has no such request line, or a line that is no field.
fn in_frames(sent: &[u8]) -> Option<String> {
    let end = sent.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = &sent[..end];
    let mut lines = split(head, b"\r\n").into_iter();
    let line = split(lines.next()?, b" ");
    let [method, target, b"HTTP/1.1"] = line[..] else {
        return None;
    };
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        fields.push((name.to_ascii_lowercase(), value));
    }
    let hosts: Vec<_> = fields.iter().filter(|(name, _)| name == b"host").collect();
    let authority = match hosts[..] {
        [(_, host)] => hex(host),
        _ => "-".to_owned(),
    };
    let mut out = format!("{} {} {authority}", hex(method), hex(target));
    let one = authority != "-";
    for (name, value) in fields.iter().filter(|(name, _)| !one || name != b"host") {
        write!(out, " {}:{}", hex(name), hex(value)).expect("memory is enough");
    }
    Some(out + "\n")
}

fn split<'a>(bytes: &'a [u8], by: &[u8]) -> Vec<&'a [u8]> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    while let Some(at) = bytes[begin..].windows(by.len()).position(|part| part == by) {
        parts.push(&bytes[begin..begin + at]);
        begin += at + by.len();
    }
    parts.push(&bytes[begin..]);
    parts
}

/// An `x` before it, so that nothing is a word too.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("x".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory is enough");
        text
    })
}
