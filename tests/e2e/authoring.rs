//! Writing plugins: for each role, from `plugin new` in a folder anywhere to a component that a proxy runs.

use tidegate_tests::{Block, Document, Origin, Setup, Story, listener, pool, server};

#[test]
fn a_new_balancer_builds_passes_and_serves() {
    let wasm = written("balancer", "near", "wasm32-unknown-unknown");
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let servers = [
        server(&a, ", labels = { zone = \"a\" }"),
        server(&b, ", labels = { zone = \"b\" }"),
    ]
    .join(", ");
    let proxy = Setup::new(
        "[[plugin]]\nname = \"near\"\npath = \"near.wasm\"\nconfig = { zone = \"b\" }\n".to_owned()
            + &listener("web", "pool = \"app\"")
            + &format!("[[pool]]\nname = \"app\"\nbalancer = \"near\"\nservers = [{servers}]\n"),
    )
    .file("near.wasm", wasm)
    .start();
    assert_eq!(proxy.origins("/", 5), ["b", "b", "b", "b", "b"]);
}

#[test]
fn a_new_router_serves_as_a_wasip2_component() {
    let wasm = written("router", "by-customer", "wasm32-wasip2");
    let (acme, rest) = (Origin::named("acme"), Origin::named("rest"));
    let proxy = Setup::new(
        "[[plugin]]\nname = \"by-customer\"\npath = \"p.wasm\"\nconfig = { tenants = { acme = \"acme\" } }\n".to_owned()
            + &listener("web", "router = \"by-customer\"\npool = \"rest\"")
            + &pool("acme", "", &[&acme])
            + &pool("rest", "", &[&rest]),
    )
    .file("p.wasm", wasm)
    .start();
    assert_eq!(
        proxy.send("GET / HTTP/1.1\nhost: x\nx-tenant: acme").text(),
        "acme"
    );
    assert_eq!(proxy.get("/").text(), "rest");
}

#[test]
fn a_new_filter_builds_passes_and_serves() {
    let wasm = written("filter", "keys", "wasm32-unknown-unknown");
    let origin = Origin::named("a");
    let proxy = Setup::new(
        "[[plugin]]\nname = \"keys\"\npath = \"keys.wasm\"\nconfig = { keys = { open-sesame = \"ali\" } }\n".to_owned()
            + &listener("web", "filters = [\"keys\"]\npool = \"app\"")
            + &pool("app", "", &[&origin]),
    )
    .file("keys.wasm", wasm)
    .start();
    assert_eq!(
        proxy
            .send("GET / HTTP/1.1\nhost: x\nx-api-key: open-sesame")
            .status(),
        200
    );
    assert_eq!(
        proxy
            .send("GET / HTTP/1.1\nhost: x\nx-api-key: guess")
            .status(),
        401
    );
    assert_eq!(origin.served(), 1);
}

/// Writes, tests, builds, drives and measures it as its author would; answers the built file.
fn written(role: &str, name: &str, target: &str) -> Vec<u8> {
    let mut story = Story::new();
    let script = format!(
        "tidegate plugin new {name} --role {role}\ncd {name}\ncargo test --quiet\n\
         tidegate plugin build --target {target} -o out.wasm\ntidegate plugin inspect out.wasm\n\
         tidegate plugin test out.wasm cases.toml\ntidegate plugin bench out.wasm --cases cases.toml --time 20\n"
    );
    story.follow(&Document {
        blocks: vec![Block {
            language: "sh".into(),
            text: script,
            line: 1,
        }],
    });
    std::fs::read(story.folder().join("out.wasm")).expect("it was built")
}
