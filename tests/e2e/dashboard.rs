//! The dashboard as a person meets it, in a real browser. Pictures are kept in `target/tests-pictures`.

use std::path::PathBuf;

use serde_json::json;
use tidegate_tests::{Browser, Load, Origin, Proxy, TOKEN, root, site};

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
