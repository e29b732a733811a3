//! More than it can carry: what is answered, what is turned away and how soon, who waits, and what that takes of the machine.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tidegate_tests::{
    Client, Origin, Process, Proxy, Raw, get, listener, pool, reply, server, wait_for, wait_until,
};

/// What one server's request takes.
const WORK: Duration = Duration::from_millis(100);

/// Requests a second that two servers with five places each carry.
const CARRIED: f64 = 100.0;

#[test]
fn twice_the_load_is_half_answered_and_the_rest_shed_at_once() {
    let (a, b) = (slow("a"), slow("b"));
    let proxy = Proxy::start(bounded(&a, &b, "max-queue = 10"));
    let (answered, shed) = overload(&proxy);
    // It waits for two turns at most before its own.
    let slowest = percentile(&answered, 0.95);
    assert!(slowest < 3 * WORK + SLACK, "answered in {slowest:?}");
    let slowest = percentile(&shed, 0.95);
    assert!(slowest < WORK / 2 + SLACK, "told so after {slowest:?}");
    expect_told(&proxy, "queue-full", shed.len());
}

#[test]
fn nobody_waits_for_longer_than_the_queue_allows() {
    let (a, b) = (slow("a"), slow("b"));
    let wait = Duration::from_millis(300);
    let proxy = Proxy::start(bounded(&a, &b, "timeouts = { queue = \"300ms\" }"));
    let (answered, shed) = overload(&proxy);
    let slowest = percentile(&answered, 0.95);
    assert!(slowest < wait + WORK + SLACK, "answered in {slowest:?}");
    let slowest = percentile(&shed, 0.95);
    assert!(slowest < wait + SLACK, "told so after {slowest:?}");
    expect_told(&proxy, "queue-timeout", shed.len());
}

#[test]
fn a_full_listener_lets_who_comes_wait_and_does_nothing_meanwhile() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(
        listener("web", "pool = \"app\"\nmax-connections = 3") + &pool("app", "", &[&origin]),
    );
    let mut held: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Client::connect(proxy.address("web"));
            assert_eq!(client.get("/").status(), 200);
            client
        })
        .collect();
    let mut waiting: Vec<_> = (0..60)
        .map(|_| {
            let mut client = Client::connect(proxy.address("web"));
            client.write(ASKED).unwrap();
            client
        })
        .collect();
    proxy.wait_for_log(&["WARN", "max-connections", "limit=3"]);
    expect_idle(proxy.process());
    for client in &waiting {
        assert_eq!(client.pending().expect("it is not turned away"), 0);
    }
    assert_eq!(held[0].get("/").status(), 200, "those inside are served");
    held.clear();
    // As one leaves the next comes in.
    let mut served = 0;
    while served < 60 {
        let ready = wait_for("the next is served", || {
            let pending = |client: &Client| client.pending().unwrap() > 0;
            waiting.iter().position(pending)
        });
        assert_eq!(waiting.swap_remove(ready).read().unwrap().status(), 200);
        served += 1;
    }
    assert_eq!(lines(&proxy, "max-connections"), 1, "once a burst");
}

/// HAProxy and nginx answer 503 and 500 then; both take it for the server's failure.
#[test]
fn without_descriptors_what_is_under_way_goes_on_and_the_log_says_so_once() {
    let origin = Origin::named("a");
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let held = Origin::answering("held", move |_, stream| {
        may_go.lock().unwrap().recv().unwrap();
        reply(stream, 200, &[], "held")
    });
    let health = "health = { type = \"tcp\", interval = \"50ms\", fall = 1 }\n\
                  passive = { max-fails = 1, eject = \"1h\", max-ejected = \"100%\" }\nretries = 0";
    let proxy = Proxy::start(
        "[[route]]\npath = \"/held\"\npool = \"held\"\n".to_owned()
            + &listener("web", "pool = \"app\"")
            + &pool("app", health, &[&origin])
            + &pool("held", "", &[&held]),
    );
    let address = proxy.address("web");
    // It keeps its connection: nothing falls free.
    let under_way = thread::spawn(move || {
        let mut client = Client::connect(address);
        (client.get("/held"), client)
    });
    wait_until("it is under way", || held.served() == 1);
    // This one is there already; the server it will ask for is not connected to.
    let mut inside = Client::connect(address);
    wait_until("it is let in", || open(&proxy) == 2.0);
    let admin = proxy.address("admin");
    let limit = no_more_files(proxy.process());

    let refused = inside.get("/");
    assert_eq!(refused.status(), 503);
    assert_eq!(inside.get("/again").status(), 503, "it is kept");
    let mut outside: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(address);
            client.write(ASKED).unwrap();
            client
        })
        .collect();
    proxy.wait_for_log(&["ERROR", "cannot accept connections", "listener=\"web\""]);
    proxy.wait_for_log(&["ERROR", "no-socket", "limit of open files"]);
    proxy.wait_for_log(&["ERROR", "can't be probed for want of a socket"]);
    expect_idle(proxy.process());
    for client in &outside {
        assert_eq!(client.pending().expect("it is not turned away"), 0);
    }
    go.send(()).unwrap();
    let (answer, _held) = under_way.join().unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "held"));

    allow_files(proxy.process(), limit);
    let statuses: Vec<_> = outside
        .iter_mut()
        .map(|client| client.read().expect("its turn has come").status())
        .collect();
    // The connection to the server that answered was let go of, and one client may have come in its place too early.
    let served = statuses.iter().filter(|status| **status == 200).count();
    assert!(served >= 19, "{statuses:?}");
    assert_eq!(inside.get("/").status(), 200);
    proxy.wait_for_log(&["INFO", "accepting connections again"]);
    wait_until("the admin port answers", || {
        get(admin, "/healthz").status() == 200
    });
    let line = proxy.logged("/again");
    assert_eq!(
        (&line["fault"], &line["termination"]),
        (&"no-socket".into(), &"RC".into())
    );
    // It was ours, and not the server's: it is neither down nor ejected.
    let server = &proxy.status()["pools"][0]["servers"][0];
    assert_eq!(
        (&server["state"], &server["health"]),
        (&"ready".into(), &"up".into()),
        "{server}"
    );
    for word in ["cannot accept", "no-socket", "for want of a socket"] {
        assert_eq!(lines(&proxy, word), 1, "{word}: once a burst");
    }
}

/// Connections to servers that wait for their next request hold descriptors that somebody else needs.
#[test]
fn idle_connections_make_room_for_who_waits() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let proxy = Proxy::start(
        "[proxy]\nworkers = 1\n[[route]]\npath = \"/b\"\npool = \"b\"\n".to_owned()
            + &listener("web", "pool = \"app\"")
            + &pool("app", "", &[&a])
            + &pool("b", "retries = 0", &[&b]),
    );
    let address = proxy.address("web");
    // What was open for a moment at the start is gone, so that what comes now has the highest numbers, one after the other.
    lowest_free(proxy.process());
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.write(ASKED).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.read().unwrap().status(), 200);
    }
    let accepted = a.accepted();
    let limit = no_more_files(proxy.process());
    assert_eq!(
        clients[0].get("/b").text(),
        "b",
        "in the place of an idle one"
    );
    assert_eq!(clients[0].get("/").text(), "a");
    assert!(a.accepted() > accepted, "which are all gone");
    allow_files(proxy.process(), limit);
    assert_eq!(lines(&proxy, "no-socket"), 0, "nobody has missed any");
}

#[test]
fn slow_heads_and_bodies_take_no_more_memory_than_they_may() {
    let stuck = Arc::<AtomicBool>::default();
    let reads = stuck.clone();
    // Takes a request's head and nothing more until it is told.
    let deaf = Raw::serving(move |mut stream| {
        let mut first = [0; 1024];
        let _ = stream.read(&mut first)?;
        while !reads.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let proxy = Proxy::start(format!(
        "{}\n[[pool]]\nname = \"app\"\nservers = [{{ address = \"{}\" }}]\n",
        listener("web", "pool = \"app\"\nmax-head = \"16KiB\""),
        deaf.address()
    ));
    let address = proxy.address("web");
    let before = proxy.process().memory();

    let heads = 150_u64;
    let slow: Vec<_> = (0..heads)
        .map(|_| {
            let mut client = Client::connect(address);
            let begin = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(15 << 10));
            client.write(begin.as_bytes()).unwrap();
            client
        })
        .collect();
    wait_until("all are let in", || open(&proxy) == heads as f64);
    let bodies = 100_u64;
    let large: Vec<_> = (0..bodies)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            // What the proxy holds is of interest, and not the kernel.
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, 64 << 10).unwrap();
            let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    // Each sends until nobody takes any more: what the kernel's buffers hold, and what the proxy does.
    let sent = thread::spawn(move || {
        let block = [b'x'; 64 << 10];
        let mut quiet = Instant::now();
        let mut sent = 0_u64;
        while quiet.elapsed() < Duration::from_secs(1) {
            for mut stream in &large {
                match stream.write(&block) {
                    Ok(count) => (sent, quiet) = (sent + count as u64, Instant::now()),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(e) => panic!("{e}"),
                }
            }
            thread::sleep(Duration::from_millis(5));
        }
        (large, sent)
    });
    let (large, sent) = sent.join().unwrap();
    assert!(
        sent > bodies * (128 << 10),
        "they were held up: {sent} bytes"
    );
    let grown = proxy.process().memory().saturating_sub(before);
    // A head at most, and what a slow peer has not taken; 4 KiB for the request itself, and for an allocator's pages in part.
    let may = (heads + bodies) * ((16 << 10) + (4 << 10)) + bodies * (64 << 10) + (4 << 20);
    println!("{} KiB more, of {} KiB that may be", grown >> 10, may >> 10);
    assert!(
        grown < may,
        "{} KiB more, {} may be",
        grown >> 10,
        may >> 10
    );
    stuck.store(true, Ordering::SeqCst);
    drop((slow, large));
}

const ASKED: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// What a crowded machine adds.
const SLACK: Duration = Duration::from_millis(250);

fn slow(name: &str) -> Origin {
    let own = name.to_owned();
    Origin::answering(name, move |_, stream| {
        thread::sleep(WORK);
        reply(stream, 200, &[("x-origin", &own)], &own)
    })
}

/// Two servers with five places each.
fn bounded(a: &Origin, b: &Origin, lines: &str) -> String {
    let places = ", max-connections = 5";
    format!(
        "{}\n[[pool]]\nname = \"app\"\n{lines}\nservers = [{}, {}]\n",
        listener("web", "pool = \"app\""),
        server(a, places),
        server(b, places)
    )
}

/// What became of a request, by when it came.
#[derive(Debug)]
struct Asked {
    status: u16,
    due: Duration,
    took: Duration,
}

/// Requests at that rate, whatever becomes of those before.
fn open_loop(address: SocketAddr, rate: f64, time: Duration) -> Vec<Asked> {
    let total = (rate * time.as_secs_f64()) as u32;
    let (next, begun) = (Arc::<AtomicU32>::default(), Instant::now());
    // As many as may be under way or wait, and then some.
    let clients: Vec<_> = (0..120)
        .map(|_| {
            let next = next.clone();
            thread::spawn(move || {
                let mut client = Client::connect(address);
                let mut asked = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= total {
                        return asked;
                    }
                    let due = Duration::from_secs_f64(f64::from(number) / rate);
                    thread::sleep(due.saturating_sub(begun.elapsed()));
                    let start = Instant::now();
                    let status = client.get("/").status();
                    let took = start.elapsed();
                    asked.push(Asked { status, due, took });
                }
            })
        })
        .collect();
    let all = clients
        .into_iter()
        .flat_map(|client| client.join().unwrap());
    all.collect()
}

/// How long those took that were answered so.
fn of(asked: &[Asked], status: u16) -> Vec<Duration> {
    let those = asked.iter().filter(|asked| asked.status == status);
    let mut times: Vec<_> = those.map(|asked| asked.took).collect();
    times.sort_unstable();
    times
}

fn percentile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The servers were busy all the time, and with no more than they have places for.
#[track_caller]
fn expect_carried(asked: &[Asked]) {
    let last = asked.iter().map(|asked| asked.due + asked.took).max();
    let time = last.unwrap().as_secs_f64();
    let answered = of(asked, 200).len() as f64;
    let carried = answered / (CARRIED * time);
    println!("{carried:.2} of what the servers carry, {answered} answers in {time:.1} s");
    assert!((0.7..=1.05).contains(&carried), "{carried:.2}");
}

/// Offers twice what the servers carry. Who was answered, and who was told that there is no place.
#[track_caller]
fn overload(proxy: &Proxy) -> (Vec<Duration>, Vec<Duration>) {
    let asked = open_loop(proxy.address("web"), 2.0 * CARRIED, Duration::from_secs(4));
    let (answered, shed) = (of(&asked, 200), of(&asked, 503));
    assert_eq!(answered.len() + shed.len(), asked.len(), "and nothing else");
    expect_carried(&asked);
    (answered, shed)
}

/// Each in the log, by that word.
#[track_caller]
fn expect_told(proxy: &Proxy, word: &str, times: usize) {
    wait_until(&format!("{times} {word}"), || {
        let labels = [("listener", "web"), ("fault", word)];
        proxy.metrics().sum("tidegate_faults_total", &labels) == times as f64
    });
    let mut lines = proxy.access_log(times).into_iter();
    assert!(lines.any(|line| line["fault"] == word && line["status"] == 503));
}

/// A second in which there is nothing to do for it but what it always does.
#[track_caller]
fn expect_idle(process: &Process) {
    let before = process.cpu();
    thread::sleep(Duration::from_millis(1500));
    let used = process.cpu() - before;
    assert!(used < Duration::from_millis(200), "{used:?} of CPU time");
}

/// The number that the next file gets; what is open for a moment only is passed over.
fn lowest_free(process: &Process) -> u64 {
    let free = (0..60).map(|_| {
        thread::sleep(Duration::from_millis(5));
        let open = fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
        let name = |file: io::Result<fs::DirEntry>| file.ok()?.file_name().to_str()?.parse().ok();
        let open: BTreeSet<u64> = open.filter_map(name).collect();
        (0..).find(|number| !open.contains(number)).unwrap()
    });
    free.min().unwrap()
}

/// Lets the process open no further file, and answers the limit that it had.
fn no_more_files(process: &Process) -> Rlimit {
    let pid = Pid::from_raw(process.pid() as i32).unwrap();
    let before = getrlimit_of(pid);
    let now = Rlimit {
        current: Some(lowest_free(process)),
        ..before
    };
    prlimit(Some(pid), Resource::Nofile, now).unwrap()
}

fn getrlimit_of(pid: Pid) -> Rlimit {
    let text = fs::read_to_string(format!("/proc/{}/limits", pid.as_raw_nonzero())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap().split_whitespace().skip(3);
    let mut limit = || words.next().unwrap().parse().ok();
    Rlimit {
        current: limit(),
        maximum: limit(),
    }
}

fn allow_files(process: &Process, limit: Rlimit) {
    let pid = Pid::from_raw(process.pid() as i32);
    prlimit(pid, Resource::Nofile, limit).unwrap();
}

fn open(proxy: &Proxy) -> f64 {
    proxy
        .metrics()
        .sum("tidegate_connections_open", &[("listener", "web")])
}

fn lines(proxy: &Proxy, word: &str) -> usize {
    let said = proxy.stderr();
    said.iter().filter(|line| line.contains(word)).count()
}
