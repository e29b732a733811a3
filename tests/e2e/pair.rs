//! Two hosts that share an address: real keepalived on both, set up as `examples/09-pair` says, a client and a server on a third,
//! and what clients notice when the master fails in one way or another.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{Host, Lan, Process, Signal, root, tidegate, wait_until};

const SHARED: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
const A: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);
const B: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 12);
const OTHERS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 20);

/// Nobody waits longer than this for a new connection: twice what it takes at most when the machine has nothing else to do.
const MOST: Duration = Duration::from_secs(5);

#[test]
fn one_host_takes_over_from_the_other() {
    let lan = Lan::new(&[("a", A), ("b", B), ("c", OTHERS)]);
    let outside = lan.host("c");
    outside.run(serve);
    let mut a = Member::start(lan.host("a"), "a");
    let b = Member::start(lan.host("b"), "b");
    wait_until("host a is the master", || {
        a.host.has(SHARED) && !b.host.has(SHARED)
    });
    let clients = Clients::start(&outside);
    clients.wait_for_one();

    // Its proxy is killed.
    a.proxy_signal(Signal::KILL);
    wait_until("host b takes over from a killed proxy", || {
        b.host.has(SHARED)
    });
    clients.wait_for_one();
    let killed = clients.worst();

    // It is started again, and takes the address back.
    a.start_proxy();
    wait_until("host a takes the address back", || {
        a.host.has(SHARED) && !b.host.has(SHARED)
    });
    clients.wait_for_one();
    let back = clients.worst();

    // It hangs.
    a.proxy_signal(Signal::STOP);
    wait_until("host b takes over from a proxy that hangs", || {
        b.host.has(SHARED)
    });
    clients.wait_for_one();
    let hangs = clients.worst();
    a.proxy_signal(Signal::CONT);
    wait_until("host a takes the address back", || {
        a.host.has(SHARED) && !b.host.has(SHARED)
    });
    clients.wait_for_one();
    clients.worst();

    // Its host is cut off.
    a.host.connect(false);
    wait_until("host b takes over from a host that is cut off", || {
        b.host.has(SHARED)
    });
    clients.wait_for_one();
    let cut = clients.worst();
    a.host.connect(true);
    wait_until("host a is the master again", || !b.host.has(SHARED));
    clients.wait_for_one();
    let again = clients.worst();

    println!("killed {killed:?}, back {back:?}, hangs {hangs:?}, cut off {cut:?}, again {again:?}");
    for (what, gap) in [
        ("killed", killed),
        ("back", back),
        ("cut off", cut),
        ("again", again),
    ] {
        assert!(gap < MOST, "{what}: no new connection for {gap:?}");
    }
    // Asked once a second, given a second to answer.
    assert!(
        hangs < MOST + Duration::from_secs(1),
        "hangs: no new connection for {hangs:?}"
    );
}

/// A host of the pair.
struct Member {
    host: Host,
    folder: tempfile::TempDir,
    proxy: Option<Process>,
    _keepalived: Process,
}

impl Member {
    fn start(host: Host, id: &str) -> Member {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let example = root().join("examples/09-pair");
        let ours = |name: &str, changes: &[(&str, &str)]| {
            let mut text = fs::read_to_string(example.join(name)).expect("the example's file");
            for (from, to) in changes {
                assert!(text.contains(from), "{name} has no {from:?}");
                text = text.replace(from, to);
            }
            fs::write(folder.path().join(name), text).expect("a file can be written");
        };
        let servers = OTHERS.to_string();
        ours(
            "tidegate.toml",
            &[("127.0.0.1:900", &format!("{servers}:900"))],
        );
        let (ended, binary) = (
            path(folder.path(), "ended"),
            tidegate().display().to_string(),
        );
        ours(
            "keepalived.conf",
            &[
                ("/usr/local/bin/tidegate", &binary),
                ("/run/tidegate/ended", &ended),
                // Who owns the binary under test.
                ("script_user nobody", "script_user root"),
            ],
        );
        let pid = |name: &str| path(folder.path(), name);
        let mut keepalived = host.command("keepalived");
        keepalived
            .args([
                "--dont-fork",
                "--log-console",
                "--log-detail",
                "--vrrp",
                "--config-id",
                id,
            ])
            .args([
                "--use-file",
                &pid("keepalived.conf"),
                "--pid",
                &pid("pid"),
                "--vrrp_pid",
                &pid("vrrp"),
            ]);
        fs::write(&ended, "0\n").expect("a file can be written");
        let mut member = Member {
            _keepalived: Process::start(&mut keepalived),
            host,
            proxy: None,
            folder,
        };
        member.start_proxy();
        member
    }

    /// As the example's `tidegate.service` does.
    fn start_proxy(&mut self) {
        const SERVICE: &str = "\"$0\" run -c tidegate.toml & echo $! > proxy.pid; echo 0 > ended; wait $!; echo 1 > ended";
        let mut shell = self.host.command("sh");
        shell
            .args(["-c", SERVICE])
            .arg(tidegate())
            .env("XDG_CACHE_HOME", path(self.folder.path(), "cache"))
            .current_dir(self.folder.path());
        self.proxy = Some(Process::start(&mut shell));
    }

    fn proxy_signal(&self, signal: Signal) {
        let pid = fs::read_to_string(self.folder.path().join("proxy.pid")).expect("it was started");
        let pid = pid.trim().parse().expect("a number");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("the proxy runs");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("proxy.pid")).ok();
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.trim().parse().ok()?));
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// The servers, until the test ends.
fn serve() {
    for port in [9001, 9002] {
        let listener = TcpListener::bind((OTHERS, port)).expect("nobody else is here");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || answer(stream));
            }
        });
    }
}

fn answer(mut stream: TcpStream) {
    let mut request = [0; 4096];
    while matches!(stream.read(&mut request), Ok(read) if read > 0) {
        if stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n")
            .is_err()
        {
            return;
        }
    }
}

/// Somebody who connects anew again and again.
struct Clients {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

struct Seen {
    last: Instant,
    count: u64,
    worst: Duration,
}

impl Clients {
    fn start(host: &Host) -> Clients {
        let clients = Clients {
            seen: Arc::new(Mutex::new(Seen {
                last: Instant::now(),
                count: 0,
                worst: Duration::ZERO,
            })),
            stop: Arc::default(),
        };
        let (seen, stop, host) = (clients.seen.clone(), clients.stop.clone(), host.clone());
        thread::spawn(move || {
            host.run(|| {
                while !stop.load(Relaxed) {
                    let well = ask().is_some();
                    let mut seen = seen.lock().expect("nobody panics with it");
                    if well {
                        seen.worst = seen.worst.max(seen.last.elapsed());
                        (seen.last, seen.count) = (Instant::now(), seen.count + 1);
                    }
                }
            });
        });
        clients
    }

    /// Waits for one that has begun after this was called, and has been answered.
    fn wait_for_one(&self) {
        let count = || self.seen.lock().expect("nobody panics with it").count;
        let before = count();
        wait_until("a client is served", || count() > before + 1);
    }

    /// The longest that nobody was served since this was last asked.
    fn worst(&self) -> Duration {
        std::mem::take(&mut self.seen.lock().expect("nobody panics with it").worst)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// One request on a connection of its own, given a moment.
fn ask() -> Option<()> {
    let moment = Duration::from_millis(200);
    let address = SocketAddr::from((SHARED, 8080));
    let mut stream = TcpStream::connect_timeout(&address, moment).ok()?;
    stream.set_read_timeout(Some(moment)).ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200 ").then_some(())
}
