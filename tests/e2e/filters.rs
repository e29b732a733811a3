//! The shipped filters, on real requests and responses.

use tidegate_tests::{Origin, Proxy, get, listener, pool, reply};

#[test]
fn headers_changes_both_ways_with_variables() {
    let origin = Origin::answering("a", |_, stream| {
        reply(
            stream,
            200,
            &[
                ("server", "secret/1.0"),
                ("x-kept", "1"),
                ("set-cookie", "a=1"),
            ],
            "a\n",
        )
    });
    let proxy = with_filter(
        "headers",
        r#"{ request = { set = { x-client = "{client-address}" }, add = { x-tag = ["one", "two"] }, remove = ["x-debug"] },
             response = { set = { x-served-by = "{pool}/{server}" }, add = { set-cookie = "b=2" }, remove = ["server"] } }"#,
        &origin,
    );
    let answer = proxy.send("GET / HTTP/1.1\nhost: x\nx-debug: 1\nx-client: forged\nx-tag: zero");
    let request = origin.last();
    assert_eq!(request.all("x-client"), ["127.0.0.1"]);
    assert_eq!(request.all("x-tag"), ["zero", "one", "two"]);
    assert_eq!(request.header("x-debug"), None);
    assert_eq!(answer.header("server"), None);
    assert_eq!(answer.header("x-kept"), Some("1"));
    assert_eq!(answer.header("x-served-by"), Some("app/a"));
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"], "never joined");
}

#[test]
fn rewrite_strips_a_prefix_and_keeps_the_query() {
    let origin = Origin::named("a");
    let proxy = with_filter("rewrite", "{ strip-prefix = \"/api\" }", &origin);
    for (asked, sent) in [
        ("/api/users?x=1", "/users?x=1"),
        ("/api", "/"),
        ("/apiary", "/apiary"),
        ("/other", "/other"),
    ] {
        proxy.get(asked);
        assert_eq!(origin.last().target(), sent, "{asked}");
    }
}

#[test]
fn rewrite_by_expression() {
    let origin = Origin::named("a");
    let settings = r#"{ regex = "^/user/([0-9]+)$", replacement = "/users?id=$1" }"#;
    let proxy = with_filter("rewrite", settings, &origin);
    proxy.get("/user/42");
    assert_eq!(origin.last().target(), "/users?id=42");
}

#[test]
fn respond_answers_without_a_server() {
    let origin = Origin::named("a");
    let settings = r#"{ status = 503, body = "soon\n", retry-after = "2m", path = "/shop" }"#;
    let proxy = with_filter("respond", settings, &origin);
    let answer = proxy.get("/shop/x");
    assert_eq!((answer.status(), answer.text().as_str()), (503, "soon"));
    assert_eq!(answer.header("retry-after"), Some("120"));
    assert_eq!(origin.served(), 0);
    assert_eq!(proxy.get("/other").text(), "a");
}

#[test]
fn https_redirect_sends_browsers_over_and_lets_acme_through() {
    let origin = Origin::named("a");
    let proxy = Proxy::start(
        listener("web", "filters = [\"https-redirect\"]\npool = \"app\"")
            + &pool("app", "", &[&origin]),
    );
    let answer = proxy.send("GET /x?y=1 HTTP/1.1\nhost: shop.example:8080");
    assert!([301, 308].contains(&answer.status()), "{}", answer.first);
    assert_eq!(
        answer.header("location"),
        Some("https://shop.example/x?y=1")
    );
    let challenge = proxy.get("/.well-known/acme-challenge/token");
    assert_eq!(challenge.text(), "a");
}

#[test]
fn security_headers_are_set_where_the_server_did_not() {
    let origin = Origin::answering("a", |_, stream| {
        reply(stream, 200, &[("x-frame-options", "SAMEORIGIN")], "a\n")
    });
    let proxy = Proxy::start(
        listener("web", "filters = [\"security-headers\"]\npool = \"app\"")
            + &pool("app", "", &[&origin]),
    );
    let answer = proxy.get("/");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.all("x-frame-options"), ["SAMEORIGIN"]);
}

#[test]
fn filters_run_in_order_and_responses_in_reverse() {
    let origin = Origin::named("a");
    let mark = |name: &str| {
        format!(
            "[[plugin]]\nname = \"{name}\"\nshipped = \"headers\"\n\
             config = {{ request = {{ add = {{ x-way = \"{name}\" }} }}, response = {{ add = {{ x-way = \"{name}\" }} }} }}\n"
        )
    };
    let proxy = Proxy::start(
        mark("first")
            + &mark("second")
            + &mark("third")
            + &listener(
                "web",
                "filters = [\"first\", \"second\"]\nrouter = \"router\"",
            )
            + "[[route]]\npath = \"/\"\npool = \"app\"\nfilters = [\"third\"]\n"
            + &pool("app", "", &[&origin]),
    );
    let answer = proxy.get("/");
    assert_eq!(origin.last().all("x-way"), ["first", "second", "third"]);
    assert_eq!(answer.all("x-way"), ["third", "second", "first"]);
}

#[test]
fn response_filters_see_the_proxys_own_pages_too() {
    let nobody = tidegate_tests::Port::free();
    let proxy = Proxy::start(
        listener("web", "filters = [\"security-headers\"]\npool = \"app\"")
            + &format!(
                "[[pool]]\nname = \"app\"\nservers = [{{ address = \"{}\" }}]\n",
                nobody.address()
            ),
    );
    let answer = get(proxy.address("web"), "/");
    assert!(answer.status() >= 500, "{}", answer.first);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

/// A listener with this shipped filter under these settings, in front of the origin.
fn with_filter(shipped: &str, settings: &str, origin: &Origin) -> Proxy {
    let one_line = settings.replace('\n', " ");
    Proxy::start(
        format!("[[plugin]]\nname = \"own\"\nshipped = \"{shipped}\"\nconfig = {one_line}\n")
            + &listener("web", "filters = [\"own\"]\npool = \"app\"")
            + &pool("app", "", &[origin]),
    )
}
