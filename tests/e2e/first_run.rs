//! What a newcomer meets first: `tidegate demo`, and what it prints to try.

use std::process::Command;
use std::time::Duration;

use tidegate_tests::{Block, Document, Port, Process, Signal, Story, curl, tidegate, wait_for};

#[test]
fn demo_answers_from_three_origins_in_turn() {
    let demo = Demo::start();
    let names: Vec<String> = (0..6)
        .map(|_| curl(&[&demo.url]).trim().to_owned())
        .collect();
    let mut distinct = names[..3].to_vec();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 3, "three different origins, got {names:?}");
    assert_eq!(names[..3], names[3..], "in turn, got {names:?}");
}

#[test]
fn demo_origins_say_who_they_are() {
    let demo = Demo::start();
    let answer = tidegate_tests::get(demo.proxy.address(), "/");
    let name = answer
        .header("x-origin")
        .expect("an x-origin header")
        .to_owned();
    assert!(
        answer.text().contains(&name),
        "{name:?} in {:?}",
        answer.text()
    );
    assert_eq!(
        tidegate_tests::get(demo.proxy.address(), "/health").status(),
        200
    );
}

#[test]
fn everything_that_demo_prints_to_try_can_be_pasted() {
    let demo = Demo::start();
    let printed = demo.process.stdout();
    let lines: Vec<&str> = printed
        .iter()
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.contains("EDITOR"))
        .collect();
    assert!(
        lines.iter().any(|line| line.starts_with("curl ")),
        "no curl line in {printed:?}"
    );
    assert!(
        lines.iter().any(|line| line.contains("plugin new")),
        "no plugin to write in {printed:?}"
    );
    let text = lines.join(
        "
",
    );
    let mut story = Story::new();
    story.keep(demo.proxy.number());
    story.keep(demo.admin.number());
    story.follow(&Document {
        blocks: vec![Block {
            language: "sh".into(),
            text,
            line: 1,
        }],
    });
}

#[test]
fn demo_ends_cleanly_on_interrupt() {
    let mut demo = Demo::start();
    demo.process.signal(Signal::INT);
    let status = demo.process.exit(Duration::from_secs(20));
    assert!(status.success(), "{status}");
}

#[test]
fn a_port_in_use_is_one_clear_error() {
    let (taken, admin) = (
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"),
        Port::free(),
    );
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = Command::new(tidegate())
        .args([
            "demo",
            "--bind",
            &address,
            "--admin",
            &admin.address().to_string(),
        ])
        .output()
        .expect("the binary runs");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(
        words.contains(&address) && words.contains("in use"),
        "{words}"
    );
    assert!(
        words.contains("--bind"),
        "the remedy names the flag: {words}"
    );
}

struct Demo {
    process: Process,
    url: String,
    proxy: Port,
    admin: Port,
}

impl Demo {
    fn start() -> Demo {
        let (proxy, admin) = (Port::free(), Port::free());
        let process = Process::start(
            Command::new(tidegate())
                .args(["demo", "--bind", &proxy.address().to_string()])
                .args(["--admin", &admin.address().to_string()])
                .env("NO_COLOR", "1"),
        );
        wait_for("demo is ready", || {
            let said = process
                .stdout()
                .iter()
                .any(|line| line.trim().starts_with("curl "));
            let up = tidegate_tests::Client::try_connect(admin.address()).and_then(|mut admin| {
                admin.try_ask("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            });
            (said && up.is_ok_and(|answer| answer.status() == 200)).then_some(())
        });
        let url = format!("http://{}/", proxy.address());
        Demo {
            process,
            url,
            proxy,
            admin,
        }
    }
}
