//! What is true of two things at once: TLS, HTTP/2, the PROXY protocol, TCP mode, probes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tidegate_tests::{
    Authority, Browser, Front, Origin, Proxy, Setup, curl, listener, openssl, pool, reply,
    wait_for, wait_until,
};

#[test]
fn http2_is_chosen_over_tls_and_goes_to_servers_of_either_kind() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = Setup::new(
        listener("web", "tls = { certificates = ['site.pem'] }\npool = 'app'")
            + &pool("app", "", &[&origin]),
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .file("ca.pem", ca.pem())
    .start();
    let version = |more: &str| https(&proxy, &[more, "--write-out", "%{http_version}"]);
    assert_eq!(version("--http2"), "app\n2");
    assert_eq!(version("--http1.1"), "app\n1.1");
    let lines = proxy.access_log(2);
    let versions: Vec<_> = lines.iter().map(|line| line["version"].as_str()).collect();
    assert_eq!(versions, [Some("HTTP/2"), Some("HTTP/1.1")]);
    assert_eq!(origin.last().header("x-forwarded-proto"), Some("https"));
    let offered = openssl(
        proxy.path(),
        &[
            "s_client",
            "-alpn",
            "h2",
            "-connect",
            &proxy.address("web").to_string(),
        ],
        "",
    );
    assert!(offered.contains("ALPN protocol: h2"), "{offered}");
}

#[test]
fn the_dashboard_tells_how_long_certificates_last() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = Setup::new(
        listener("web", "tls = { certificates = ['site.pem'] }\npool = 'app'")
            + &pool("app", "", &[&origin]),
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .start();
    let browser = Browser::open(1280, 900, false);
    browser.go(&format!("http://{}/", proxy.address("admin")));
    browser.wait_for_text("#listeners", "https");
    wait_until("days are told", || {
        let text = browser.text("#listeners");
        text.lines()
            .any(|line| line.contains("in ") && line.contains(" d"))
    });
}

#[test]
fn http2_can_be_switched_off_over_tls() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = Setup::new(
        listener(
            "web",
            "tls = { certificates = ['site.pem'] }\nhttp2 = { enabled = false }\npool = 'app'",
        ) + &pool("app", "", &[&origin]),
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .file("ca.pem", ca.pem())
    .start();
    let version = https(&proxy, &["--http2", "--write-out", "%{http_version}"]);
    assert_eq!(version, "app\n1.1");
}

#[test]
fn a_proxy_line_comes_before_tls() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = Setup::new(
        "[proxy]\ntrusted-proxies = ['127.0.0.1']\nworkers = 2\n".to_owned()
            + &listener(
                "web",
                "proxy-protocol = 'require'\ntls = { certificates = ['site.pem'] }\npool = 'app'",
            )
            + &pool("app", "", &[&origin]),
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .file("ca.pem", ca.pem())
    .start();
    for version in ["--http1.1", "--http2"] {
        let answer = https(&proxy, &[version, "--haproxy-protocol"]);
        assert_eq!(answer, "app\n", "{version}");
        assert_eq!(origin.last().header("x-forwarded-for"), Some("127.0.0.1"));
    }
    assert_eq!(proxy.access_log(2)[1]["client"], "127.0.0.1");
}

#[test]
fn probes_go_over_the_tls_that_requests_go_over() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let front = Front::of(origin.address(), &ca.issue(&["app.test"]));
    let to = |name: &str| {
        let server = format!("{{ name = 'a', address = '{}' }}", front.address());
        let health = "health = { path = '/health', interval = '30ms', timeout = '5s' }";
        let tls = format!("tls = {{ ca = 'ca.pem', server-name = '{name}' }}");
        listener("web", "pool = 'app'")
            + &format!("\n[[pool]]\nname = 'app'\nservers = [{server}]\n{tls}\n{health}\n")
    };
    let mut proxy = Setup::new(to("app.test")).file("ca.pem", ca.pem()).start();
    let server = |proxy: &Proxy| proxy.status()["pools"][0]["servers"][0].clone();
    wait_until("a probe has passed", || {
        server(&proxy)["last_probe"].to_string().contains("200")
    });
    assert_eq!(server(&proxy)["state"], "ready");
    assert_eq!(proxy.get("/").text(), "app");
    // Another name than the certificate has: what requests would meet, probes meet too.
    proxy.reconfigure(to("other.test"));
    wait_until("the server is down", || server(&proxy)["state"] == "down");
    let why = server(&proxy)["last_probe"].to_string();
    assert!(why.contains("other.test") || why.contains("name"), "{why}");
}

#[test]
fn tls_ends_in_front_of_tcp() {
    let ca = Authority::new("ca");
    let echo = echo();
    let proxy = Setup::new(
        listener(
            "db",
            "mode = 'tcp'\ntls = { certificates = ['site.pem'] }\npool = 'app'",
        ) + &format!(
            "\n[[pool]]\nname = 'app'\nservers = [{{ name = 'a', address = '{echo}' }}]\n"
        ),
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .start();
    let address = proxy.address("db");
    let mut client = tidegate_tests::tls_connect(address, &ca, "site.test");
    client.write_all(b"through").expect("it is there");
    let mut heard = [0; 7];
    client.read_exact(&mut heard).expect("it comes back");
    assert_eq!(&heard, b"through");
    drop(client);
    let line = &proxy.access_log(1)[0];
    assert_eq!(
        (&line["listener"], &line["bytes_in"]),
        (&"db".into(), &7.into())
    );
}

#[test]
fn sessions_end_with_the_server_that_probes_find_down() {
    let well = Arc::new(AtomicBool::new(true));
    let asked = well.clone();
    let origin = Origin::answering("a", move |request, stream| {
        let status = match request.target() {
            "/primary" if !asked.load(SeqCst) => 503,
            _ => 200,
        };
        reply(stream, status, &[], "a\n")
    });
    let config = |what: &str| {
        listener("db", "mode = 'tcp'\npool = 'app'")
            + &pool(
                "app",
                &format!(
                    "on-marked-down = '{what}'\nhealth = {{ path = '/primary', interval = '30ms', fall = 2 }}"
                ),
                &[&origin],
            )
    };
    let mut proxy = Proxy::start(config("close"));
    let state = |proxy: &Proxy| proxy.status()["pools"][0]["servers"][0]["state"].clone();
    let mut session = session(proxy.address("db"));
    well.store(false, SeqCst);
    wait_until("the server is down", || state(&proxy) == "down");
    assert!(session.read(&mut [0; 64]).is_err(), "it is reset");
    wait_until("it is told of", || {
        let lines = proxy.access_log(1);
        lines.iter().any(|line| line["fault"] == "server-down")
    });

    well.store(true, SeqCst);
    wait_until("the server is up", || state(&proxy) == "ready");
    proxy.reconfigure(config("keep"));
    let mut kept = self::session(proxy.address("db"));
    well.store(false, SeqCst);
    wait_until("the server is down", || state(&proxy) == "down");
    ask(&mut kept).expect("it is kept");
}

/// A connection to the server behind, which has answered once. Balancers are told of a server's state a moment after the status
/// shows it.
fn session(address: SocketAddr) -> TcpStream {
    wait_for("a connection is served", || {
        let mut stream = TcpStream::connect(address).ok()?;
        let patience = Some(std::time::Duration::from_secs(20));
        stream.set_read_timeout(patience).ok()?;
        ask(&mut stream).ok()?;
        Some(stream)
    })
}

fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")?;
    let mut heard = Vec::new();
    let mut piece = [0; 256];
    while !heard.ends_with(b"a\n") {
        match stream.read(&mut piece)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => heard.extend_from_slice(&piece[..read]),
        }
    }
    Ok(())
}

fn echo() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut from = stream.try_clone()?;
                std::io::copy(&mut from, &mut stream)
            });
        }
    });
    address
}

fn https(proxy: &Proxy, more: &[&str]) -> String {
    let address = proxy.address("web");
    let resolve = format!("site.test:{}:127.0.0.1", address.port());
    let ca = proxy.path().join("ca.pem").display().to_string();
    let url = format!("https://site.test:{}/", address.port());
    curl(&[&["--resolve", &resolve, "--cacert", &ca, &url][..], more].concat())
}
