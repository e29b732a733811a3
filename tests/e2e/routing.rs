//! `[[route]]`, as the shipped router reads it.

use tidegate_tests::{Message, Origin, Proxy, get, listener, pool};

#[test]
fn by_host() {
    let site = Site::with(
        "[[route]]\nhost = \"one.example\"\npool = \"one\"\n[[route]]\nhost = \"*.two.example\"\npool = \"two\"\n",
    );
    assert_eq!(site.ask("GET / HTTP/1.1\nhost: one.example").text(), "one");
    assert_eq!(
        site.ask("GET / HTTP/1.1\nhost: ONE.example:8080").text(),
        "one",
        "case and port don't count"
    );
    assert_eq!(
        site.ask("GET / HTTP/1.1\nhost: www.two.example").text(),
        "two"
    );
    assert_eq!(
        site.ask("GET / HTTP/1.1\nhost: two.example").text(),
        "rest",
        "a wildcard needs a label"
    );
    assert_eq!(
        site.ask("GET / HTTP/1.1\nhost: other.example").text(),
        "rest"
    );
}

#[test]
fn by_path_at_segment_boundaries() {
    let site = Site::with(
        "[[route]]\npath = \"/api\"\npool = \"one\"\n[[route]]\npath-exact = \"/api/exact\"\npool = \"two\"\n",
    );
    for (path, origin) in [
        ("/api", "one"),
        ("/api/", "one"),
        ("/api/x", "one"),
        ("/api?x=/y", "one"),
        ("/apix", "rest"),
        ("/API", "rest"),
        ("/api/exact", "two"),
        ("/api/exact?x=1", "two"),
        ("/api/exact/", "one"),
    ] {
        assert_eq!(site.get(path).text(), origin, "{path}");
    }
}

#[test]
fn the_most_specific_wins_then_the_first() {
    let site = Site::with(
        "[[route]]\npath = \"/\"\npool = \"one\"\n[[route]]\npath = \"/a/b\"\npool = \"two\"\n\
         [[route]]\npath = \"/c\"\nheaders = { x-a = true }\npool = \"two\"\n\
         [[route]]\npath = \"/c\"\nheaders = { x-b = true }\npool = \"one\"\n",
    );
    assert_eq!(site.get("/a/b/c").text(), "two");
    assert_eq!(site.get("/a").text(), "one");
    assert_eq!(
        site.ask("GET /c HTTP/1.1\nhost: x\nx-b: 1\nx-a: 1").text(),
        "two"
    );
}

#[test]
fn by_method_header_and_query() {
    let site = Site::with(
        "[[route]]\nmethod = [\"POST\", \"PUT\"]\npool = \"one\"\n\
         [[route]]\nheaders = { x-version = \"2\" }\npool = \"two\"\n\
         [[route]]\nquery = { debug = \"1\" }\npool = \"one\"\n",
    );
    assert_eq!(
        site.ask("POST / HTTP/1.1\nhost: x\ncontent-length: 0")
            .text(),
        "one"
    );
    assert_eq!(
        site.ask("GET / HTTP/1.1\nhost: x\nX-Version: 2").text(),
        "two"
    );
    assert_eq!(
        site.ask("GET / HTTP/1.1\nhost: x\nX-Version: 3").text(),
        "rest"
    );
    assert_eq!(site.get("/?a=b&debug=1").text(), "one");
    assert_eq!(site.get("/?debug=12").text(), "rest");
}

#[test]
fn a_split_follows_its_weights() {
    let site = Site::with("[[route]]\npath = \"/\"\nsplit = { one = 90, two = 10 }\n");
    let two = (0..400).filter(|_| site.get("/").text() == "two").count();
    assert!((10..=90).contains(&two), "10 % of 400 are 40, got {two}");
}

#[test]
fn a_route_may_be_for_some_listeners_only() {
    let origins = [Origin::named("one"), Origin::named("rest")];
    let proxy = Proxy::start(
        listener("web", "router = \"router\"\npool = \"rest\"")
            + &listener("inner", "router = \"router\"\npool = \"rest\"")
            + "[[route]]\nlisteners = [\"inner\"]\npath = \"/\"\npool = \"one\"\n"
            + &pool("one", "", &[&origins[0]])
            + &pool("rest", "", &[&origins[1]]),
    );
    assert_eq!(proxy.get("/").text(), "rest");
    assert_eq!(get(proxy.address("inner"), "/").text(), "one");
}

#[test]
fn no_route_and_no_pool_is_404() {
    let origin = Origin::named("one");
    let proxy = Proxy::start(
        listener("web", "router = \"router\"")
            + "[[route]]\npath = \"/known\"\npool = \"one\"\n"
            + &pool("one", "", &[&origin]),
    );
    assert_eq!(proxy.get("/known").status(), 200);
    assert_eq!(proxy.get("/unknown").status(), 404);
}

#[test]
fn bytes_that_are_no_text_route_like_any_other() {
    let site = Site::with("[[route]]\npath = \"/api\"\npool = \"one\"\n");
    assert_eq!(site.get("/api/%ff%00%2e%2e/x").text(), "one");
    let mut client = tidegate_tests::Client::connect(site.proxy.address("web"));
    client
        .write(b"GET /api HTTP/1.1\r\nhost: x\r\nx-raw: \xff\xfe\r\n\r\n")
        .expect("sent");
    assert_eq!(client.read().expect("an answer").text(), "one");
    assert_eq!(
        site.origins[0].last().header("x-raw"),
        Some("\u{fffd}\u{fffd}")
    );
}

/// Pools `one`, `two` and, for what no route takes, `rest`.
struct Site {
    proxy: Proxy,
    origins: [Origin; 3],
}

impl Site {
    fn with(routes: &str) -> Site {
        let origins = ["one", "two", "rest"].map(Origin::named);
        let mut config = listener("web", "router = \"router\"\npool = \"rest\"") + routes;
        for origin in &origins {
            config += &pool(&origin.name, "", &[origin]);
        }
        Site {
            proxy: Proxy::start(config),
            origins,
        }
    }

    #[track_caller]
    fn ask(&self, request: &str) -> Message {
        self.proxy.send(request)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Message {
        self.proxy.get(path)
    }
}
