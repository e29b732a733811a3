//! A filter that asks another server first: the plugin of `examples/04-authorisation` before a service that says yes, says no,
//! is slow, is gone, or was never granted.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tidegate_tests::{
    Block, Document, Origin, Port, Proxy, Setup, Story, listener, pool, reply, root,
};

#[test]
fn yes_lets_through_and_tells_the_server_who_asks() {
    let (app, auth) = (Origin::named("app"), guardian());
    let proxy = guarded(&app, &pool("auth", "", &[&auth]), GRANTED);
    let answer = proxy.send("GET /x HTTP/1.1\nhost: x\nauthorization: Bearer good\nx-user: forged");
    assert_eq!(answer.text(), "app");
    assert_eq!(
        app.last().all("x-user"),
        ["ada"],
        "the service's word, not the client's"
    );
    let asked = auth.last();
    assert_eq!(
        (asked.target(), asked.header("authorization")),
        ("/check", Some("Bearer good"))
    );
}

#[test]
fn no_is_the_clients_answer() {
    let (app, auth) = (Origin::named("app"), guardian());
    let proxy = guarded(&app, &pool("auth", "", &[&auth]), GRANTED);
    let answer = proxy.send("GET /x HTTP/1.1\nhost: x\nauthorization: Bearer bad");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (401, "who are you?")
    );
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(app.served(), 0);
}

#[test]
fn a_service_that_is_gone_lets_nobody_through() {
    let (app, gone) = (Origin::named("app"), Port::free());
    let auth = format!(
        "[[pool]]\nname = \"auth\"\nservers = [{{ address = \"{}\" }}]\n",
        gone.address()
    );
    let proxy = guarded(&app, &auth, GRANTED);
    assert_eq!(
        proxy
            .send("GET /x HTTP/1.1\nhost: x\nauthorization: Bearer good")
            .status(),
        503
    );
    assert_eq!(app.served(), 0);
}

#[test]
fn a_service_that_is_slow_is_given_up_and_holds_nobody_else() {
    let app = Origin::named("app");
    let slow = Origin::answering("slow", |request, stream| {
        if request.header("authorization") == Some("Bearer slow") {
            thread::sleep(Duration::from_secs(8));
        }
        reply(stream, 200, &[], "")
    });
    let proxy = guarded(&app, &pool("auth", "", &[&slow]), GRANTED);
    let address = proxy.address("web");
    let start = Instant::now();
    let waiting = thread::spawn(move || {
        tidegate_tests::send(
            address,
            "GET /x HTTP/1.1\nhost: x\nauthorization: Bearer slow",
        )
        .status()
    });
    tidegate_tests::wait_until("the slow question is asked", || slow.served() == 1);
    for _ in 0..20 {
        assert_eq!(
            proxy
                .send("GET /x HTTP/1.1\nhost: x\nauthorization: Bearer quick")
                .status(),
            200
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "others waited {:?}",
        start.elapsed()
    );
    assert_eq!(
        waiting.join().expect("the client does not fail"),
        504,
        "five seconds are the most unless the plugin says"
    );
}

#[test]
fn what_the_config_does_not_grant_is_not_called() {
    let (app, auth) = (Origin::named("app"), guardian());
    let proxy = guarded(&app, &pool("auth", "", &[&auth]), "");
    assert_eq!(
        proxy
            .send("GET /x HTTP/1.1\nhost: x\nauthorization: Bearer good")
            .status(),
        503
    );
    assert_eq!((auth.served(), app.served()), (0, 0));
}

const GRANTED: &str = "grants = [\"fetch:auth\"]\n";

fn guarded(app: &Origin, auth: &str, grants: &str) -> Proxy {
    let plugin = "[[plugin]]\nname = \"ask-first\"\npath = \"ask_first.wasm\"\n\
                  config = { pool = \"auth\", path = \"/check\", copy = [\"authorization\"], pass = [\"x-user\"] }\n";
    let config = plugin.to_owned()
        + grants
        + &listener("web", "filters = [\"ask-first\"]\npool = \"app\"")
        + &pool("app", "", &[app])
        + auth;
    Setup::new(config)
        .file("ask_first.wasm", ask_first())
        .start()
}

/// Knows one token.
fn guardian() -> Origin {
    Origin::answering("guardian", |request, stream| {
        match request.header("authorization") {
            Some("Bearer good") => reply(stream, 200, &[("x-user", "ada")], ""),
            _ => reply(
                stream,
                401,
                &[("www-authenticate", "Bearer"), ("connection", "close")],
                "who are you?\n",
            ),
        }
    })
}

/// The example's plugin, built once.
fn ask_first() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut story = Story::of(&root().join("examples/04-authorisation"));
        let build = "tidegate plugin build ask-first -o ask_first.wasm\n";
        story.follow(&Document {
            blocks: vec![Block {
                language: "sh".into(),
                text: build.into(),
                line: 1,
            }],
        });
        std::fs::read(story.folder().join("ask_first.wasm")).expect("it was built")
    })
}
