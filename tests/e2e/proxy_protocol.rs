//! The PROXY protocol, from proxies before this one and to servers behind it; HAProxy is the other end where there is one.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use tidegate_tests::{
    Client, Message, Origin, Port, Process, Proxy, Raw, Setup, curl, listener, pool, reply,
    wait_until,
};

const TRUSTING: &str = "[proxy]\nworkers = 2\ntrusted-proxies = [\"127.0.0.1\"]\n";
const LINE: &str = "PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";

#[test]
fn the_address_in_the_line_is_the_clients() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(requiring("", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client.write(LINE.as_bytes()).unwrap();
    assert_eq!(client.get("/one").status(), 200);
    assert_eq!(client.get("/two").status(), 200, "once a connection");
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"));
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"));
    let line = proxy.logged("/two");
    assert_eq!(
        (&line["client"], &line["client_port"]),
        (&"203.0.113.7".into(), &4711.into())
    );
    let peer = line["peer"].as_str().unwrap();
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
}

#[test]
fn what_the_client_says_of_itself_is_not_believed() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(requiring("", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client.write(LINE.as_bytes()).unwrap();
    client.ask("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 198.51.100.1\r\n\r\n");
    let seen = origin.last();
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("203.0.113.7"),
        "the proxy is trusted, its client is not"
    );
}

#[test]
fn curl_can_be_the_proxy() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(requiring("", &origin));
    let answer = curl(&["--silent", "--haproxy-protocol", &proxy.url("/curl")]);
    assert_eq!(answer, "a\n");
    assert_eq!(origin.last().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn a_local_command_leaves_the_proxys_own_address() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(requiring("", &origin));
    let mut client = Client::connect(proxy.address("web"));
    client.write(&v2(0x20, 0x00, &[])).unwrap();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.last().header("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn who_is_not_trusted_or_speaks_badly_or_not_at_all_is_reset() {
    let origin = Origin::named("a");
    let timeouts = "timeouts = { request-head = \"400ms\" }";
    let proxy = Proxy::start(requiring(timeouts, &origin));
    let cases: [(Ipv4Addr, &[u8], &str); 5] = [
        (
            Ipv4Addr::new(127, 0, 0, 2),
            LINE.as_bytes(),
            "proxy-untrusted",
        ),
        (
            Ipv4Addr::LOCALHOST,
            b"GET / HTTP/1.1\r\n\r\n",
            "proxy-malformed",
        ),
        (
            Ipv4Addr::LOCALHOST,
            &v2(0x21, 0x11, &[1, 2, 3]),
            "proxy-malformed",
        ),
        (Ipv4Addr::LOCALHOST, b"PROXY TCP4 203.0", "proxy-timeout"),
        (Ipv4Addr::LOCALHOST, b"", "proxy-timeout"),
    ];
    for (source, bytes, word) in &cases {
        let client = Client::connect_from(*source, proxy.address("web"));
        let mut stream = client.socket().try_clone().unwrap();
        // A reset may come before all is written; then the error is the write's.
        let reset = stream.write_all(bytes).is_err();
        assert!(reset || is_reset(stream), "{word}");
    }
    let mut words: Vec<String> = proxy
        .access_log(cases.len())
        .iter()
        .map(|line| line["fault"].as_str().expect("a word").to_owned())
        .collect();
    words.sort();
    let mut expected: Vec<&str> = cases.iter().map(|case| case.2).collect();
    expected.sort();
    assert_eq!(words, expected);
    let labels = [("listener", "web"), ("fault", "proxy-malformed")];
    assert_eq!(proxy.metrics().sum("tidegate_faults_total", &labels), 2.0);
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_clients_connections_are_counted_behind_its_proxy() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(requiring("max-connections-per-client = 1", &origin));
    let through = |client: &str| {
        let mut through = Client::connect(proxy.address("web"));
        let line = format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n");
        through.write(line.as_bytes()).unwrap();
        through
    };
    let mut first = through("203.0.113.7");
    assert_eq!(first.get("/").status(), 200);
    assert!(is_reset(
        through("203.0.113.7").socket().try_clone().unwrap()
    ));
    assert_eq!(through("203.0.113.8").get("/").status(), 200);
    drop(first);
    wait_until("its place to be free", || {
        through("203.0.113.7")
            .try_ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .is_ok()
    });
}

#[test]
fn a_listener_that_requires_lines_of_nobody_is_refused() {
    let origin = Origin::named("a");
    let config = requiring("", &origin).replace("trusted-proxies = [\"127.0.0.1\"]", "");
    let (code, _, words) = Setup::new(config).run("check");
    assert_eq!(code, 1);
    assert!(words.contains("nobody's are believed"), "{words}");
}

#[test]
fn haproxy_sends_and_receives() {
    let origin = Origin::named("a");
    let (front, back) = (Port::free(), Port::free());
    let chain = Proxy::start(format!(
        "{TRUSTING}{}[[pool]]\nname = \"app\"\nproxy-protocol = \"v2\"\nservers = [{{ name = \"b\", address = \"{}\" }}]\n",
        listener("web", "pool = \"app\"\nproxy-protocol = \"require\""),
        back.address(),
    ));
    let config = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n\
         frontend front\n bind {front}\n default_backend ours\n\
         backend ours\n server t {ours} send-proxy-v2 source 127.0.0.1\n\
         frontend back\n bind {back} accept-proxy\n option forwardfor header x-seen\n default_backend origin\n\
         backend origin\n server o {origin}\n",
        front = front.address(),
        ours = chain.address("web"),
        back = back.address(),
        origin = origin.address(),
    );
    let _haproxy = haproxy(chain.path(), &config, front.address());
    let mut client = Client::connect_from(Ipv4Addr::new(127, 0, 0, 9), front.address());
    assert_eq!(client.get("/through").status(), 200);
    let seen = origin.last();
    assert_eq!(
        seen.header("x-forwarded-for"),
        Some("127.0.0.9"),
        "what HAProxy told us"
    );
    assert_eq!(
        seen.header("x-seen"),
        Some("127.0.0.9"),
        "what we told HAProxy"
    );
    assert_eq!(chain.logged("/through")["client"], "127.0.0.9");
}

#[test]
fn a_connection_with_a_line_belongs_to_one_client() {
    for version in ["v1", "v2"] {
        let server = Raw::serving(http_behind_a_line);
        let app = format!(
            "[[pool]]\nname = \"app\"\nproxy-protocol = \"{version}\"\nservers = [{{ name = \"s\", address = \"{}\" }}]\n",
            server.address()
        );
        let proxy = Proxy::start(format!(
            "[proxy]\nworkers = 1\n{}{app}",
            listener("web", "pool = \"app\"")
        ));
        let mut first = Client::connect_from(Ipv4Addr::new(127, 0, 0, 5), proxy.address("web"));
        let mut second = Client::connect_from(Ipv4Addr::new(127, 0, 0, 6), proxy.address("web"));
        for _ in 0..3 {
            assert_eq!(first.get("/").text(), "127.0.0.5");
            assert_eq!(second.get("/").text(), "127.0.0.6");
        }
        assert_eq!(server.accepted(), 2, "each kept its own");
    }
}

/// As HAProxy says it of its own checks (section 2.2): LOCAL, and nobody's address.
#[test]
fn a_probe_is_nobodys_connection() {
    let server = Raw::serving(|mut stream| {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        let local = header.ends_with(&[0x20, 0, 0, 0]);
        let mut reader = BufReader::new(stream.try_clone()?);
        while Message::read_request(&mut reader)?.is_some() {
            reply(&mut stream, if local { 200 } else { 500 }, &[], "")?;
        }
        Ok(())
    });
    let app = format!(
        "[[pool]]\nname = \"app\"\nproxy-protocol = \"v2\"\nservers = [{{ name = \"s\", address = \"{}\" }}]\n\
         health = {{ path = \"/\", interval = \"30ms\", fall = 1000, rise = 1 }}\n",
        server.address()
    );
    let proxy = Proxy::start(listener("web", "pool = \"app\"") + &app);
    let probes = |result: &str| {
        let labels = [("server", "s"), ("result", result)];
        proxy.metrics().sum("tidegate_server_probes_total", &labels)
    };
    wait_until("a probe is answered", || {
        probes("passed") + probes("failed") > 0.0
    });
    assert_eq!(probes("failed"), 0.0);
}

#[test]
fn a_line_may_come_before_tcp_and_go_on() {
    let server = Raw::serving(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        stream.write_all(line.as_bytes())
    });
    let app = format!(
        "[[pool]]\nname = \"app\"\nproxy-protocol = \"v1\"\nservers = [{{ address = \"{}\" }}]\n",
        server.address()
    );
    let lines = "mode = \"tcp\"\npool = \"app\"\nproxy-protocol = \"require\"";
    let proxy = Proxy::start(format!("{TRUSTING}{}{app}", listener("db", lines)));
    let mut client = TcpStream::connect(proxy.address("db")).unwrap();
    client.write_all(LINE.as_bytes()).unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, LINE, "client and destination are those of the line");
}

/// Answers each request with the client that the line before them named.
fn http_behind_a_line(mut stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut begin = [0; 12];
    reader.read_exact(&mut begin)?;
    let client = match begin.starts_with(b"PROXY ") {
        true => {
            let mut rest = Vec::new();
            reader.read_until(b'\n', &mut rest)?;
            let line = [&begin[..], &rest].concat();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.split(' ').nth(2).unwrap_or_default().to_owned()
        }
        false => {
            let mut header = [0; 16];
            reader.read_exact(&mut header)?;
            assert_eq!(&header[..4], [0x21, 0x11, 0, 12]);
            let [a, b, c, d] = [header[4], header[5], header[6], header[7]];
            Ipv4Addr::new(a, b, c, d).to_string()
        }
    };
    while Message::read_request(&mut reader)?.is_some() {
        reply(&mut stream, 200, &[], &client)?;
    }
    Ok(())
}

fn requiring(lines: &str, origin: &Origin) -> String {
    let lines = format!("pool = \"app\"\nproxy-protocol = \"require\"\n{lines}");
    format!(
        "{TRUSTING}{}{}",
        listener("web", &lines),
        pool("app", "", &[origin])
    )
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let head = [command, family, 0, rest.len() as u8];
    [b"\r\n\r\n\0\r\nQUIT\n", &head[..], rest].concat()
}

fn is_reset(mut stream: TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let read = stream.read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
}

fn haproxy(folder: &std::path::Path, config: &str, up: SocketAddr) -> Process {
    let path = folder.join("haproxy.cfg");
    fs::write(&path, config).unwrap();
    let haproxy = Process::start(Command::new("haproxy").arg("-db").arg("-f").arg(&path));
    wait_until("HAProxy to listen", || TcpStream::connect(up).is_ok());
    haproxy
}
