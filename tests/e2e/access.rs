//! The shipped filters that decide who gets in, on real requests; what a browser or curl would say, curl says.

use tidegate_tests::{Client, Origin, Port, Proxy, Setup, curl, listener, pool, reply};

/// Of `correct horse`, made as plugins/basic-auth/README.md says.
const ADA: &str = "pbkdf2-sha256$2000$c2FsdHNhbHQ=$3LqAhBOX3HnV33VBYY0bu7QFCbUib0ie8/+Uvab/YX4=";

#[test]
fn ip_access_refuses_by_address_as_the_proxy_believes_it() {
    let origin = Origin::named("a");
    let filter = r#"{ plugin = "ip-access", allow = ["127.0.0.0/8", "2001:db8::/32"], deny = ["127.0.0.9"] }"#;
    let proxy = Proxy::start(
        "[proxy]\ntrusted-proxies = [\"127.0.0.0/8\"]\n".to_owned()
            + &listener("web", &format!("filters = [{filter}]\npool = \"app\""))
            + &pool("app", "", &[&origin]),
    );
    let status = |source: [u8; 4], line: &str| {
        let mut client = Client::connect_from(source.into(), proxy.address("web"));
        let request = format!("GET / HTTP/1.1\r\nhost: x\r\n{line}\r\n");
        client.ask(&request).status()
    };
    assert_eq!(status([127, 0, 0, 1], ""), 200);
    assert_eq!(status([127, 0, 0, 9], ""), 403);
    for (address, expected) in [
        ("2001:db8::7", 200),
        ("2001:db9::7", 403),
        ("192.0.2.1", 403),
        ("127.0.0.9", 403),
    ] {
        let line = format!("x-forwarded-for: {address}\r\n");
        assert_eq!(status([127, 0, 0, 1], &line), expected, "{address}");
    }
}

#[test]
fn ip_access_reads_a_list_from_a_file_and_again_at_a_reload() {
    let origin = Origin::named("a");
    let filter = r#"{ plugin = "ip-access", deny = { file = "blocked.txt" } }"#;
    let config = listener("web", &format!("filters = [{filter}]\npool = \"app\""))
        + &pool("app", "", &[&origin]);
    let proxy = Setup::new(config)
        .file("blocked.txt", "192.0.2.0/24 # spam\n")
        .start();
    assert_eq!(proxy.get("/").status(), 200);
    proxy.write_file("blocked.txt", "192.0.2.0/24\n127.0.0.0/8\n");
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(proxy.get("/").status(), 403);
    assert_eq!(proxy.logged("/")["status"], 200, "the first");
}

#[test]
fn basic_auth_lets_curl_in_with_the_right_password() {
    let origin = Origin::named("a");
    let filter = format!(
        r#"{{ plugin = "basic-auth", realm = "Staff", user-header = "x-user", users = {{ ada = "{ADA}" }} }}"#
    );
    let proxy = Proxy::start(
        listener("web", &format!("filters = [{filter}]\npool = \"app\""))
            + &pool("app", "", &[&origin]),
    );
    let status = |user: &str| {
        curl(&[
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-u",
            user,
            &proxy.url("/"),
        ])
    };
    assert_eq!(status("ada:correct horse"), "200");
    let sent = origin.last();
    assert_eq!(
        (sent.header("x-user"), sent.header("authorization")),
        (Some("ada"), None)
    );
    assert_eq!(status("ada:battery staple"), "401");
    assert_eq!(status("bob:correct horse"), "401");
    assert_eq!(status("ada:correct horse"), "200", "now remembered");
    let asked = proxy.get("/");
    assert_eq!(asked.status(), 401);
    assert_eq!(
        asked.header("www-authenticate"),
        Some("Basic realm=\"Staff\", charset=\"UTF-8\"")
    );
    assert_eq!(origin.served(), 2);
}

#[test]
fn cors_answers_preflights_and_names_the_origin() {
    let origin = Origin::answering("a", |_, stream| {
        reply(
            stream,
            200,
            &[("access-control-allow-origin", "*"), ("vary", "accept")],
            "a\n",
        )
    });
    let filter = r#"{ plugin = "cors", origins = ["https://app.example"], methods = ["PUT"], credentials = true }"#;
    let proxy = Proxy::start(
        listener("web", &format!("filters = [{filter}]\npool = \"app\""))
            + &pool("app", "", &[&origin]),
    );
    let preflight = |from: &str| {
        proxy.send(&format!(
            "OPTIONS /x HTTP/1.1\nhost: x\norigin: {from}\naccess-control-request-method: PUT"
        ))
    };
    let answer = preflight("https://app.example");
    assert_eq!(answer.status(), 204);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(answer.header("access-control-allow-methods"), Some("PUT"));
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(preflight("https://evil.example").status(), 403);
    assert_eq!(origin.served(), 0);
    let answer = proxy.send("GET / HTTP/1.1\nhost: x\norigin: https://app.example");
    assert_eq!(
        answer.all("access-control-allow-origin"),
        ["https://app.example"]
    );
    assert_eq!(answer.all("vary"), ["accept", "Origin"]);
    let answer = proxy.send("GET / HTTP/1.1\nhost: x\norigin: https://evil.example");
    assert_eq!(
        (
            answer.status(),
            answer.header("access-control-allow-origin")
        ),
        (200, None)
    );
}

#[test]
fn ext_auth_asks_once_and_keeps_the_yes() {
    let (app, auth) = (Origin::named("app"), guardian());
    let proxy = guarded(
        "keep = \"1m\", tell-target = false",
        &app,
        &pool("auth", "", &[&auth]),
    );
    let ask = |token: &str| {
        proxy.send(&format!(
            "GET /x?y HTTP/1.1\nhost: x\nauthorization: {token}\nx-user: forged"
        ))
    };
    for _ in 0..8 {
        assert_eq!(ask("good").status(), 200);
        assert_eq!(app.last().all("x-user"), ["ada"]);
    }
    assert_eq!(auth.served(), 1, "the other workers know it too");
    for _ in 0..3 {
        let answer = ask("bad");
        assert_eq!(
            (answer.status(), answer.header("www-authenticate")),
            (401, Some("Bearer"))
        );
    }
    assert_eq!((auth.served(), app.served()), (4, 8));
}

#[test]
fn ext_auth_tells_what_is_asked_for() {
    let (app, auth) = (Origin::named("app"), guardian());
    let proxy = guarded("", &app, &pool("auth", "", &[&auth]));
    assert_eq!(
        proxy
            .send("PUT /x?y HTTP/1.1\nhost: shop.example\nauthorization: good\ncontent-length: 0")
            .status(),
        200
    );
    let asked = auth.last();
    let told = ["method", "host", "uri", "proto"].map(|name| {
        asked
            .header(&format!("x-forwarded-{name}"))
            .map(str::to_owned)
    });
    assert_eq!(
        told,
        ["PUT", "shop.example", "/x?y", "http"].map(|text| Some(text.to_owned()))
    );
}

#[test]
fn ext_auth_lets_nobody_in_when_it_cannot_decide() {
    let (app, gone) = (Origin::named("app"), Port::free());
    let nobody = format!(
        "[[pool]]\nname = \"auth\"\nservers = [{{ address = \"{}\" }}]\n",
        gone.address()
    );
    let broken = Origin::answering("auth", |_, stream| reply(stream, 500, &[], "oops"));
    for auth in [nobody, pool("auth", "", &[&broken])] {
        let proxy = guarded("", &app, &auth);
        let answer = proxy.send("GET / HTTP/1.1\nhost: x\nauthorization: good");
        assert_eq!(
            (answer.status(), answer.header("retry-after")),
            (503, Some("1"))
        );
    }
    assert_eq!(app.served(), 0);
}

/// Says yes to `good`, as ada.
fn guardian() -> Origin {
    Origin::answering("auth", |request, stream| {
        match request.header("authorization") {
            Some("good") => reply(stream, 204, &[("x-user", "ada")], ""),
            _ => reply(
                stream,
                401,
                &[("www-authenticate", "Bearer")],
                "who are you?",
            ),
        }
    })
}

fn guarded(settings: &str, app: &Origin, auth: &str) -> Proxy {
    let plugin = format!(
        "[proxy]\nworkers = 4\n[[plugin]]\nname = \"sso\"\nshipped = \"ext-auth\"\ngrants = [\"fetch:auth\"]\n\
         config = {{ pool = \"auth\", path = \"/check\", pass = [\"x-user\"], {settings} }}\n"
    );
    let plugin = plugin.replace(",  }", " }");
    Proxy::start(
        plugin
            + &listener("web", "filters = [\"sso\"]\npool = \"app\"")
            + &pool("app", "", &[app])
            + auth,
    )
}
