//! The dashboard as a person meets it, in a real browser. Pictures are kept in `target/tests-pictures`.

use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::thread;

use serde_json::json;
use tidegate_tests::{
    Browser, Dns, Load, Origin, Port, Proxy, TOKEN, get, listener, reply, root, server, site,
};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";

#[test]
fn it_shows_what_happens_as_it_happens() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a, &b]));
    let browser = Browser::open(1280, 1100, false);
    browser.go(&dashboard(&proxy));
    browser.wait_for_text("#state", "running");
    browser.wait_for_text("#pools", "by round-robin");
    browser.wait_for_text("#listeners", &proxy.address("web").to_string());
    browser.wait_for_text("#plugins", "warm");
    let load = Load::start(proxy.address("web"), &["/"]);
    // Its first tile: requests a second, more than ten by now.
    let busy = "const text = document.querySelector('.tile b').innerText.replace(/,/g, ''); return parseFloat(text) > 10";
    tidegate_tests::wait_until("the rate is shown", || {
        browser.script(busy, &json!([])) == true
    });
    browser.picture(&picture("dashboard.png"));
    load.finish().expect_only(200);

    proxy.write_config("[[listener]]\nname = \"<b>web</b>\"\n");
    assert_ne!(proxy.reload().status(), 200);
    // The caret text, as it is: nothing in it is taken for markup.
    browser.wait_for_text("#trouble", "what ran before runs on");
    browser.wait_for_text("#trouble pre", "-->");
    assert_eq!(
        browser.script(
            "return document.querySelectorAll('#trouble b').length",
            &json!([])
        ),
        0
    );
    browser.picture(&picture("dashboard-refused.png"));
}

#[test]
fn it_shows_who_waits_what_was_seen_of_servers_and_where_they_come_from() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::answering("busy", move |request, stream| {
        if request.target() == "/held" {
            let _ = gate.lock().expect("it is not poisoned").recv();
        }
        reply(stream, 200, &[], "ok")
    });
    let (gone, redis) = (Port::free(), Port::free());
    let dns = Dns::start();
    let dead = format!("{{ name = \"dead\", address = \"{}\" }}", gone.address());
    let config = dns.section("timeout = \"200ms\"")
        + &format!("[state]\nredis = \"redis://{}\"\n", redis.address())
        + &listener("web", "pool = \"app\"")
        + &format!(
            "[[pool]]\nname = \"app\"\nmax-queue = 2\nretries = 0\nbalancer = \"first\"\n\
             health = {{ path = \"/health\", interval = \"100ms\", fall = 2 }}\n\
             servers = [{}, {dead}, {{ name = \"named\", address = \"nowhere.test:80\" }}]\n",
            server(&origin, ", max-connections = 1")
        );
    let proxy = Proxy::start(config);
    let browser = Browser::open(1280, 1500, false);
    browser.go(&dashboard(&proxy));
    // A server that was found down, with what the last probe saw, and the change by name and time.
    browser.wait_for_text("#pools", "connection refused");
    browser.wait_for_text("#past-app-dead summary", "1 change");
    browser.click("#past-app-dead summary");
    browser.wait_for_text("#past-app-dead li", "down connection refused");
    // It stays open while the page goes on.
    let minutes =
        "return document.querySelectorAll('.tile svg path')[1].getAttribute('d').split('L').length";
    let points = || browser.script(minutes, &json!([])).as_u64();
    let before = points();
    tidegate_tests::wait_until("it has looked again", || points() > before);
    assert!(
        browser
            .text("#past-app-dead")
            .contains("connection refused")
    );

    browser.wait_for_text("#pools", "nowhere.test:80");
    browser.wait_for_text("#pools", "failing");
    browser.wait_for_text("#state-shared", &redis.address().to_string());
    browser.wait_for_text("#state-shared", "no answer");

    // One is served, two wait, and the next is sent away.
    let address = proxy.address("web");
    let asked: Vec<_> = (0..3)
        .map(|waiting| {
            let asked = thread::spawn(move || get(address, "/held").status());
            tidegate_tests::wait_until("it is on its way", || {
                let pool = &proxy.status()["pools"][0];
                pool["servers"][0]["in_flight"] == 1 && pool["queued"] == waiting
            });
            asked
        })
        .collect();
    assert_eq!(proxy.get("/").status(), 503);
    browser.wait_for_text(
        "#pools",
        "Queue: 2 waiting, at most 2 a line; sent away: full 0.",
    );
    browser.wait_for_text("#pools", "1 of 1");
    browser.picture(&picture("dashboard-queue.png"));
    (0..3).for_each(|_| open.send(()).expect("the origin waits"));
    for asked in asked {
        assert_eq!(asked.join().expect("it ends"), 200);
    }
    browser.wait_for_text("#pools", "Queue: 0 waiting");
}

#[test]
fn one_goes_back_by_keyboard_with_the_token_alone() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut proxy = Proxy::start(site("round-robin", &[&a]));
    proxy.reconfigure(site("round-robin", &[&b]));
    let browser = Browser::open(390, 1800, true);
    browser.go(&dashboard(&proxy));
    browser.wait_for_text("#history", "Go back");
    let locked = "return document.querySelector('#back-1').disabled";
    assert_eq!(browser.script(locked, &json!([])), true);
    browser.write("#token", "wrong");
    browser.press(ENTER);
    tidegate_tests::wait_until("it is unlocked", || {
        browser.script(locked, &json!([])) == false
    });
    // It is not the token: the proxy says so, and nothing has changed.
    browser.script("document.querySelector('#back-1').focus()", &json!([]));
    browser.press(ENTER);
    browser.wait_for_text("#ask-question", "generation 1");
    browser.press(&format!("{TAB}{ENTER}"));
    browser.wait_for_text("#trouble", "token is wrong");
    assert_eq!(proxy.generation(), 2);

    browser.write("#token", TOKEN);
    browser.press(ENTER);
    browser.wait_for_text("#lock", "unlocked");
    browser.script("document.querySelector('#back-1').focus()", &json!([]));
    browser.press(ENTER);
    browser.wait_for_text("#ask-question", "generation 1");
    browser.picture(&picture("dashboard-phone-dark.png"));
    // Cancel has the focus first.
    browser.press(ENTER);
    browser.script("document.querySelector('#back-1').focus()", &json!([]));
    browser.press(ENTER);
    browser.wait_for_text("#ask-question", "generation 1");
    browser.press(&format!("{TAB}{ENTER}"));
    proxy.wait_for_generation(3);
    assert_eq!(proxy.get("/").text(), "a");
    browser.wait_for_text("#history", "rollback to 1");
    browser.script(
        "document.querySelector('[data-state=drain]').focus()",
        &json!([]),
    );
    browser.press(ENTER);
    browser.wait_for_text("#ask-question", "no new users");
    browser.press(&format!("{TAB}{ENTER}"));
    browser.wait_for_text("#pools", "Use again");
    assert_eq!(proxy.status()["pools"][0]["servers"][0]["state"], "drain");
    // Nothing is wider than the phone.
    let fits = "return document.documentElement.scrollWidth <= window.innerWidth";
    assert_eq!(browser.script(fits, &json!([])), true);
}

fn dashboard(proxy: &Proxy) -> String {
    format!("http://{}/", proxy.address("admin"))
}

fn picture(name: &str) -> PathBuf {
    root().join("target/tests-pictures").join(name)
}
