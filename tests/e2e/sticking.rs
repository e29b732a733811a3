//! Users come back to the server that holds their session: with curl and its cookie jar, several workers, servers that drain,
//! die and come back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use tidegate_tests::{Message, Origin, Proxy, Setup, curl, listener, reply, server};

const WORKERS: &str = "[proxy]\nworkers = 4\n";

#[test]
fn a_cookie_jar_stays_and_others_are_shared_out() {
    let origins = abc();
    let proxy = Proxy::start(site(COOKIE, &origins, [1, 1, 1]));
    let users: Vec<User> = (0..6).map(|_| User::new(&proxy)).collect();
    let mut seen = BTreeSet::new();
    for user in &users {
        let first = user.get();
        assert!((0..6).all(|_| user.get() == first), "{first}");
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "new users go round: {seen:?}");
    let cookies = origins
        .iter()
        .flat_map(Origin::requests)
        .filter(|request| request.header("cookie").is_some());
    assert_eq!(cookies.count(), 0, "servers don't see it");
}

#[test]
fn the_cookie_is_set_once_with_its_attributes() {
    let origins = abc();
    let proxy = Proxy::start(site(COOKIE, &origins, [1, 1, 1]));
    let first = proxy.get("/");
    let origin = first.text();
    let cookie = format!("SERVERID={origin}; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(first.all("set-cookie"), [cookie.as_str()]);
    assert_eq!(first.all("cache-control"), ["private"]);
    let again = proxy.send(&format!(
        "GET / HTTP/1.1\nhost: x\ncookie: a=1; SERVERID={origin}; b=2"
    ));
    assert_eq!(
        (again.text(), again.header("set-cookie")),
        (origin.clone(), None)
    );
    let sent = origins
        .iter()
        .find(|known| known.name == origin)
        .unwrap()
        .last();
    assert_eq!(sent.header("cookie"), Some("a=1; b=2"));
    let gone = proxy.send("GET / HTTP/1.1\nhost: x\ncookie: SERVERID=nobody");
    assert_eq!(gone.all("set-cookie").len(), 1, "a server that there isn't");
    let lines = proxy.access_log(3);
    assert!(
        lines
            .iter()
            .any(|line| line["notes"]["sticky"] == origin.as_str()),
        "{lines:?}"
    );
}

#[test]
fn a_draining_server_keeps_its_users_and_takes_no_new_ones() {
    let origins = abc();
    let mut proxy = Proxy::start(site(COOKIE, &origins, [1, 1, 1]));
    let users: Vec<User> = (0..6).map(|_| User::new(&proxy)).collect();
    let before: Vec<String> = users.iter().map(User::get).collect();
    assert!(before.contains(&"a".to_owned()));
    proxy.reconfigure(site(COOKIE, &origins, [0, 1, 1]));
    let after: Vec<String> = users.iter().map(User::get).collect();
    assert_eq!(before, after);
    assert!((0..9).all(|_| proxy.get("/").text() != "a"), "new users");
    proxy.reconfigure(site(COOKIE, &origins, [0, 0, 0]));
    assert_eq!(users.iter().map(User::get).collect::<Vec<_>>(), before);
    assert_eq!(proxy.get("/").status(), 503, "nobody for new ones");
}

#[test]
fn a_dead_server_loses_its_users_and_they_stay_where_they_went() {
    for sticky in [COOKIE, SEALED, TABLE] {
        let origins = abc();
        let proxy = Proxy::start(site(sticky, &origins, [1, 1, 1]));
        let user = User::new(&proxy);
        let first = user.get();
        let dead = origins.iter().find(|origin| origin.name == first).unwrap();
        let (address, name) = (dead.address(), first.clone());
        dead.stop();
        let second = user.get();
        assert_ne!(first, second);
        assert!((0..5).all(|_| user.get() == second), "{sticky}");
        let body = name.clone();
        let _back = Origin::on(address, &name, move |_, stream| {
            reply(stream, 200, &[], &body)
        });
        assert!(
            (0..5).all(|_| user.get() == second),
            "{sticky}: it came back"
        );
    }
}

#[test]
fn a_sealed_cookie_says_nothing_and_cannot_be_made_up() {
    let origins = abc();
    let proxy = Proxy::start(site(SEALED, &origins, [1, 1, 1]));
    let value = |answer: &Message| {
        let set = answer.header("set-cookie").expect("a cookie is set");
        set.split(['=', ';']).nth(1).unwrap().to_owned()
    };
    let answers: Vec<Message> = (0..6).map(|_| proxy.get("/")).collect();
    let values: BTreeSet<String> = answers.iter().map(value).collect();
    assert_eq!(values.len(), 6, "two of one server differ too");
    let (sealed, origin) = (value(&answers[0]), answers[0].text());
    let ask = |value: &str| {
        proxy.send(&format!(
            "GET / HTTP/1.1\nhost: x\ncookie: SERVERID={value}"
        ))
    };
    for _ in 0..5 {
        let answer = ask(&sealed);
        assert_eq!(
            (answer.text(), answer.header("set-cookie")),
            (origin.clone(), None)
        );
    }
    for forged in ["a", &sealed[2..], &sealed.replace(&sealed[5..9], "AAAA")] {
        assert!(ask(forged).header("set-cookie").is_some(), "{forged}");
    }
}

/// An application with sessions in memory: it makes `SID` for who has none of its own, and answers with its name and how often
/// this session was here.
fn application(name: &str) -> Origin {
    let own = name.to_owned();
    let sessions: Mutex<BTreeMap<String, u32>> = Mutex::default();
    Origin::answering(name, move |request, stream| {
        let sent = request
            .header("cookie")
            .and_then(|cookie| cookie.strip_prefix("SID="))
            .map(str::to_owned);
        let mut sessions = sessions.lock().unwrap();
        let (id, set) = match sent.filter(|id| sessions.contains_key(id)) {
            Some(id) => (id, None),
            None => {
                let id = format!("{own}-{}", sessions.len());
                (id.clone(), Some(format!("SID={id}; Path=/; HttpOnly")))
            }
        };
        let count = sessions
            .entry(id)
            .and_modify(|count| *count += 1)
            .or_insert(1);
        let body = format!("{own} {count}\n");
        match set {
            Some(set) => reply(
                stream,
                200,
                &[("set-cookie", "other=1"), ("set-cookie", &set)],
                &body,
            ),
            None => reply(stream, 200, &[], &body),
        }
    })
}

#[test]
fn sessions_in_memory_work_by_prefix_and_by_what_is_learned() {
    for sticky in [
        "{ plugin = \"sticky-cookie\", mode = \"prefix\", cookie = \"SID\" }",
        "{ plugin = \"sticky-table\", learn = \"SID\" }",
    ] {
        let origins = ["a", "b", "c"].map(application);
        let proxy = Proxy::start(site(sticky, &origins, [1, 1, 1]));
        // The jar holds the application's other cookie too, which the application doesn't read; it must not be in the way.
        let first = proxy.get("/");
        let set = first.all("set-cookie");
        assert_eq!((set.len(), set[0]), (2, "other=1"));
        let sid = set[1].split(';').next().unwrap();
        let (name, _) = first
            .text()
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        for count in 2..12 {
            let answer = proxy.send(&format!("GET / HTTP/1.1\nhost: x\ncookie: {sid}"));
            assert_eq!(answer.text(), format!("{name} {count}"), "{sticky}");
        }
    }
}

#[test]
fn a_servers_cookie_is_rewritten() {
    let origins = ["a", "b", "c"].map(|name| {
        Origin::answering(name, move |_, stream| {
            reply(
                stream,
                200,
                &[("set-cookie", "SRV=x; Path=/app"), ("set-cookie", "k=v")],
                name,
            )
        })
    });
    let proxy = Proxy::start(site(
        "{ plugin = \"sticky-cookie\", mode = \"rewrite\", cookie = \"SRV\" }",
        &origins,
        [1, 1, 1],
    ));
    let answer = proxy.get("/");
    let mut set = answer.all("set-cookie");
    set.sort_unstable();
    assert_eq!(
        set,
        [format!("SRV={}; Path=/app", answer.text()).as_str(), "k=v"]
    );
    for _ in 0..5 {
        assert_eq!(
            proxy.send("GET / HTTP/1.1\nhost: x\ncookie: SRV=b").text(),
            "b"
        );
    }
}

#[test]
fn a_client_without_cookies_sends_a_header_again() {
    let origins = abc();
    let proxy = Proxy::start(site(
        "{ plugin = \"sticky-header\", header = \"x-at\" }",
        &origins,
        [1, 1, 1],
    ));
    let first = proxy.get("/");
    assert_eq!(first.header("x-at"), Some(first.text().as_str()));
    for _ in 0..6 {
        let answer = proxy.send("GET / HTTP/1.1\nhost: x\nx-at: c");
        assert_eq!(
            (answer.text().as_str(), answer.header("x-at")),
            ("c", Some("c"))
        );
    }
    assert_eq!(origins[2].last().header("x-at"), None);
}

#[test]
fn a_table_is_shared_by_the_workers_and_outlives_a_reload() {
    let origins = abc();
    let mut proxy = Proxy::start(site(TABLE, &origins, [1, 1, 1]));
    let ask = |proxy: &Proxy, user: u32| {
        proxy
            .send(&format!("GET / HTTP/1.1\nhost: x\nx-user: {user}"))
            .text()
    };
    let first: Vec<String> = (0..9).map(|user| ask(&proxy, user)).collect();
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
    for _ in 0..5 {
        assert_eq!(
            (0..9).map(|user| ask(&proxy, user)).collect::<Vec<_>>(),
            first
        );
    }
    proxy.reconfigure(site(TABLE, &origins, [0, 5, 1]));
    assert_eq!(
        (0..9).map(|user| ask(&proxy, user)).collect::<Vec<_>>(),
        first
    );
}

#[test]
fn a_plugin_that_is_not_sticky_is_refused() {
    let origins = abc();
    let setup = Setup::new(site("\"first\"", &origins, [1, 1, 1]));
    let (code, _, said) = setup.run("check");
    assert_eq!(code, 1);
    assert!(
        said.contains("plugin \"first\" is no sticky plugin"),
        "{said}"
    );
}

const COOKIE: &str = "{ plugin = \"sticky-cookie\", cookie = \"SERVERID\" }";
const TABLE: &str = "{ plugin = \"sticky-table\", on = \"header:x-user\", expire = \"1h\" }";
const SEALED: &str =
    "{ plugin = \"sticky-cookie\", secret = \"0123456789abcdef0123456789abcdef\" }";

/// curl with a cookie jar of its own, and a name that it tells.
struct User {
    jar: tempfile::NamedTempFile,
    url: String,
}

impl User {
    fn new(proxy: &Proxy) -> User {
        User {
            jar: tempfile::NamedTempFile::new().unwrap(),
            url: proxy.url("/"),
        }
    }

    /// The name of the server that answers.
    fn get(&self) -> String {
        let jar = self.jar.path().to_str().unwrap();
        curl(&["-b", jar, "-c", jar, "-H", "x-user: ada", &self.url])
            .trim()
            .to_owned()
    }
}

fn abc() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

fn site(sticky: &str, origins: &[Origin; 3], weights: [u32; 3]) -> String {
    let servers = origins.iter().zip(weights);
    let servers: Vec<String> = servers
        .map(|(origin, weight)| server(origin, &format!(", weight = {weight}")))
        .collect();
    format!(
        "{WORKERS}{}\n[[pool]]\nname = \"app\"\nbalancer = \"round-robin\"\nsticky = {sticky}\nservers = [{}]\n",
        listener("web", "pool = \"app\""),
        servers.join(", ")
    )
}
