//! A proxy as systemd runs it: it says when it serves, reloads and leaves, and that it is alive.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tidegate_tests::{Origin, Proxy, Setup, Signal, site, wait_until};

/// Who listens in systemd's place.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn start(config: String, watchdog: Option<Duration>) -> (Manager, Proxy) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).expect("it has a timeout");
        let mut setup = Setup::new(config).env("NOTIFY_SOCKET", path.display().to_string());
        if let Some(watchdog) = watchdog {
            setup = setup.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let proxy = setup.start();
        let manager = Manager {
            socket,
            _folder: folder,
        };
        (manager, proxy)
    }

    /// The next thing that it is told.
    fn told(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).expect("something is told");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }
}

#[test]
fn systemd_is_told_of_start_reload_and_end() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let (manager, mut proxy) = Manager::start(site("round-robin", &[&a]), None);
    assert!(manager.told().starts_with("READY=1\nSTATUS=serving"));
    proxy.write_config(site("round-robin", &[&b]));
    proxy.signal(Signal::HUP);
    let reloading = manager.told();
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert!(manager.told().starts_with("READY=1\nSTATUS=serving\n"));
    assert_eq!(proxy.get("/").text(), "b");
    // It serves on, and says that this reload came to nothing.
    proxy.write_config("[[listener]]\n");
    proxy.signal(Signal::HUP);
    assert!(manager.told().starts_with("RELOADING=1\n"));
    let refused = manager.told();
    assert!(
        refused.starts_with("READY=1\n") && refused.contains("refused"),
        "{refused}"
    );
    assert_eq!(proxy.get("/").text(), "b");
    proxy.signal(Signal::TERM);
    assert!(manager.told().starts_with("STOPPING=1\n"));
    assert!(proxy.exit().success());
}

#[test]
fn the_watchdog_is_fed_as_long_as_the_proxy_runs() {
    let origin = Origin::named("a");
    let watchdog = Some(Duration::from_millis(100));
    let (manager, proxy) = Manager::start(site("round-robin", &[&origin]), watchdog);
    let mut fed = 0;
    while fed < 5 {
        fed += u32::from(manager.told().starts_with("WATCHDOG=1"));
    }
    proxy.signal(Signal::STOP);
    let moment = Some(Duration::from_millis(500));
    manager
        .socket
        .set_read_timeout(moment)
        .expect("it has a timeout");
    wait_until("nothing more is told", || {
        manager.socket.recv(&mut [0; 64]).is_err()
    });
    proxy.signal(Signal::CONT);
    wait_until("it is fed again", || {
        manager.socket.recv(&mut [0; 64]).is_ok()
    });
}

/// systemd holds the socket while one process ends and the next begins: whoever connects in between waits, and is served.
#[test]
fn a_restart_refuses_nobody_where_systemd_holds_the_socket() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("its address");
    let origin = Origin::named("a");
    let start = || {
        let config = site("round-robin", &[&origin]).replace("@web", &address.to_string());
        Setup::new(config).socket(&held).start()
    };
    let mut first = start();
    let ask = || {
        let mut client = TcpStream::connect(address).expect("nobody is refused");
        let patience = Some(Duration::from_secs(20));
        client.set_read_timeout(patience).expect("it has a timeout");
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .expect("it is taken");
        client.shutdown(Shutdown::Write).expect("it is open");
        client
    };
    let answer = |mut client: TcpStream| {
        let mut all = String::new();
        client.read_to_string(&mut all).expect("an answer");
        all
    };
    assert!(answer(ask()).starts_with("HTTP/1.1 200"));
    first.signal(Signal::TERM);
    assert!(first.exit().success());
    let between: Vec<TcpStream> = (0..20).map(|_| ask()).collect();
    let _second = start();
    for client in between {
        let said = answer(client);
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}
