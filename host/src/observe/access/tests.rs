//! Lines against what HAProxy 2.6.12 and nginx 1.22.1 wrote for such requests (quoted where a test has one), and the way of a
//! line from a worker to its target.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use jiff::tz::{TimeZone, offset};
use serde_json::Value;

use super::date::Dates;
use super::format::{Entry, Formatter};
use super::*;
use crate::base::event::{Captured, RequestEnded, Times};
use crate::config::checked::{AccessField, AccessFormat, AccessTarget, Captures};
use crate::config::problem::Located;
use crate::observe::tests::{request, standard};

/// 2026-11-22T17:31:47.648100Z: the requests of `request()` began 35.1 ms earlier.
const ENDED: Duration = Duration::from_micros(1_795_368_707_648_100);

fn line_in(zone: TimeZone, format: AccessFormat, request: &RequestEnded<'_>) -> String {
    let fields = standard();
    let line = bytes_in(zone, format, &fields, request);
    String::from_utf8(line).expect("a line is UTF-8")
}

fn bytes_in(
    zone: TimeZone,
    format: AccessFormat,
    fields: &[AccessField],
    request: &RequestEnded<'_>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let entry = Entry {
        request,
        ended: ENDED,
        listener_connections: 2,
    };
    let lines = Arc::new(Lines::new(format, fields));
    Formatter::with(lines, Dates::in_zone(format, zone)).line(&mut out, &entry);
    out
}

fn line(format: AccessFormat, request: &RequestEnded<'_>) -> String {
    line_in(TimeZone::UTC, format, request)
}

/// What never became a request.
fn unread() -> RequestEnded<'static> {
    RequestEnded {
        started: false,
        route: None,
        pool: None,
        server: None,
        method: "",
        target: b"",
        host: None,
        version: "",
        user_agent: None,
        status: Some(400),
        bytes_out: 187,
        body_bytes_out: 90,
        attempts: 0,
        times: Times {
            total: Duration::from_millis(100),
            ..Times::default()
        },
        termination: *b"PR",
        fault: Some("bad-request"),
        ..request()
    }
}

#[test]
fn json_tells_all() {
    let reasons: [(Rc<str>, String); 3] = [
        ("router".into(), "path /api".into()),
        ("two-choices".into(), "1 < 3".into()),
        ("router".into(), "again".into()),
    ];
    let notes = [("tenant".to_owned(), "acme".to_owned())];
    let request = RequestEnded {
        reasons: &reasons,
        notes: &notes,
        ..request()
    };
    let expected = concat!(
        r#"{"time":"2026-11-22T17:31:47.613Z","client":"192.0.2.7","client_port":51034,"peer":"192.0.2.7:51034","#,
        r#""listener":"web","route":"api","pool":"app","server":"web1","method":"GET","target":"/api/users?page=2","#,
        r#""host":"example.com","version":"HTTP/1.1","status":200,"bytes_in":0,"bytes_out":1234,"body_bytes_out":1024,"#,
        r#""head_us":40,"queue_us":1300,"connect_us":2450,"first_byte_us":30999,"total_us":35100,"attempts":1,"#,
        r#""generation":7,"reasons":{"router":"path /api; again","two-choices":"1 < 3"},"notes":{"tenant":"acme"},"#,
        r#""termination":"--","fault":null,"request_id":"0190f0c4-31d2-7e2b","user_agent":"curl/8.5.0","referer":null}"#,
        "\n"
    );
    assert_eq!(line(AccessFormat::Json, &request), expected);
}

#[test]
fn json_has_the_same_keys_when_there_is_nothing_to_tell() {
    let keys = |request: &RequestEnded<'_>| -> Vec<String> {
        let line = line(AccessFormat::Json, request);
        let Value::Object(object) = serde_json::from_str(&line).expect("JSON") else {
            panic!("no object: {line}");
        };
        object.keys().cloned().collect()
    };
    assert_eq!(keys(&unread()), keys(&request()));
    let unread: Value = serde_json::from_str(&line(AccessFormat::Json, &unread())).unwrap();
    for key in [
        "route",
        "pool",
        "server",
        "method",
        "target",
        "host",
        "queue_us",
        "first_byte_us",
    ] {
        assert_eq!(unread[key], Value::Null, "{key}");
    }
}

fn captured<'a>(values: &[(&'a str, Option<&'a [u8]>)]) -> Vec<Captured<'a>> {
    let values = values.iter();
    values
        .map(|(name, value)| Captured {
            name,
            value: *value,
        })
        .collect()
}

#[test]
fn json_has_the_fields_that_are_asked_for_in_that_order() {
    use AccessField::{RequestHeaders, ResponseHeaders, Status, Time};
    let headers = captured(&[("x-tenant", Some(b"a\"c")), ("x-none", None)]);
    let request = RequestEnded {
        request_headers: &headers,
        ..request()
    };
    let line = |fields: &[AccessField]| {
        let line = bytes_in(TimeZone::UTC, AccessFormat::Json, fields, &request);
        String::from_utf8(line).unwrap()
    };
    assert_eq!(
        line(&[Status, Time]),
        "{\"status\":200,\"time\":\"2026-11-22T17:31:47.613Z\"}\n"
    );
    assert_eq!(
        line(&[RequestHeaders, ResponseHeaders]),
        "{\"request_headers\":{\"x-tenant\":\"a\\\"c\",\"x-none\":null},\"response_headers\":{}}\n"
    );
}

#[test]
fn captured_headers_stand_where_the_peers_have_them() {
    let sent = captured(&[("x-tenant", Some(b"a|{b}#c\"\xe9")), ("x-none", None)]);
    let came = captured(&[("content-type", Some(b"text/html"))]);
    let request = RequestEnded {
        request_headers: &sent,
        response_headers: &came,
        ..request()
    };
    // HAProxy: … 0/0 {a#7C#7Bb#7D#23c#22#E9|} {text/html} "GET …
    let httplog = line(AccessFormat::Httplog, &request);
    assert!(
        httplog.contains(" 0/0 {a#7C#7Bb#7D#23c#22#E9|} {text/html} \"GET /"),
        "{httplog}"
    );
    // nginx: … "$http_user_agent" "$http_x_tenant" "$http_x_none" "$upstream_http_content_type"
    let combined = line(AccessFormat::Combined, &request);
    let tail = "\"curl/8.5.0\" \"a|{b}#c\\x22\\xE9\" \"-\" \"text/html\"\n";
    assert!(combined.ends_with(tail), "{combined}");
}

#[test]
fn lines_follow_the_configuration_while_workers_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let access = started(AccessTarget::File(path.clone()), AccessFormat::Json);
    let worker = access.worker();
    worker.write(&request(), 1);
    for format in [AccessFormat::Json, AccessFormat::Combined] {
        let log = Log {
            format,
            fields: vec![AccessField::Method, AccessField::Status],
            ..log(AccessTarget::File(path.clone()), format)
        };
        drop(access.adopt(access.prepare(&log).unwrap()));
        worker.write(&request(), 1);
    }
    assert!(access.flush_in(PATIENCE));
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("{\"time\":") && lines[0].ends_with("\"referer\":null}"));
    assert_eq!(lines[1], r#"{"method":"GET","status":200}"#);
    assert!(lines[2].contains("] \"GET /api"), "{}", lines[2]);
}

#[test]
fn json_is_valid_whatever_bytes_come() {
    let every: Vec<u8> = (0..=255).collect();
    let long = vec![b'"'; 100_000];
    let words = "é\u{7f}\n".repeat(1_000);
    let reasons: Vec<(Rc<str>, String)> = (0..100)
        .map(|n| (format!("{n}{words}").into(), words.clone()))
        .collect();
    let request = RequestEnded {
        target: &every,
        user_agent: Some(&long),
        referer: Some(b"caf\xc3\xa9 \xe9\"\\\x1b"),
        client_port: "",
        reasons: &reasons,
        ..request()
    };
    let line = line(AccessFormat::Json, &request);
    assert_eq!(line.matches('\n').count(), 1, "one line");
    assert!(
        !line.trim_end().contains(|c: char| c.is_ascii_control()),
        "no control byte passes"
    );
    assert!(
        line.len() < ring::ROOM,
        "it fits into an empty ring: {}",
        line.len()
    );
    let object: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["referer"], "caf\u{e9} \u{fffd}\"\\\u{1b}");
    assert_eq!(object["client_port"], Value::Null);
    let ascii: String = every[..128].iter().map(|byte| char::from(*byte)).collect();
    let target = object["target"].as_str().unwrap();
    assert!(target.starts_with(&ascii), "{target:?}");
    assert_eq!(
        object["user_agent"].as_str().unwrap().len(),
        text::MOST_FIELD
    );
}

#[test]
fn the_longest_line_fits_into_an_empty_ring() {
    let worst = vec![1; 1 << 20];
    let words = "\u{1}".repeat(1 << 20);
    let reasons: Vec<(Rc<str>, String)> = (0..100)
        .map(|n| (format!("{n}{words}").into(), words.clone()))
        .collect();
    let notes: Vec<(String, String)> = (0..100)
        .map(|n| (format!("{n}{words}"), words.clone()))
        .collect();
    let name = "x".repeat(64);
    let headers = vec![(&*name, Some(&worst[..1 << 10])); 16];
    let headers = captured(&headers);
    let request = RequestEnded {
        request_headers: &headers,
        response_headers: &headers,
        target: &worst,
        host: Some(&worst),
        method: &words,
        version: &words,
        client_address: &words,
        request_id: &words,
        user_agent: Some(&worst),
        referer: Some(&worst),
        reasons: &reasons,
        notes: &notes,
        ..request()
    };
    for format in [
        AccessFormat::Json,
        AccessFormat::Combined,
        AccessFormat::Httplog,
    ] {
        let length = bytes_in(TimeZone::UTC, format, AccessField::ALL, &request).len();
        assert!(length < ring::ROOM, "{format:?}: {length}");
    }
}

#[test]
fn combined_is_as_nginx_has_it() {
    let request = RequestEnded {
        client_address: "127.0.0.1",
        target: b"/a%20b?x=\"q\"\\z#f",
        body_bytes_out: 3,
        referer: Some("ré".as_bytes()),
        user_agent: Some(b"a\"b\\c\x01\xe9"),
        ..request()
    };
    let seen = r#"127.0.0.1 - - [22/Nov/2026:17:31:47 +0000] "GET /a%20b?x=\x22q\x22\x5Cz#f HTTP/1.1" 200 3 "r\xC3\xA9" "a\x22b\x5Cc\x01\xE9""#;
    assert_eq!(line(AccessFormat::Combined, &request), format!("{seen}\n"));
}

#[test]
fn combined_without_a_request_or_an_answer() {
    let unread = unread();
    assert_eq!(
        line(AccessFormat::Combined, &unread),
        "192.0.2.7 - - [22/Nov/2026:17:31:47 +0000] \"-\" 400 90 \"-\" \"-\"\n"
    );
    let left = |termination: &[u8; 2]| {
        let request = RequestEnded {
            status: None,
            body_bytes_out: 0,
            termination: *termination,
            ..request()
        };
        line(AccessFormat::Combined, &request)
    };
    for (termination, status) in [(b"CH", "499"), (b"cD", "408"), (b"KH", "000")] {
        let line = left(termination);
        let tail = format!("\" {status} 0 \"-\" \"curl/8.5.0\"\n");
        assert!(line.ends_with(&tail), "{line}");
    }
}

#[test]
fn httplog_is_as_haproxy_has_it() {
    assert_eq!(
        line(AccessFormat::Httplog, &request()),
        "192.0.2.7:51034 [22/Nov/2026:17:31:47.613] web app/web1 0/1/2/30/35 200 1234 - - ---- 3/2/0/1/0 0/0 \"GET \
         /api/users?page=2 HTTP/1.1\"\n"
    );
    // HAProxy: … web web/<NOSRV> -1/-1/-1/-1/100 400 0 - - CR-- 2/2/0/0/0 0/0 "<BADREQ>"
    let unread = RequestEnded {
        bytes_out: 0,
        connections: 2,
        server_in_flight: 0,
        termination: *b"CR",
        ..unread()
    };
    assert_eq!(
        line(AccessFormat::Httplog, &unread),
        "192.0.2.7:51034 [22/Nov/2026:17:31:47.548] web web/<NOSRV> -1/-1/-1/-1/100 400 0 - - CR-- 2/2/0/0/0 0/0 \
         \"<BADREQ>\"\n"
    );
}

#[test]
fn httplog_of_a_server_that_takes_no_connection() {
    // HAProxy: … web2 dead/d1 0/0/-1/-1/3004 503 217 - - SC-- 1/1/0/0/3 0/0 "GET /dead HTTP/1.1"
    let request = RequestEnded {
        listener: "web2",
        pool: Some("dead"),
        server: Some("d1"),
        target: b"/de\"a\xe9#d",
        status: Some(503),
        bytes_out: 217,
        attempts: 4,
        connections: 1,
        server_in_flight: 0,
        client_port: "",
        termination: *b"SC",
        times: Times {
            queue: Some(Duration::ZERO),
            total: Duration::from_millis(3_004),
            ..Times::default()
        },
        ..request()
    };
    assert_eq!(
        line(AccessFormat::Httplog, &request),
        "192.0.2.7:0 [22/Nov/2026:17:31:44.644] web2 dead/d1 0/0/-1/-1/3004 503 217 - - SC-- 1/2/0/0/3 0/0 \"GET \
         /de#22a#E9#23d HTTP/1.1\"\n"
    );
    let no_answer = RequestEnded {
        status: None,
        server: None,
        ..request
    };
    let line = line(AccessFormat::Httplog, &no_answer);
    assert!(
        line.contains(" dead/<NOSRV> 0/0/-1/-1/3004 -1 217 "),
        "{line}"
    );
}

#[test]
fn dates_are_in_local_time_where_the_peers_have_them_so() {
    let zone = || TimeZone::fixed(offset(-9));
    assert!(
        line_in(zone(), AccessFormat::Combined, &request())
            .contains("[22/Nov/2026:08:31:47 -0900]")
    );
    assert!(
        line_in(zone(), AccessFormat::Httplog, &request()).contains("[22/Nov/2026:08:31:47.613]")
    );
    let mut dates = Dates::in_zone(AccessFormat::Json, TimeZone::UTC);
    let seconds = [1_795_368_707, 1_795_368_707, 1_795_368_708, u64::MAX, 0];
    let texts = seconds.map(|second| {
        String::from_utf8_lossy(dates.text(Duration::from_secs(second))).into_owned()
    });
    let [first, same, next, _, epoch] = texts;
    assert_eq!(first, "2026-11-22T17:31:47");
    assert_eq!(same, first);
    assert_eq!(next, "2026-11-22T17:31:48");
    assert_eq!(epoch, "1970-01-01T00:00:00");
}

#[test]
fn numbers() {
    for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
        let mut out = Vec::new();
        text::number(&mut out, number);
        assert_eq!(out, number.to_string().into_bytes());
    }
}

#[test]
fn addresses() {
    for address in [
        "192.0.2.7:80",
        "0.0.0.0:0",
        "255.255.255.255:65535",
        "[2001:db8::1]:443",
    ] {
        let mut out = Vec::new();
        text::address(&mut out, address.parse().unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), address);
    }
}

/// An access log into a pipe, and the pipe's other end.
fn piped(format: AccessFormat) -> (Access, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().unwrap();
    let sink = Sink::to(File::from(OwnedFd::from(writer)));
    let access = Access::default();
    let target = access.start(sink, AccessTarget::Stdout).unwrap();
    access.halls().push(target.hall.clone());
    let log = log(AccessTarget::Stdout, format);
    let lines = Arc::new(Lines::of(&log, Some(target)));
    drop(access.adopt(Prepared(lines)));
    (access, reader)
}

fn started(at: AccessTarget, format: AccessFormat) -> Access {
    let access = Access::default();
    turn(&access, at, format);
    access
}

/// While no worker has a line under way.
fn turn(access: &Access, at: AccessTarget, format: AccessFormat) {
    let prepared = access.prepare(&log(at, format)).unwrap();
    drop(access.adopt(prepared));
}

fn log(at: AccessTarget, format: AccessFormat) -> Log {
    Log {
        level: "info".into(),
        access: Located {
            value: at,
            span: 0..0,
        },
        format,
        fields: standard(),
        captures: Captures::default(),
    }
}

/// Long enough for any machine; only a test that fails waits as long.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_lone_line_is_written_at_once_however_the_writer_was_asleep() {
    let (access, reader) = piped(AccessFormat::Combined);
    let (said, heard) = mpsc::channel();
    let listener = thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            said.send(line.unwrap()).unwrap();
        }
    });
    let worker = access.worker();
    for pause in (0..300).map(|n| Duration::from_micros(n * 40)) {
        thread::sleep(pause);
        worker.write(&request(), 1);
        heard.recv_timeout(PATIENCE).expect("the writer was woken");
    }
    drop((worker, access));
    listener.join().unwrap();
}

#[test]
fn what_finds_no_room_is_dropped_and_counted_and_nobody_waits() {
    let (access, mut reader) = piped(AccessFormat::Json);
    let worker = Worker::new(access.lines.clone(), 4 << 10);
    let counts = access.counts.clone();
    let mut asked = 0;
    let mut write = |lines| {
        for _ in 0..lines {
            worker.write(&request(), 1);
            asked += 1;
        }
        assert!(asked < 1_000_000, "nothing is ever dropped");
    };
    // Nobody reads, so the pipe fills; then a flush gives up.
    while access.flush_in(Duration::from_millis(50)) {
        write(100);
    }
    // Then the ring fills.
    while counts.full() < 1_000 {
        write(100);
    }
    drop((worker, access));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    for line in text.lines() {
        serde_json::from_str::<Value>(line).expect("a whole line");
    }
    let written = counts.written.load(Relaxed);
    assert_eq!(text.lines().count() as u64, written);
    assert_eq!(written + counts.full(), asked);
}

#[test]
fn lines_of_many_workers_stay_whole() {
    const EACH: usize = 5_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let target = AccessTarget::File(path.clone());
    let access = started(target, AccessFormat::Json);
    thread::scope(|scope| {
        for worker in 0..4 {
            let access = &access;
            scope.spawn(move || {
                let end = access.worker();
                for n in 0..EACH {
                    let id = format!("{worker}-{n}");
                    end.write(
                        &RequestEnded {
                            request_id: &id,
                            ..request()
                        },
                        1,
                    );
                    // Half a ring at most is on its way.
                    if n % 1_000 == 999 {
                        assert!(access.flush_in(PATIENCE));
                    }
                }
            });
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    let ids: BTreeSet<String> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("a whole line")["request_id"].to_string()
        })
        .collect();
    assert_eq!(ids.len(), 4 * EACH, "each line is there once");
    assert_eq!(access.counts.written.load(Relaxed), 4 * EACH as u64);
}

#[test]
fn a_full_disk_and_a_broken_pipe_cost_lines_and_nothing_else() {
    let full = AccessTarget::File("/dev/full".into());
    let access = started(full, AccessFormat::Httplog);
    let (broken, reader) = piped(AccessFormat::Httplog);
    drop(reader);
    for access in [access, broken] {
        let worker = access.worker();
        for _ in 0..3 {
            worker.write(&request(), 1);
            assert!(access.flush_in(PATIENCE));
        }
        assert_eq!(access.counts.failed.load(Relaxed), 3);
        assert_eq!(access.counts.written.load(Relaxed), 0);
    }
}

#[test]
fn after_a_line_that_broke_off_comes_a_line_of_its_own() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer = OwnedFd::from(writer);
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut sink = Sink::to(File::from(writer));
    let long = [&[b'x'; 1 << 20][..], b"\n"].concat();
    let (written, error) = sink.write(&long).expect_err("the pipe has no room for it");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let mut seen = vec![0; written];
    reader.read_exact(&mut seen).unwrap();
    sink.write(b"next\n").unwrap();
    drop(sink);
    seen.clear();
    reader.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, b"\nnext\n");
}

#[test]
fn a_file_is_appended_to_and_opened_anew_when_rotated() {
    let folder = tempfile::tempdir().unwrap();
    let [path, rotated] = ["access.log", "access.log.1"].map(|name| folder.path().join(name));
    fs::write(&path, "before\n").unwrap();
    let target = AccessTarget::File(path.clone());
    let access = started(target, AccessFormat::Combined);
    let worker = access.worker();
    let log = |lines: usize| {
        for _ in 0..lines {
            worker.write(&request(), 1);
        }
        assert!(access.flush_in(PATIENCE));
    };
    log(1);
    fs::rename(&path, &rotated).unwrap();
    log(1);
    access.reopen();
    log(3);
    let lines = |path: &std::path::Path| fs::read_to_string(path).unwrap().lines().count();
    assert_eq!(
        lines(&rotated),
        3,
        "what was there, and a line from before and after the renaming"
    );
    assert_eq!(lines(&path), 3);
    // As logrotate's `copytruncate` does it.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    log(2);
    assert_eq!(
        fs::read(&path)
            .unwrap()
            .iter()
            .filter(|byte| **byte == 0)
            .count(),
        0,
        "no hole"
    );
    assert_eq!(lines(&path), 2);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn the_thread_ends_with_the_last_who_may_write() {
    let (access, mut reader) = piped(AccessFormat::Combined);
    let worker = access.worker();
    drop(access);
    worker.write(&request(), 1);
    drop(worker);
    let mut text = String::new();
    // Ends when the thread has let go of the pipe.
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 1);
}

/// What a file holds of `RequestEnded::request_id`.
fn ids(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a whole line");
        line["request_id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

fn say(worker: &Worker, id: &str) {
    worker.write(
        &RequestEnded {
            request_id: id,
            ..request()
        },
        1,
    );
}

#[test]
fn lines_go_where_the_configuration_says_while_workers_write() {
    const LINES: usize = 4_000;
    const EACH: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a", "b", "c"].map(|name| folder.path().join(name));
    let at = |n: usize| AccessTarget::File(paths[n % 3].clone());
    let access = started(at(0), AccessFormat::Json);
    let (said, heard) = mpsc::sync_channel(0);
    let (changed, seen) = mpsc::channel();
    thread::scope(|scope| {
        let access = &access;
        scope.spawn(move || {
            let worker = access.worker();
            for n in 0..LINES {
                say(&worker, &n.to_string());
                // Half of what is written between two changes is surely for the one, half comes while there is the next.
                match n % EACH {
                    at if at == EACH / 2 - 1 => said.send(n / EACH).unwrap(),
                    at if at == EACH - 1 => seen.recv().unwrap(),
                    _ => {}
                }
            }
        });
        // While lines come. A former target is let go of once its worker has been seen to go by the next.
        let mut former = None;
        for n in heard {
            let next = log(at(n + 1), AccessFormat::Json);
            let prepared = access.prepare(&next).unwrap();
            let before: Option<Former> = former.replace(access.adopt(prepared));
            changed.send(()).unwrap();
            let old = before.as_ref().and_then(|Former(target)| target.clone());
            drop(before);
            if let Some(old) = old {
                wait_for_the_end_of(&old.hall);
            }
        }
    });
    assert!(access.flush_in(PATIENCE));
    let all = paths.iter().flat_map(|path| ids(path));
    let mut all: Vec<usize> = all.map(|id| id.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..LINES).collect::<Vec<_>>());
    for path in paths {
        assert!(ids(&path).len() > LINES / 8, "each has had its turns");
    }
}

#[test]
fn off_and_on_again() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["a", "b"].map(|name| folder.path().join(name));
    let at = |path: &std::path::Path| AccessTarget::File(path.to_owned());
    let access = Access::default();
    let worker = access.worker();
    say(&worker, "unheard");
    turn(&access, at(&first), AccessFormat::Json);
    say(&worker, "1");
    let hall = access.halls()[0].clone();
    turn(&access, AccessTarget::Off, AccessFormat::Json);
    // Its thread ends, though the worker has had no reason yet to look.
    wait_for_the_end_of(&hall);
    say(&worker, "unheard");
    access.reopen();
    turn(&access, at(&second), AccessFormat::Json);
    say(&worker, "2");
    assert!(access.flush_in(PATIENCE));
    assert_eq!(ids(&first), ["1"]);
    assert_eq!(ids(&second), ["2"]);
    assert_eq!(access.counts.written.load(Relaxed), 2);
}

fn wait_for_the_end_of(hall: &Hall) {
    let end = Instant::now() + PATIENCE;
    while !hall.is_over() {
        assert!(Instant::now() < end, "its thread goes on");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_cannot_be_opened_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let access = started(AccessTarget::File(path.clone()), AccessFormat::Json);
    let worker = access.worker();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let refused = |path: std::path::PathBuf| {
        let log = log(AccessTarget::File(path.clone()), AccessFormat::Json);
        let error = access.prepare(&log).err().expect("it can't be opened");
        let words = error.to_string();
        assert!(words.contains(path.to_str().unwrap()), "{words}");
        error.kind()
    };
    assert_eq!(
        refused(folder.path().join("missing/a")),
        io::ErrorKind::NotFound
    );
    assert_eq!(
        refused(folder.path().to_owned()),
        io::ErrorKind::IsADirectory
    );
    assert_eq!(refused(pipe), io::ErrorKind::NotConnected);
    // One that is dropped has not been in force.
    let other = AccessTarget::File(folder.path().join("b"));
    drop(access.prepare(&log(other, AccessFormat::Json)).unwrap());
    say(&worker, "1");
    assert!(access.flush_in(PATIENCE));
    assert_eq!(ids(&path), ["1"]);
}

#[test]
fn a_target_that_hangs_can_be_left_but_there_are_not_many_such() {
    let folder = tempfile::tempdir().unwrap();
    let (access, reader) = piped(AccessFormat::Json);
    let worker = access.worker();
    while access.flush_in(Duration::from_millis(50)) {
        (0..100).for_each(|_| say(&worker, "0"));
    }
    let stuck = access.halls()[0].clone();
    let path = folder.path().join("a");
    let first = AccessTarget::File(path.clone());
    turn(&access, first, AccessFormat::Json);
    say(&worker, "1");
    let hall = access.halls()[1].clone();
    let written = hall.has_flushed(hall.flush(), Instant::now() + PATIENCE);
    assert!(written, "the one that hangs holds it up");
    assert_eq!(ids(&path), ["1"]);
    // As many more that hang as there may be.
    access.halls().resize(MOST_TARGETS, stuck.clone());
    let other = AccessTarget::File(folder.path().join("b"));
    let other = log(other, AccessFormat::Json);
    let error = access.prepare(&other).err().expect("there is no room");
    assert!(error.to_string().contains("hang"), "{error}");
    let off = log(AccessTarget::Off, AccessFormat::Json);
    drop(access.prepare(&off).unwrap());
    // The pipe breaks, and there is an end.
    drop(reader);
    wait_for_the_end_of(&stuck);
    drop(access.prepare(&other).unwrap());
}
