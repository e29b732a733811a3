//! WebSockets, over HTTP/1.1 with a client and a server of their own, and over HTTP/2 (RFC 8441) with the same server.

use std::thread;

use tidegate_tests::{Origin, Proxy, Server, listener, python, reply, site, wait_until};

use super::frames;

const SERVER: &str = r#"
import asyncio, sys, websockets
async def echo(socket, path=None):
    async for message in socket: await socket.send(message)
    print("closed", socket.close_code, flush=True)
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

/// A WebSocket over a stream of HTTP/2: `ws(c, 1)`, then `say(exchange(c, 1, b"…"))`.
const OVER_H2: &str = r#"
import os
def ws(c, stream, path="/ws", more=()):
    c.until(lambda: 8 in c.settings)
    head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path), (":authority", "h"),
            ("sec-websocket-version", "13"), *more]
    c.send(c.headers(stream, head, end=False))
    c.until(lambda: c.answer(stream).heads or c.answer(stream).over)
    return c.answer(stream).status
def message(text, code=1):
    key, n = os.urandom(4), len(text)
    length = bytes([n | 0x80]) if n < 126 else bytes([126 | 0x80]) + n.to_bytes(2, "big")
    return bytes([0x80 | code]) + length + key + bytes(b ^ key[i % 4] for i, b in enumerate(text))
def exchange(c, stream, text):
    a = c.answer(stream)
    a.data = b""
    c.data(stream, message(text), end=False)
    n = len(text) + (2 if len(text) < 126 else 4)
    c.until(lambda: len(a.data) >= n or a.over)
    return a.data[n - len(text):]
"#;

fn over_h2(proxy: &Proxy, script: &str) -> String {
    frames(proxy, &(OVER_H2.to_owned() + script))
}

fn before(server: &Server, more: &str) -> String {
    format!(
        "{}\n[[pool]]\nname = \"app\"\nservers = [{{ address = \"{}\" }}]\n",
        listener("web", &format!("pool = \"app\"\n{more}")),
        server.address()
    )
}

#[test]
fn over_http_1() {
    let server = Server::start(SERVER);
    let proxy = Proxy::start(before(&server, ""));
    let script = "import asyncio, sys, websockets\n\
                  async def main():\n    \
                      async with websockets.connect('ws://' + sys.argv[1] + '/ws', compression=None) as s:\n        \
                          for text in ('a', 'b' * 70000):\n            await s.send(text)\n            assert await s.recv() == text\n        \
                          print('fine')\n\
                  asyncio.run(main())";
    let said = python(script, &[&proxy.address("web").to_string()]);
    assert_eq!(said, "fine\n");
    wait_until("the server hears the end", || {
        server.lines().contains(&"closed 1000".to_owned())
    });
    assert_eq!(proxy.logged("/ws")["termination"], "--");
}

#[test]
fn over_http_2() {
    let server = Server::start(SERVER);
    let proxy = Proxy::start(before(&server, ""));
    let said = over_h2(
        &proxy,
        "say(ws(c, 1), c.settings[8], c.answer(1).field('sec-websocket-accept'))\nsay(ws(c, 3))\nsay(exchange(c, 1, b'hello'))\n\
         say(exchange(c, 3, b'x' * 60000) == b'x' * 60000)\nc.data(1, message(b'\\x03\\xe8', 8), end=False)\n\
         c.until(lambda: c.answer(1).over)\nsay(c.answer(1).ended)\nsay(exchange(c, 3, b'still'))",
    );
    assert_eq!(said, "200 1 None\n200\nb'hello'\nTrue\nTrue\nb'still'\n");
    wait_until("the server hears the end", || {
        server.lines().contains(&"closed 1000".to_owned())
    });
}

#[test]
fn a_reload_and_a_swap_leave_it_alone() {
    let server = Server::start(SERVER);
    let config = |more: &str| before(&server, more);
    let mut proxy = Proxy::start(config(""));
    let web = proxy.address("web").to_string();
    let folder = proxy.path().display().to_string();
    let client = thread::spawn(move || {
        let script = "import sys, time, os.path\nfrom frames import *\nc = Client(sys.argv[1])\n"
            .to_owned()
            + OVER_H2
            + "say(ws(c, 1))\nsay(exchange(c, 1, b'before'))\nopen(sys.argv[2] + '/ready', 'w').close()\n\
               for n in range(1000):\n    if os.path.exists(sys.argv[2] + '/go'): break\n    time.sleep(0.02)\n\
               say(exchange(c, 1, b'after'))";
        python(&script, &[&web, &folder])
    });
    wait_until("the WebSocket is open", || {
        proxy.path().join("ready").exists()
    });
    proxy.reconfigure(config("timeouts = { idle = \"50s\" }"));
    let wasm = tidegate_tests::shipped("least-connections");
    assert_eq!(proxy.swap("round-robin", &wasm).status(), 200);
    proxy.write_file("go", "");
    let said = client.join().expect("the client does not fail");
    assert_eq!(said, "200\nb'before'\nb'after'\n");
}

#[test]
fn silence_has_its_own_bound() {
    let server = Server::start(SERVER);
    let proxy = Proxy::start(before(
        &server,
        "timeouts = { tunnel = \"1s\", idle = \"60s\", body = \"100ms\" }",
    ));
    let said = over_h2(
        &proxy,
        "say(ws(c, 1))\ntime.sleep(0.5)\nsay(exchange(c, 1, b'hello'))\nsay(c.whole(1))",
    );
    assert_eq!(said, "200\nb'hello'\nreset 8\n");
    assert_eq!(proxy.logged("/ws")["fault"], "tunnel-timeout");
}

/// Whoever has not read the key is no WebSocket server (RFC 6455, 4.1).
#[test]
fn an_answer_must_prove_that_the_key_was_read() {
    use std::io::Write;
    let origin = Origin::answering("a", |request, stream| {
        match request.target() {
        "/lie" => stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n",
        ),
        // It knows of no Upgrade: what it says is a page.
        "/page" => reply(stream, 200, &[], "a page"),
        _ => reply(stream, 403, &[], "no"),
    }
    });
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = over_h2(
        &proxy,
        "say(ws(c, 1, '/lie'))\nsay(ws(c, 3, '/no'))\nsay(c.whole(3))\nsay(ws(c, 5, '/page'))",
    );
    assert_eq!(said, "502\n403\n403 no\n502\n");
    let request = origin.requests().remove(0);
    assert_eq!(request.first, "GET /lie HTTP/1.1");
    assert_eq!(request.all("upgrade"), ["websocket"]);
    assert_eq!(request.all("connection"), ["upgrade"]);
    assert_eq!(request.header("sec-websocket-key").map(str::len), Some(24));
    assert_eq!(request.header("sec-websocket-version"), Some("13"));
}

#[test]
fn nothing_but_a_websocket_is_connected() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(site("round-robin", &[&origin]));
    let said = frames(
        &proxy,
        "c.until(lambda: 8 in c.settings)\n\
         c.send(c.headers(1, [(':method', 'CONNECT'), (':authority', 'h:443')]))\nsay(c.whole(1).status)\n\
         head = [(':method', 'CONNECT'), (':protocol', 'other'), (':scheme', 'http'), (':path', '/'), (':authority', 'h')]\n\
         c.send(c.headers(3, head))\nsay(c.whole(3).status)\n\
         head = [(':method', 'GET'), (':protocol', 'websocket'), (':scheme', 'http'), (':path', '/'), (':authority', 'h')]\n\
         c.send(c.headers(5, head))\nsay(c.whole(5))",
    );
    assert_eq!(said, "405\n405\nreset 1\n");
    assert_eq!(origin.served(), 0);
}
