//! `rate-limit`: what passes and what is refused, counted, with several workers drawing on the same buckets.

use std::thread;

use tidegate_tests::{Client, Origin, Proxy, curl, listener, pool};

#[test]
fn four_workers_let_exactly_the_burst_through() {
    let origin = Origin::named("a");
    let proxy = limited(r#"rate = "1/h", burst = 50"#, &origin);
    let address = proxy.address("web");
    // Connections are shared out over the workers; many, so that each has some.
    let ask = move || (0..10).map(move |_| Client::connect(address).get("/").status());
    let threads: Vec<_> = (0..20)
        .map(|_| thread::spawn(move || ask().collect::<Vec<_>>()))
        .collect();
    let statuses: Vec<u16> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(429)), (50, 150));
    assert_eq!(origin.served(), 50);
    let refused = proxy.metrics().sum("tidegate_plugin_refused_total", &[]);
    assert_eq!(refused, 150.0);
}

#[test]
fn clients_are_told_what_is_left_and_when_to_come_again() {
    let origin = Origin::named("a");
    let proxy = limited(r#"rate = "3/h""#, &origin);
    let fields = |answer: &tidegate_tests::Message| {
        ["ratelimit-policy", "ratelimit", "retry-after"]
            .map(|name| answer.header(name).map(str::to_owned))
    };
    let first = proxy.get("/");
    let policy = Some("\"default\";q=3;w=3600".to_owned());
    assert_eq!(
        fields(&first),
        [policy.clone(), Some("\"default\";r=2;t=1200".into()), None]
    );
    proxy.get("/");
    assert!(
        fields(&proxy.get("/"))[1]
            .as_deref()
            .unwrap()
            .starts_with("\"default\";r=0;")
    );
    let refused = proxy.get("/");
    assert_eq!(refused.status(), 429);
    assert_eq!(
        fields(&refused),
        [
            policy,
            Some("\"default\";r=0;t=1200".into()),
            Some("1200".into())
        ]
    );
    let lines = proxy.access_log(4);
    assert!(
        lines
            .iter()
            .any(|line| line.to_string().contains("over limit default")),
        "{lines:?}"
    );
}

#[test]
fn curl_waits_as_long_as_it_is_told_and_gets_through() {
    let origin = Origin::named("a");
    let proxy = limited(r#"rate = "1/s", burst = 1"#, &origin);
    assert_eq!(proxy.get("/").status(), 200);
    let answer = curl(&["--retry", "5", "--fail", &proxy.url("/")]);
    assert_eq!(answer.trim(), "a");
}

#[test]
fn a_limit_goes_by_header_and_outlives_a_reload() {
    let origin = Origin::named("a");
    let proxy = limited(
        r#"limits = [{ name = "key", rate = "2/h", by = "header:x-key" }]"#,
        &origin,
    );
    let status = |key: &str| {
        proxy
            .send(&format!("GET / HTTP/1.1\nhost: x\nx-key: {key}"))
            .status()
    };
    assert_eq!(
        [status("a"), status("a"), status("a"), status("b")],
        [200, 200, 429, 200]
    );
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!([status("a"), status("b"), status("b")], [429, 200, 429]);
}

fn limited(settings: &str, origin: &Origin) -> Proxy {
    Proxy::start(
        format!(
            "[proxy]\nworkers = 4\n[[plugin]]\nname = \"limit\"\nshipped = \"rate-limit\"\nconfig = {{ {settings} }}\n"
        ) + &listener("web", "filters = [\"limit\"]\npool = \"app\"")
            + &pool("app", "", &[origin]),
    )
}
