//! What HTTP/2 may not carry to a server of HTTP/1.1 (RFC 9113, 8.2 to 8.3 and 10.3): each attempt is sent in raw frames, and what the
//! origin was sent is looked at byte by byte.

use tidegate_tests::{Origin, Proxy, reply, site};

use super::frames;

/// One request in raw frames each: `c.send(...)`, and what becomes of it.
const REFUSED: &[(&str, &str)] = &[
    ("fields=[('connection', 'close')]", "reset 1"),
    ("fields=[('transfer-encoding', 'chunked')]", "reset 1"),
    ("fields=[('upgrade', 'websocket')]", "reset 1"),
    ("fields=[('keep-alive', '5')]", "reset 1"),
    ("fields=[('proxy-connection', 'x')]", "reset 1"),
    ("fields=[('te', 'gzip')]", "reset 1"),
    ("fields=[('content-length', '5')]", "reset 1"),
    (
        "fields=[('content-length', '1'), ('content-length', '2')]",
        "400",
    ),
    ("fields=[('x', ' a')]", "400"),
    ("fields=[('content_length', '1')]", "400"),
    ("fields=[('host', 'other')]", "400"),
    ("fields=[('host', 'h'), ('host', 'h')]", "400"),
    ("authority=None", "400"),
    ("authority='a b'", "reset 1"),
    ("authority='u@h'", "400"),
    ("authority='a,b'", "400"),
    ("path='/a b'", "reset 1"),
    ("path='x'", "400"),
    ("path='http://other/'", "400"),
    ("path='*'", "400"),
    ("path=''", "400"),
    ("method='get'", "400"),
    ("method='G T'", "reset 1"),
    ("method='CONNECT'", "reset 1"),
    ("fields=[('expect', 'x')]", "417"),
    ("fields=[('x', 'a')] * 101", "431"),
    ("fields=[('x', 'a' * 40000)]", "431"),
    // Nothing that could end a line.
    ("fields=[('x', 'a\\r\\nx-b: c')]", "reset 1"),
    ("fields=[('x', 'a\\nb')]", "reset 1"),
    ("fields=[('x', 'a\\0')]", "reset 1"),
    ("fields=[('X-Upper', 'a')]", "reset 1"),
    ("fields=[('x\\r\\ny', 'a')]", "reset 1"),
    ("fields=[('x:', 'a')]", "reset 1"),
    ("fields=[('x y', 'a')]", "reset 1"),
    ("fields=[('', 'a')]", "reset 1"),
    ("fields=[(':path', '/again')]", "reset 1"),
    ("fields=[('x', 'a'), (':method', 'PUT')]", "reset 1"),
    ("fields=[(':other', 'a')]", "reset 1"),
    ("path='/a\\r\\nx-b: c'", "reset 1"),
];

#[test]
fn what_it_may_not_say_reaches_no_server() {
    let origin = Origin::recorded("a", |_, stream| reply(stream, 200, &[], "a"));
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let cases: Vec<_> = REFUSED.iter().map(|(request, _)| *request).collect();
    let script = format!(
        "cases = {cases:?}\nfor case in cases:\n    c = Client(sys.argv[1])\n    eval('c.request(1, ' + case + ')')\n    \
         said = c.whole(1)\n    say(said.status if isinstance(said, Answer) and said.reset is None else said)"
    );
    let said = frames(&proxy, &script);
    let said: Vec<_> = said.lines().collect();
    let mut wrong = Vec::new();
    for ((request, expected), said) in REFUSED.iter().zip(&said) {
        if expected != said {
            wrong.push(format!("{request}: expected {expected}, got {said}"));
        }
    }
    assert_eq!(said.len(), REFUSED.len());
    let heard = origin.recording().since(&Default::default());
    assert!(
        wrong.is_empty() && heard.is_empty(),
        "{}\n{heard:?}",
        wrong.join("\n")
    );
}

#[test]
fn a_body_is_as_long_as_was_said() {
    let origin = Origin::recorded("a", |_, stream| reply(stream, 200, &[], "a"));
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "c.request(1, 'POST', '/long', fields=[('content-length', '3')], end=False)\nc.data(1, b'four')\nsay(c.whole(1))\n\
         c.request(3, 'POST', '/short', fields=[('content-length', '9')], end=False)\nc.data(3, b'four')\nsay(c.whole(3))\n\
         c.request(5, 'POST', '/right', fields=[('content-length', '4')], end=False)\nc.data(5, b'four')\nsay(c.whole(5))",
    );
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said[0], "reset 1", "more than it said");
    assert_eq!(said[1], "reset 1", "less than it said");
    assert_eq!(said[2], "200 a");
    let served: Vec<_> = origin
        .requests()
        .iter()
        .map(|r| r.target().to_owned())
        .collect();
    assert!(!served.contains(&"/long".into()), "{served:?}");
}

#[test]
fn fields_arrive_as_http_1_has_them() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    frames(
        &proxy,
        "c.request(1, path='/p?q', authority='Shop.example:81', fields=[('cookie', 'a=1'), ('x-a', '1'), ('cookie', 'b=2'), \
         ('te', 'trailers'), ('x-forwarded-for', '6.6.6.6'), ('host', 'shop.example:81')])\nsay(c.whole(1))",
    );
    let request = origin.last();
    assert_eq!(request.first, "GET /p?q HTTP/1.1");
    assert_eq!(request.all("host"), ["Shop.example:81"]);
    assert_eq!(request.all("cookie"), ["a=1; b=2"]);
    assert_eq!(request.all("te"), ["trailers"]);
    assert_eq!(request.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.header("x-a"), Some("1"));
    assert_eq!(request.header("content-length"), None);
    assert_eq!(request.header("transfer-encoding"), None);
}

#[test]
fn what_is_refused_is_logged_by_the_same_words() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let script = "for case in [{'authority': None}, {'fields': [('host', 'other')]}, {'fields': [('x', 'a' * 40000)]}]:\n    \
                  c = Client(sys.argv[1])\n    c.request(1, **case)\n    c.whole(1)";
    frames(&proxy, script);
    let mut words: Vec<_> = proxy
        .access_log(3)
        .iter()
        .map(|line| line["fault"].clone())
        .collect();
    words.sort_by_key(ToString::to_string);
    assert_eq!(words, ["host-differs", "no-host", "request-head-too-large"]);
}
