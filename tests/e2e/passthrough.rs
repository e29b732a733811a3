//! TLS that passes through: a plugin sends it where its server name says, and the certificate is the server's own.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_tests::{Port, Process, Proxy, Raw, Setup, guest, listener, wait_until};

#[test]
fn the_server_name_chooses_the_pool_and_tls_ends_at_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let servers = ["a.test", "b.test"].map(|name| Server::start(folder.path(), name));
    let pools: String = servers.iter().map(Server::pool).collect();
    let names = "connect = [{ plugin = \"admission\", names = { \"a.test\" = \"a.test\", \"*.test\" = \"b.test\" }, other-names = \"refuse\" }]";
    let lines = format!("mode = \"tcp\"\ntls-passthrough = true\n{names}");
    let proxy = Proxy::start(listener("tls", &lines) + &pools);
    for server in &servers {
        let answer = curl(proxy.address("tls"), server.name, folder.path());
        assert!(answer.contains("s_server"), "{answer}");
    }
    // Another's certificate would not do.
    let other = Command::new("curl")
        .args(["--silent", "--cacert"])
        .arg(folder.path().join("a.test.pem"))
        .args([
            "--connect-to",
            &format!("::{}", proxy.address("tls")),
            "https://b.test/",
        ])
        .output()
        .unwrap();
    assert_eq!(other.status.code(), Some(60), "the certificate is b's own");
    assert!(
        !hello(proxy.address("tls"), "example.com", &[])
            .status
            .success()
    );
    let lines = proxy.access_log(4);
    assert!(
        lines
            .iter()
            .any(|line| line["fault"] == "connection-refused")
    );
    let of = |pool: &str| lines.iter().filter(|line| line["pool"] == pool).count();
    assert_eq!((of("a.test"), of("b.test")), (1, 2));
}

#[test]
fn what_is_no_tls_is_reset_and_so_is_what_never_comes() {
    let server = Raw::serving(|_| Ok(()));
    let pools = plain("a.test", &server, "");
    let proxy = with_door("timeouts = { request-head = \"400ms\" }", &pools);
    let cases: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "tls-hello-malformed"),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 0], "tls-hello-malformed"),
        (&[22, 3, 1, 2, 0, 1, 0], "tls-hello-timeout"),
        (b"", "tls-hello-timeout"),
    ];
    for (bytes, word) in &cases {
        let mut client = TcpStream::connect(proxy.address("tls")).unwrap();
        client.write_all(bytes).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let read = client.read(&mut [0; 1]);
        assert!(
            read.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset),
            "{word}"
        );
    }
    let lines = proxy.access_log(cases.len());
    let of = |word: &str| lines.iter().filter(|line| line["fault"] == word).count();
    assert_eq!((of("tls-hello-malformed"), of("tls-hello-timeout")), (2, 2));
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_doorkeeper_that_traps_lets_nobody_in() {
    let server = Raw::serving(|_| Ok(()));
    let proxy = with_door("", &plain("a.test", &server, ""));
    let client = hello(proxy.address("tls"), "trap.test", &[]);
    assert!(!client.status.success());
    let line = &proxy.access_log(1)[0];
    assert_eq!(line["fault"], "connect-plugin-failed");
    assert_eq!(server.accepted(), 0);
}

#[test]
fn name_and_protocol_go_on_in_the_servers_proxy_line() {
    let server = Raw::serving(|mut stream| {
        let mut head = [0; 16];
        stream.read_exact(&mut head)?;
        let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest)?;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello)?;
        let length = u16::from_be_bytes([hello[3], hello[4]]);
        stream.read_exact(&mut vec![0; length.into()])?;
        assert_eq!(
            &rest[12..],
            b"\x01\x00\x02h2\x02\x00\x06a.test",
            "ALPN and authority"
        );
        assert_eq!(hello[0], 22, "then the hello");
        stream.write_all(b"as expected")
    });
    let proxy = with_door("", &plain("a.test", &server, "proxy-protocol = \"v2\""));
    let mut stream = TcpStream::connect(proxy.address("tls")).unwrap();
    stream.write_all(&recorded_hello("a.test")).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "as expected");
}

/// What openssl's client says first.
fn recorded_hello(name: &str) -> Vec<u8> {
    let (told, tell) = std::sync::mpsc::channel();
    let server = Raw::serving(move |mut stream| {
        let mut bytes = vec![0; 16 << 10];
        let count = stream.read(&mut bytes)?;
        let _ = told.send(bytes[..count].to_vec());
        Ok(())
    });
    hello(server.address(), name, &["-alpn", "h2,http/1.1"]);
    tell.recv_timeout(Duration::from_secs(20)).expect("a hello")
}

fn hello(address: SocketAddr, name: &str, more: &[&str]) -> std::process::Output {
    Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &address.to_string(),
            "-servername",
            name,
        ])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs")
}

/// An `openssl s_server` with a certificate of its own.
struct Server {
    name: &'static str,
    port: Port,
    _process: Process,
}

impl Server {
    fn start(folder: &Path, name: &'static str) -> Server {
        let at = |ending: &str| folder.join(format!("{name}.{ending}"));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-addext", &format!("subjectAltName=DNS:{name}")])
            .arg("-keyout")
            .arg(at("key"))
            .arg("-out")
            .arg(at("pem"))
            .output()
            .expect("openssl runs");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = Port::free();
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-www", "-accept", &port.address().to_string()])
            .arg("-cert")
            .arg(at("pem"))
            .arg("-key")
            .arg(at("key"));
        let process = Process::start(&mut command);
        wait_until("openssl to listen", || {
            TcpStream::connect(port.address()).is_ok()
        });
        Server {
            name,
            port,
            _process: process,
        }
    }

    fn pool(&self) -> String {
        let (name, address) = (self.name, self.port.address());
        format!("[[pool]]\nname = \"{name}\"\nservers = [{{ address = \"{address}\" }}]\n")
    }
}

fn plain(name: &str, server: &Raw, lines: &str) -> String {
    let address = server.address();
    format!("[[pool]]\nname = \"{name}\"\n{lines}\nservers = [{{ address = \"{address}\" }}]\n")
}

/// A proxy whose doorkeeper sends each name to the pool that is called so.
fn with_door(lines: &str, pools: &str) -> Proxy {
    let names: Vec<String> = ["a.test", "b.test"]
        .iter()
        .filter(|name| pools.contains(*name))
        .map(|name| format!("\"{name}\" = \"{name}\""))
        .collect();
    let door = format!(
        "[[plugin]]\nname = \"door\"\npath = \"door.wasm\"\nconfig = {{ trap = \"trap.test\", names = {{ {} }} }}\n",
        names.join(", ")
    );
    let lines = format!("mode = \"tcp\"\ntls-passthrough = true\nconnect = [\"door\"]\n{lines}");
    Setup::new(format!("{door}{}{pools}", listener("tls", &lines)))
        .file("door.wasm", guest("doorkeeper"))
        .start()
}

fn curl(address: SocketAddr, name: &str, folder: &Path) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(folder.join(format!("{name}.pem")))
        .args([
            "--connect-to",
            &format!("::{address}"),
            &format!("https://{name}/"),
        ])
        .output()
        .expect("curl runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
