//! Servers of HTTP/2: what they get, and how they are used.

use std::thread;

use tidegate_tests::{Client, Proxy, Server, curl, listener, wait_until};

use super::frames;

fn proxy(server: &Server, workers: usize) -> Proxy {
    Proxy::start(format!(
        "[proxy]\nworkers = {workers}\n{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nservers = [{{ address = \"{}\" }}]\n",
        listener("web", "pool = \"app\""),
        server.address()
    ))
}

#[test]
fn a_request_of_http_1_becomes_one_of_http_2() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 say(sorted(request.items()))\n        say(self.bodies[stream])\n        \
                 self.answer(stream, b'abc', [('x-a', '1'), ('set-cookie', 'a'), ('set-cookie', 'b')])\n\
         serve(C)",
    );
    let proxy = proxy(&server, 1);
    let answer = proxy.send(
        "POST /p?q HTTP/1.1\nhost: Shop.example:81\nconnection: keep-alive, x-mine\nx-mine: 1\nkeep-alive: 5\nte: trailers, gzip\n\
         Cookie: a=1; b=2\nX-Other: 1\ncontent-length: 0\nupgrade: h2c",
    );
    assert_eq!((answer.status(), answer.text().as_str()), (200, "abc"));
    assert_eq!(answer.all("set-cookie"), ["a", "b"]);
    let lines = server.wait_for(2);
    for part in [
        "(':authority', 'Shop.example:81')",
        "(':method', 'POST')",
        "(':path', '/p?q')",
        "(':scheme', 'http')",
        "('te', 'trailers')",
        "('cookie', 'a=1; b=2')",
        "('x-other', '1')",
        "('x-forwarded-for', '127.0.0.1')",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    for name in [
        "'host'",
        "connection",
        "x-mine",
        "keep-alive",
        "upgrade",
        "transfer-encoding",
    ] {
        assert!(!lines[0].contains(name), "{name} in {}", lines[0]);
    }
}

/// What HTTP/1.1's reader lets through and URIs don't have is said encoded; what can't be said is the client's fault, and no
/// server's.
#[test]
fn no_target_makes_a_server_fail() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request): self.answer(stream, request[':path'].encode())\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "[proxy]\nworkers = 1\n{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nretries = 0\nservers = [{{ address = \"{}\" }}]\n\
         passive = {{ max-fails = 1, eject = \"1h\", max-eject = \"1h\", max-ejected = \"100%\", on = [\"broken\"] }}\n",
        listener("web", "pool = \"app\""),
        server.address()
    ));
    for (sent, got) in [
        ("/a<b>`?c", "/a%3Cb%3E%60?c"),
        ("/?q=\"<x>\"", "/?q=%22%3Cx%3E%22"),
        ("/a\"{b}|^%2F[c]", "/a\"{b}|^%2F[c]"),
    ] {
        let answer = proxy.send(&format!("GET {sent} HTTP/1.1\nhost: h"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, got));
    }
    let unsayable = proxy.send("GET /unsayable HTTP/1.1\nhost: a%41");
    assert_eq!(unsayable.status(), 400);
    assert_eq!(proxy.logged("/unsayable")["fault"], "bad-target");
    assert_eq!(proxy.get("/").text(), "/");
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def event(self, event):\n        \
                 if isinstance(event, h2.events.TrailersReceived): say(dict(event.headers))\n        \
                 super().event(event)\n    \
             def ended(self, stream, request):\n        \
                 body = self.bodies[stream]\n        \
                 self.h2.send_headers(stream, [(':status', '200')])\n        \
                 self.h2.send_data(stream, str(len(body)).encode())\n        \
                 self.h2.send_headers(stream, [('x-end', '8')], end_stream=True)\n\
         serve(C)",
    );
    let proxy = proxy(&server, 1);
    let mut client = Client::connect(proxy.address("web"));
    let body = "a".repeat(70_000);
    let request = format!(
        "POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\nx-sum: 7\r\n\r\n",
        body.len()
    );
    client.write(request.as_bytes()).expect("sent");
    let answer = client.read().expect("an answer");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "70000"));
    assert_eq!(answer.trailers, b"x-end: 8\r\n\r\n");
    assert_eq!(server.wait_for(1)[0], "{'x-sum': '7'}");
}

#[test]
fn interim_answers_pass() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 self.h2.send_headers(stream, [(':status', '103'), ('link', '</a>')])\n        \
                 self.answer(stream, b'a')\n\
         serve(C)",
    );
    let proxy = proxy(&server, 1);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let said = curl(&["-s", "-i", version, &proxy.url("/")]);
        let heads: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("HTTP/"))
            .collect();
        assert!(
            heads[0].contains(" 103") && heads[1].contains(" 200"),
            "{said}"
        );
        assert!(said.contains("link: </a>"), "{said}");
    }
}

#[test]
fn a_worker_has_one_connection_to_a_server() {
    let server = Server::start("from serving import *\nserve(Connection)");
    let proxy = proxy(&server, 1);
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let address = proxy.address("web");
            thread::spawn(move || {
                let mut client = Client::connect(address);
                (0..20).map(|_| client.get("/").text()).collect::<String>()
            })
        })
        .collect();
    for said in asking {
        assert_eq!(said.join().expect("it asks"), "1".repeat(20));
    }
}

#[test]
fn no_more_streams_than_the_server_takes() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             settings = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 2}\n    active, most = 0, 0\n    \
             def began(self, stream, request):\n        \
                 self.active += 1\n        say('active', self.active)\n    \
             def ended(self, stream, request):\n        \
                 def end():\n            self.active -= 1\n            self.answer(stream, b'a')\n        \
                 self.later(0.3, end)\n\
         serve(C)",
    );
    let proxy = proxy(&server, 1);
    let url = proxy.url("/[1-6]");
    let said = curl(&["-s", "--parallel", "--parallel-immediate", &url]);
    assert_eq!(said, "aaaaaa");
    let lines = server.wait_for(6);
    assert_eq!(lines.len(), 6, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line == "active 1" || line == "active 2"),
        "{lines:?}"
    );
}

/// A server that goes, or refuses a stream, has not looked at the request: it is sent again, whatever its method.
#[test]
fn what_a_server_has_not_looked_at_is_sent_again() {
    for refusal in [
        "self.h2.reset_stream(stream, 7)",
        "self.h2.close_connection(0, last_stream_id=0)",
    ] {
        let script = format!(
            "from serving import *\nrefused = []\n\
             class C(Connection):\n    \
                 def ended(self, stream, request):\n        \
                     if request[':path'] == '/refuse' and not refused:\n            refused.append(1)\n            {refusal}\n        \
                     else: self.answer(stream, request[':method'].encode())\n\
             serve(C)"
        );
        let server = Server::start(&script);
        let proxy = proxy(&server, 1);
        assert_eq!(proxy.get("/").text(), "GET");
        let answer = proxy.send("POST /refuse HTTP/1.1\nhost: h\ncontent-length: 0");
        assert_eq!(answer.text(), "POST", "{refusal}");
        assert_eq!(proxy.logged("/refuse")["attempts"], 1, "{refusal}");
        assert_eq!(proxy.get("/").text(), "GET");
    }
}

/// With a body too, as far as it came: another server gets it from its beginning.
#[test]
fn what_a_server_refuses_another_gets_with_its_body() {
    let refusing = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def began(self, stream, request):\n        \
                 if request[':path'] == '/early': say('early'), self.h2.reset_stream(stream, 7)\n    \
             def ended(self, stream, request):\n        say('late')\n        self.h2.reset_stream(stream, 7)\n\
         serve(C)",
    );
    let echoing = Server::start(
        "from serving import *\n\
         class C(Connection):\n    def ended(self, stream, request): self.answer(stream, self.bodies[stream])\nserve(C)",
    );
    let (refuses, echoes) = (refusing.address(), echoing.address());
    let servers = |list: &[std::net::SocketAddr]| {
        let list: Vec<_> = list
            .iter()
            .map(|at| format!("{{ address = \"{at}\" }}"))
            .collect();
        format!("http = \"h2\"\nservers = [{}]\n", list.join(", "))
    };
    let proxy = Proxy::start(format!(
        "[proxy]\nworkers = 1\n{}{}[[pool]]\nname = \"app\"\nbalancer = \"round-robin\"\n{}[[pool]]\nname = \"one\"\n{}",
        listener("web", "pool = \"app\""),
        listener("one", "pool = \"one\""),
        servers(&[refuses, echoes]),
        servers(&[refuses])
    ));
    let script = "streams = iter(range(1, 99, 2))\n\
                  for path in ['/early', '/early', '/late', '/late'] * 2:\n    \
                      n = next(streams)\n    c.request(n, 'POST', path, end=False)\n    c.data(n, b'one ', end=False)\n    \
                      time.sleep(0.05)\n    c.data(n, b'two')\n    say(c.whole(n))";
    assert_eq!(frames(&proxy, script), "200 one two\n".repeat(8));
    let said = refusing.lines();
    assert!(
        said.contains(&"early".into()) && said.contains(&"late".into()),
        "{said:?}"
    );
    let mut client = Client::connect(proxy.address("web"));
    for _ in 0..2 {
        let answer = client.ask("POST /late HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
    let before = refusing.lines().len();
    let mut alone = Client::connect(proxy.address("one"));
    alone
        .write(b"POST /late HTTP/1.1\r\nhost: h\r\ncontent-length: 20000\r\n\r\n")
        .unwrap();
    alone.write(&[b'x'; 20_000]).unwrap();
    assert_eq!(alone.read().unwrap().status(), 502);
    let said = refusing.wait_for(before + 1);
    assert_eq!(said.len(), before + 1, "so much is not kept");
}

/// Not so one that breaks off: whether it was carried out, nobody knows.
#[test]
fn what_may_have_been_carried_out_is_not_sent_again() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 say(request[':method'])\n        self.h2.reset_stream(stream, 2)\n\
         serve(C)",
    );
    let proxy = proxy(&server, 1);
    let answer = proxy.send("POST /once HTTP/1.1\nhost: h\ncontent-length: 0");
    assert_eq!(answer.status(), 502);
    assert_eq!(server.wait_for(1), ["POST"]);
    let line = proxy.logged("/once");
    assert_eq!(
        (&line["fault"], &line["termination"]),
        (&"server-closed".into(), &"SH".into())
    );
}

/// Nor what may be repeated, unless the connection was an old one that may have been closed before.
#[test]
fn a_new_connection_that_breaks_is_a_failure() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 if request[':path'] == '/': return self.answer(stream, b'')\n        \
                 say(request[':path'])\n        self.socket.shutdown(socket.SHUT_RDWR)\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "[proxy]\nworkers = 1\n{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\nretry-on = []\nservers = [{{ address = \"{}\" }}]\n",
        listener("web", "pool = \"app\""),
        server.address()
    ));
    assert_eq!(proxy.get("/new").status(), 502);
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.get("/kept").status(), 502);
    assert_eq!(server.wait_for(3), ["/new", "/kept", "/kept"]);
}

#[test]
fn a_client_that_goes_ends_its_stream_alone() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 say(request[':path'])\n        \
                 if request[':path'] != '/hold': self.answer(stream, str(self.number).encode())\n\
         serve(C)",
    );
    let proxy = proxy(&server, 1);
    let script = "c.request(1, path='/hold')\ntime.sleep(0.5)\nc.send(frames.RstStreamFrame(1, error_code=8))\n\
                  c.request(3)\nsay(c.whole(3))";
    assert_eq!(frames(&proxy, script), "200 1\n");
    wait_until("the server hears of it", || {
        server.lines().contains(&"reset /hold".to_owned())
    });
    assert_eq!(proxy.get("/").text(), "1", "the connection stays");
}

#[test]
fn a_server_that_speaks_no_http_2_is_a_bad_one() {
    let origin = tidegate_tests::Origin::answering("a", |_, stream| {
        tidegate_tests::reply(stream, 400, &[], "what?")
    });
    let proxy = Proxy::start(
        listener("web", "pool = \"app\"")
            + &tidegate_tests::pool("app", "http = \"h2\"", &[&origin]),
    );
    assert_eq!(proxy.get("/odd").status(), 502);
    assert_eq!(proxy.logged("/odd")["fault"], "bad-response");
}

/// One that is no more, and of which we have not heard: nothing comes on the connection, not even a reset.
#[test]
fn a_connection_that_is_dead_is_not_used_for_ever() {
    let server = Server::start(
        "from serving import *\n\
         class C(Connection):\n    \
             def ended(self, stream, request):\n        \
                 if request[':path'] == '/die': threading.Event().wait()\n        \
                 self.answer(stream, str(self.number).encode())\n\
         serve(C)",
    );
    let proxy = Proxy::start(format!(
        "[proxy]\nworkers = 1\n{}\n[[pool]]\nname = \"app\"\nhttp = \"h2\"\ntimeouts = {{ first-byte = \"1500ms\" }}\n\
         servers = [{{ address = \"{}\" }}]\n",
        listener("web", "pool = \"app\""),
        server.address()
    ));
    assert_eq!(proxy.get("/").text(), "1");
    assert_eq!(proxy.get("/die").status(), 504);
    assert_eq!(proxy.get("/").text(), "2");
}
