//! Unix sockets, IPv6, and listeners with several addresses of different kinds.

use std::fs;
use std::io::{BufReader, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use tidegate_tests::{Client, Message, Origin, Port, Proxy, Raw, Setup, curl, listener, pool};

#[test]
fn a_listener_has_addresses_of_every_kind() {
    let origin = Origin::named("a");
    let port = Port::free().number();
    let bind = format!("bind = [\"@web\", \"[::1]:{port}\", \"unix:web.sock\"]");
    let proxy = Proxy::start(web("", &origin).replace("bind = \"@web\"", &bind));
    assert_eq!(proxy.get("/").status(), 200);
    let six = format!("http://[::1]:{port}/six");
    assert_eq!(curl(&["--silent", "--globoff", &six]), "a\n");
    assert_eq!(origin.last().header("x-forwarded-for"), Some("::1"));
    let socket = proxy.path().join("web.sock");
    let path = socket.to_str().unwrap();
    let answer = curl(&["--silent", "--unix-socket", path, "http://a.test/unix"]);
    assert_eq!(answer, "a\n");
    assert_eq!(origin.last().header("x-forwarded-for"), Some("127.0.0.1"));
    let line = proxy.logged("/unix");
    assert_eq!(
        (&line["client"], &line["client_port"]),
        (&"127.0.0.1".into(), &().into())
    );
    let addresses = proxy.status()["listeners"][0]["addresses"].clone();
    assert_eq!(addresses.as_array().unwrap().len(), 3, "{addresses}");
    assert!(addresses.to_string().contains("web.sock"), "{addresses}");
}

#[test]
fn its_file_has_its_permissions_and_goes_with_the_listener() {
    let origin = Origin::named("a");
    let both = |lines: &str| {
        web(lines, &origin).replace("bind = \"@web\"", "bind = [\"@web\", \"unix:web.sock\"]")
    };
    let mut proxy = Proxy::start(both("unix-mode = \"0640\""));
    let socket = proxy.path().join("web.sock");
    let file = fs::metadata(&socket).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o640);
    proxy.reconfigure(both("unix-mode = \"0640\"\nmax-connections = 7"));
    assert!(socket.exists(), "it is kept across a reload");
    proxy.reconfigure(both("unix-mode = \"0600\""));
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "other permissions are no other socket");
    let path = socket.to_str().unwrap();
    let answer = curl(&["--silent", "--unix-socket", path, "http://a.test/"]);
    assert_eq!(answer, "a\n");
    proxy.reconfigure(web("", &origin));
    assert!(!socket.exists());
    proxy.reconfigure(both(""));
    assert!(socket.exists());
    proxy.signal(tidegate_tests::Signal::TERM);
    assert!(proxy.exit().success());
    assert!(!socket.exists(), "nor is it left behind at the end");
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_never() {
    let origin = Origin::named("a");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.sock");
    let bind = format!("bind = [\"@web\", \"unix:{}\"]", path.display());
    let config = web("", &origin).replace("bind = \"@web\"", &bind);
    let other = UnixListener::bind(&path).unwrap();
    let setup = Setup::new(&config);
    let (code, _, words) = setup.run("run");
    assert_eq!(code, 1, "{words}");
    assert!(
        words.contains("can't be listened on") && words.contains("web.sock"),
        "{words}"
    );
    assert!(path.exists(), "the other's socket stays");
    drop(other);
    assert!(
        path.exists(),
        "its file stays when a process ends without a word"
    );
    let _proxy = Proxy::start(config);
    let answer = curl(&[
        "--silent",
        "--unix-socket",
        path.to_str().unwrap(),
        "http://a.test/",
    ]);
    assert_eq!(answer, "a\n");
}

#[test]
fn a_server_may_listen_at_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    Raw::at(&path, |mut stream| {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Message::read_request(&mut reader)? {
            let host = request.header("host").unwrap_or("none");
            let length = host.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{host}"
            )?;
        }
        Ok(())
    });
    let app = format!(
        "[[pool]]\nname = \"app\"\nservers = [{{ name = \"u\", address = \"unix:{}\" }}]\n",
        path.display()
    );
    let proxy = Proxy::start(listener("web", "pool = \"app\"") + &app);
    let mut client = Client::connect(proxy.address("web"));
    for _ in 0..2 {
        let host = client.ask("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(host.text(), "a.test");
    }
    let old = proxy.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.text(), "localhost", "a path is no host");
}

fn web(lines: &str, origin: &Origin) -> String {
    let lines = format!("pool = \"app\"\n{lines}");
    listener("web", &lines) + &pool("app", "", &[origin])
}
