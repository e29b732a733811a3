//! Servers fail under load, and users don't notice: how many requests fail in each way to fail, and how long until traffic avoids the
//! server. The numbers are printed (`cargo test … failing -- --nocapture`). And a rolling deploy, as operators do it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{
    Client, Load, Origin, Process, Proxy, Tally, get, listener, pool, reply, wait_until,
};

/// What a pool says that wants its users to notice nothing.
const CAREFUL: &str = "\
    retries = 2\n\
    retry-on = [\"connect\", \"reset\", \"timeout\", \"5xx\"]\n\
    timeouts = { connect = \"300ms\", first-byte = \"300ms\" }\n\
    health = { path = \"/health\", interval = \"50ms\", timeout = \"200ms\", fall = 2, rise = 2 }\n\
    passive = { max-fails = 3, eject = \"200ms\", on = [\"connect\", \"timeout\", \"broken\", \"5xx\"] }";

/// What is promised at most until a server that fails is avoided, on a machine that has other things to do too.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn users_notice_nothing_of_servers_that_fail() {
    at_a_time([KILLED, HANGS, SAYS_500, RESETS], |failing| {
        let seen = fail(failing, CAREFUL);
        tell(failing, "with retries", &seen);
        assert_eq!(failed(&seen.tally), 0, "{failing:?}: {:?}", seen.tally);
        assert!(seen.avoided < SOON, "{failing:?}: {:?}", seen.avoided);
    });
}

#[test]
fn what_users_notice_without_retries_is_bounded() {
    let careless = CAREFUL.replace("retries = 2", "retries = 0");
    at_a_time([KILLED, HANGS, SAYS_500, RESETS], |failing| {
        let seen = fail(failing, &careless);
        tell(failing, "without retries", &seen);
        assert!(seen.avoided < SOON, "{failing:?}: {:?}", seen.avoided);
        // Four clients, three failures to eject it, and what was on its way meanwhile.
        let most = 40;
        assert!(failed(&seen.tally) < most, "{failing:?}: {:?}", seen.tally);
    });
}

#[test]
fn a_slow_server_gets_less_to_do() {
    let patients = ["a", "b", "c"].map(Patient::new);
    let config = CAREFUL.to_owned() + "\nbalancer = \"least-response-time\"";
    let proxy = Proxy::start(site(&config, &patients));
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(50);
    patients[1].is(SLOW);
    let begun = Instant::now();
    wait_until("it gets less than a tenth", || {
        let before = (load.answered(), patients[1].served());
        load.wait_for_more(100);
        let all = load.answered() - before.0;
        (patients[1].served() - before.1) as u64 * 10 < all
    });
    let seen = Seen {
        avoided: begun.elapsed(),
        back: None,
        tally: load.finish(),
    };
    tell(SLOW, "with retries", &seen);
    assert_eq!(failed(&seen.tally), 0, "{:?}", seen.tally);
}

#[test]
fn a_server_that_drains_and_leaves_is_missed_by_nobody() {
    let patients = ["a", "b", "c"].map(Patient::new);
    let proxy = Proxy::start(site(CAREFUL, &patients));
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(50);
    let begun = Instant::now();
    set_state(&proxy, "b", "drain");
    wait_until("nothing is in flight there", || {
        proxy.server("b")["in_flight"] == 0
    });
    let avoided = begun.elapsed();
    let quiet = patients[1].served();
    load.wait_for_more(100);
    assert_eq!(patients[1].served(), quiet);
    patients[1].origin.stop();
    load.wait_for_more(50);
    let seen = Seen {
        avoided,
        back: None,
        tally: load.finish(),
    };
    println!(
        "drains: {} failed, avoided after {:?}",
        failed(&seen.tally),
        seen.avoided
    );
    seen.tally.expect_only(200);
}

/// The breaker's half-open state: an ejected server that is still ill is asked one request at a time.
#[test]
fn a_server_that_comes_back_ill_is_tried_by_one_request_at_a_time() {
    let patients = ["a", "b", "c"].map(Patient::new);
    let config = "retries = 0\npassive = { max-fails = 3, eject = \"100ms\", max-eject = \"100ms\", trials = 3, on = [\"5xx\"] }";
    let proxy = Proxy::start(site(config, &patients));
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(20);
    patients[1].is(SAYS_500);
    wait_until("it was tried in vain", || {
        let ejections = [("server", "b")];
        proxy
            .metrics()
            .sum("tidegate_server_ejections_total", &ejections)
            >= 5.0
    });
    let ill = patients[1].failures();
    patients[1].is(WELL);
    wait_until("it is back", || proxy.server("b")["health"] == "unchecked");
    proxy.wait_for_log(&["INFO", "tried again", "server=\"b\""]);
    proxy.wait_for_log(&["INFO", "no longer ejected", "server=\"b\""]);
    let tally = load.finish();
    let ejections = proxy
        .metrics()
        .sum("tidegate_server_ejections_total", &[("server", "b")]) as u64;
    // Three and what was on its way for the first, then one each time.
    assert!(
        ill as u64 <= ejections + 12,
        "{ill} in {ejections} ejections"
    );
    assert_eq!(tally.failures, Vec::<String>::new());
}

/// As the README's "Rolling deploy" has it: drain, wait, restart, ready, next.
#[test]
fn a_rolling_deploy_with_sticky_users_loses_nobody() {
    let names = ["a", "b", "c"];
    let mut patients = names.map(Patient::new);
    let proxy = Proxy::start(site(
        &(CAREFUL.to_owned() + "\nsticky = { plugin = \"sticky-cookie\", cookie = \"S\" }"),
        &patients,
    ));
    let (stop, left) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<_>>::default());
    let users: Vec<_> = (0..6)
        .map(|_| User::start(proxy.address("web"), stop.clone(), left.clone()))
        .collect();
    let strangers = Load::start(proxy.address("web"), &["/"]);
    for at in 0..3 {
        strangers.wait_for_more(40);
        set_state(&proxy, names[at], "drain");
        wait_until("it drains", || proxy.server(names[at])["state"] == "drain");
        // Those that it has may stay a while.
        strangers.wait_for_more(40);
        left.lock().unwrap().push(names[at].to_owned());
        set_state(&proxy, names[at], "maint");
        wait_until("it is let go of", || {
            let server = proxy.server(names[at]);
            server["state"] == "maint" && server["in_flight"] == 0
        });
        let address = patients[at].origin.address();
        patients[at].origin.stop();
        patients[at] = Patient::at(address, names[at]);
        set_state(&proxy, names[at], "ready");
        let again = &patients[at];
        wait_until("it serves again", || again.served() > 3);
        left.lock().unwrap().clear();
    }
    stop.store(true, SeqCst);
    let requests: usize = users.into_iter().map(|user| user.join().unwrap()).sum();
    let tally = strangers.finish();
    println!(
        "rolling deploy: {requests} requests of sticky users and {} of strangers, none failed",
        tally.requests()
    );
    tally.expect_only(200);
    assert!(requests > 100, "{requests}");
}

#[test]
fn pools_without_a_usable_server_are_as_haproxys() {
    let (main, spare) = (Origin::named("main"), Origin::named("spare"));
    let folder = tempfile::tempdir().unwrap();
    let front = tidegate_tests::Port::free();
    let haproxy = format!(
        "defaults\n mode http\n timeout connect 1s\n timeout client 5s\n timeout server 5s\n\
         frontend f\n bind {}\n use_backend %[path,field(2,/)]\n\
         backend weightless\n server s {main} weight 0\n\
         backend draining\n server s1 {main} weight 0\n server s2 {main} weight 0\n\
         backend backups\n server s {main} disabled\n server spare {spare} backup\n\
         backend none\n",
        front.address(),
        main = main.address(),
        spare = spare.address(),
    );
    let path = folder.path().join("haproxy.cfg");
    std::fs::write(&path, haproxy).unwrap();
    let _haproxy = Process::start(std::process::Command::new("haproxy").arg("-f").arg(path));
    wait_until("haproxy serves", || {
        Client::try_connect(front.address()).is_ok()
    });
    let pools = [
        (
            "weightless",
            format!(
                "{{ name = \"s\", address = \"{}\", weight = 0 }}",
                main.address()
            ),
        ),
        (
            "draining",
            format!(
                "{{ name = \"s1\", address = \"{0}\" }}, {{ name = \"s2\", address = \"{0}\" }}",
                main.address()
            ),
        ),
        (
            "backups",
            format!(
                "{{ name = \"s\", address = \"{}\" }}, {{ name = \"spare\", address = \"{}\", backup = true }}",
                main.address(),
                spare.address()
            ),
        ),
        ("none", String::new()),
    ];
    let mut config = listener("web", "pool = \"none\"");
    for (name, servers) in &pools {
        config += &format!("\n[[pool]]\nname = \"{name}\"\nservers = [{servers}]\n");
        config += &format!("[[route]]\npath = \"/{name}\"\npool = \"{name}\"\n");
    }
    let proxy = Proxy::start(config);
    for (pool, server, state) in [
        ("draining", "s1", "drain"),
        ("draining", "s2", "drain"),
        ("backups", "s", "maint"),
    ] {
        set_state_in(&proxy, pool, server, state);
        wait_until(state, || {
            let status = proxy.status();
            let pools = status["pools"].as_array().unwrap();
            let pool = pools.iter().find(|known| known["name"] == pool).unwrap();
            let servers = pool["servers"].as_array().unwrap();
            servers
                .iter()
                .any(|known| known["name"] == server && known["state"] == state)
        });
    }
    for (name, expected, body) in [
        ("weightless", 503, None),
        ("draining", 503, None),
        ("backups", 200, Some("spare")),
        ("none", 503, None),
    ] {
        let path = format!("/{name}/x");
        let (theirs, ours) = (get(front.address(), &path), proxy.get(&path));
        assert_eq!(
            (theirs.status(), ours.status()),
            (expected, expected),
            "{name}"
        );
        if let Some(body) = body {
            assert_eq!((theirs.text(), ours.text()), (body.into(), body.into()));
        } else {
            let line = proxy.logged(&path);
            assert_eq!(
                (&line["fault"], &line["termination"], &line["attempts"]),
                (&"no-server".into(), &"SC".into(), &0.into()),
                "{name}"
            );
        }
    }
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Failing(u8, &'static str);

const WELL: Failing = Failing(0, "well");
const KILLED: Failing = Failing(1, "killed");
const HANGS: Failing = Failing(2, "hangs");
const SAYS_500: Failing = Failing(3, "answers 500");
const RESETS: Failing = Failing(4, "resets");
const SLOW: Failing = Failing(5, "slow");

struct Seen {
    /// How long until it was sent no more requests.
    avoided: Duration,
    /// How long until it had users again, after it was well.
    back: Option<Duration>,
    tally: Tally,
}

/// Each with a proxy of its own.
fn at_a_time(all: [Failing; 4], see: impl Fn(Failing) + Sync) {
    thread::scope(|scope| {
        for failing in all {
            let see = &see;
            scope.spawn(move || see(failing));
        }
    });
}

/// One of three servers fails under load, and comes back.
fn fail(failing: Failing, lines: &str) -> Seen {
    let mut patients = ["a", "b", "c"].map(Patient::new);
    let proxy = Proxy::start(site(lines, &patients));
    wait_until("all were probed", || {
        let all = ["a", "b", "c"];
        all.iter().all(|name| proxy.server(name)["health"] == "up")
    });
    let load = Load::start(proxy.address("web"), &["/"]);
    load.wait_for_more(50);
    let begun = Instant::now();
    patients[1].is(failing);
    wait_until("it is avoided", || proxy.server("b")["state"] == "down");
    let avoided = begun.elapsed();
    load.wait_for_more(50);
    let before = patients[1].served();
    if failing == KILLED {
        patients[1] = Patient::at(patients[1].origin.address(), "b");
    }
    patients[1].is(WELL);
    let recovered = Instant::now();
    let before = if failing == KILLED { 0 } else { before };
    wait_until("it has users again", || {
        proxy.server("b")["state"] == "ready" && patients[1].served() > before + 5
    });
    let back = Some(recovered.elapsed());
    load.wait_for_more(20);
    Seen {
        avoided,
        back,
        tally: load.finish(),
    }
}

fn tell(failing: Failing, how: &str, seen: &Seen) {
    println!(
        "{} ({how}): {} of {} requests failed, avoided after {} ms, back after {} ms",
        failing.1,
        failed(&seen.tally),
        seen.tally.requests(),
        seen.avoided.as_millis(),
        seen.back
            .map_or("-".to_owned(), |back| back.as_millis().to_string()),
    );
}

fn failed(tally: &Tally) -> u64 {
    let bad: BTreeMap<_, _> = tally.statuses.iter().filter(|(s, _)| **s != 200).collect();
    bad.into_values().sum::<u64>() + tally.failures.len() as u64
}

/// An origin that fails as a test wants it to.
struct Patient {
    origin: Origin,
    failing: Arc<AtomicU8>,
    counts: Arc<Mutex<[usize; 2]>>,
}

impl Patient {
    fn new(name: &str) -> Patient {
        Patient::at((Ipv4Addr::LOCALHOST, 0).into(), name)
    }

    fn at(address: SocketAddr, name: &str) -> Patient {
        let (failing, counts) = (
            Arc::<AtomicU8>::default(),
            Arc::<Mutex<[usize; 2]>>::default(),
        );
        let (how, count, own) = (failing.clone(), counts.clone(), name.to_owned());
        let origin = Origin::on(address, name, move |request, stream| {
            let how = how.load(SeqCst);
            if request.target() != "/health" {
                count.lock().unwrap()[usize::from(how == SAYS_500.0)] += 1;
            }
            if how == HANGS.0 {
                return hang(stream);
            }
            if how == RESETS.0 {
                return reset(stream);
            }
            if how == SLOW.0 {
                // Its slowness is what is tested.
                thread::sleep(Duration::from_millis(60));
            }
            let status = if how == SAYS_500.0 { 500 } else { 200 };
            reply(stream, status, &[("x-origin", &own)], &own)
        });
        Patient {
            origin,
            failing,
            counts,
        }
    }

    fn is(&self, failing: Failing) {
        self.failing.store(failing.0, SeqCst);
        if failing == KILLED {
            self.origin.stop();
        }
    }

    /// Requests of users.
    fn served(&self) -> usize {
        self.counts.lock().unwrap().iter().sum()
    }

    /// Of these those that got a 500.
    fn failures(&self) -> usize {
        self.counts.lock().unwrap()[1]
    }
}

/// Says nothing until the other side gives up.
fn hang(stream: &mut std::net::TcpStream) -> io::Result<()> {
    use std::io::Read;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let _ = stream.read(&mut [0]);
    Err(ErrorKind::TimedOut.into())
}

fn reset(stream: &std::net::TcpStream) -> io::Result<()> {
    // What disconnects a socket sends a reset.
    rustix::net::connect_unspec(stream)?;
    Err(ErrorKind::ConnectionReset.into())
}

/// A browser with a cookie jar, asking on and on.
struct User;

impl User {
    /// `left` names the servers that users may be sent away from. Answers how many requests it made.
    fn start(
        address: SocketAddr,
        stop: Arc<AtomicBool>,
        left: Arc<Mutex<Vec<String>>>,
    ) -> thread::JoinHandle<usize> {
        thread::spawn(move || {
            let (mut cookie, mut home) = (String::new(), String::new());
            let mut client = Client::connect(address);
            let mut requests = 0;
            while !stop.load(SeqCst) {
                let answer = client.ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{cookie}\r\n"));
                assert_eq!(answer.status(), 200);
                let server = answer.header("x-origin").unwrap_or("").to_owned();
                if server != home {
                    let may = home.is_empty() || left.lock().unwrap().contains(&home);
                    assert!(may, "sent from {home} to {server}");
                    let set = answer.header("set-cookie").expect("it is bound there");
                    let value = set.split(';').next().unwrap_or("");
                    cookie = format!("cookie: {value}\r\n");
                    home = server;
                }
                requests += 1;
                if answer.header("connection") == Some("close") {
                    client = Client::connect(address);
                }
                thread::sleep(Duration::from_millis(3));
            }
            requests
        })
    }
}

fn site(lines: &str, patients: &[Patient; 3]) -> String {
    let origins = patients.each_ref().map(|patient| &patient.origin);
    listener("web", "pool = \"app\"") + &pool("app", lines, &origins)
}

fn set_state(proxy: &Proxy, server: &str, state: &str) {
    set_state_in(proxy, "app", server, state);
}

#[track_caller]
fn set_state_in(proxy: &Proxy, pool: &str, server: &str, state: &str) {
    let path = format!("/api/v1/pools/{pool}/servers/{server}");
    let body = format!("{{\"state\": \"{state}\"}}");
    let answer = proxy.admin("PATCH", &path, body.as_bytes());
    assert_eq!(answer.status(), 200, "{}", answer.text());
}
