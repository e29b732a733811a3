//! `[log]` changes at run time: where the access log goes, and the level of the proxy's own log.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tidegate_tests::{
    Client, Message, Origin, Port, Proxy, Setup, Signal, listener, site, wait_until,
};

/// Logs there, under that level.
fn log(access: &str, level: &str) -> String {
    format!("[log]\naccess = \"{access}\"\nlevel = \"{level}\"\n")
}

fn logging(access: &str, origin: &Origin) -> String {
    log(access, "info") + &site("round-robin", &[origin])
}

/// The targets of the requests that the file has a line of.
fn targets(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    targets_in(text.lines())
}

fn targets_in<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let target = |line: &str| {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}"));
        value["target"].as_str().expect("a target").to_owned()
    };
    lines.map(target).collect()
}

/// Whether the proxy has this file open.
fn holds(proxy: &Proxy, path: &Path) -> bool {
    let folder = format!("/proc/{}/fd", proxy.process().pid());
    let files = fs::read_dir(folder).expect("it runs").flatten();
    let mut open = files.filter_map(|file| fs::read_link(file.path()).ok());
    open.any(|open| open == path)
}

fn roll_back(proxy: &Proxy, generation: u64) -> Message {
    proxy.admin("POST", &format!("/api/v1/rollback/{generation}"), b"")
}

#[test]
fn under_traffic_each_request_is_in_one_target_and_none_is_lost() {
    const CLIENTS: usize = 4;
    const EACH: usize = 250;
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(logging("./first.log", &origin));
    let [first, second] = ["first.log", "second.log"].map(|name| proxy.path().join(name));
    let address = proxy.address("web");
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let done = &done;
            scope.spawn(move || {
                let mut kept = Client::connect(address);
                for n in 0..EACH {
                    assert_eq!(kept.get(&format!("/{client}-{n}")).status(), 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let total = CLIENTS * EACH;
        let targets = ["./second.log", "stdout", "./first.log", "./second.log"];
        for (turn, target) in targets.iter().enumerate() {
            let enough = total * (turn + 1) / (targets.len() + 1);
            wait_until("requests", || done.load(Ordering::Relaxed) >= enough);
            proxy.reconfigure(logging(target, &origin));
        }
    });
    let mut expected: Vec<String> = (0..CLIENTS)
        .flat_map(|client| (0..EACH).map(move |n| format!("/{client}-{n}")))
        .collect();
    expected.sort_unstable();
    let all = || {
        let output = proxy.stdout();
        let output = targets_in(output.iter().map(String::as_str));
        [targets(&first), targets(&second), output]
    };
    wait_until("as many lines", || all().concat().len() >= expected.len());
    let mut seen = all().concat();
    seen.sort_unstable();
    assert_eq!(seen, expected);
    for target in all() {
        assert!(target.len() > EACH / 10, "{} lines only", target.len());
    }
    wait_until("the former file is closed", || !holds(&proxy, &first));
    assert!(holds(&proxy, &second));
}

#[test]
fn off_and_on_and_back_by_a_rollback() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(logging("off", &origin));
    let path = proxy.path().join("access.log");
    proxy.get("/unheard");
    proxy.reconfigure(logging("./access.log", &origin));
    proxy.get("/heard");
    wait_until("a line", || targets(&path) == ["/heard"]);
    proxy.reconfigure(logging("off", &origin));
    wait_until("the file is closed", || !holds(&proxy, &path));
    proxy.get("/unheard");
    assert_eq!(roll_back(&proxy, 2).status(), 200);
    proxy.get("/again");
    wait_until("a line", || targets(&path) == ["/heard", "/again"]);
    proxy.reconfigure(logging("stderr", &origin));
    proxy.get("/aside");
    proxy.wait_for_log(&["\"target\":\"/aside\""]);
    assert_eq!(roll_back(&proxy, 1).status(), 200);
    proxy.get("/unheard");
    // What ends the process writes what there is.
    proxy.signal(Signal::TERM);
    assert!(proxy.exit().success());
    assert_eq!(targets(&path), ["/heard", "/again"]);
    let said = [proxy.stdout(), proxy.stderr()].concat();
    assert!(!said.iter().any(|line| line.contains("/unheard")));
}

#[test]
fn the_path_in_force_is_the_one_that_is_opened_anew() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(logging("./first.log", &origin));
    let [first, second, moved] = ["first.log", "second.log", "moved"].map(|n| proxy.path().join(n));
    proxy.get("/1");
    wait_until("a line", || targets(&first) == ["/1"]);
    proxy.reconfigure(logging("./second.log", &origin));
    proxy.get("/2");
    wait_until("a line", || targets(&second) == ["/2"]);
    fs::remove_file(&first).unwrap();
    fs::rename(&second, &moved).unwrap();
    proxy.signal(Signal::USR1);
    wait_until("a new file", || second.exists());
    proxy.get("/3");
    wait_until("a line", || targets(&second) == ["/3"]);
    assert_eq!(targets(&moved), ["/2"]);
    assert!(!first.exists(), "what is no target any more is left alone");
}

#[test]
fn what_cannot_be_opened_is_refused_with_its_place_and_nothing_changes() {
    let origin = Origin::named("a");
    let mut proxy = Proxy::start(logging("./access.log", &origin));
    let path = proxy.path().join("access.log");
    proxy.get("/1");
    wait_until("a line", || targets(&path) == ["/1"]);
    // Of a change that brings more than that.
    proxy.write_config(
        logging("./missing/access.log", &origin) + &listener("more", "pool = \"app\""),
    );
    let answer = proxy.reload();
    assert_ne!(answer.status(), 200, "{}", answer.text());
    let problems = proxy.status()["last_change"]["problems"].clone();
    let problems = problems.as_array().expect("a list");
    let [problem] = &problems[..] else {
        panic!("one problem, not {problems:?}");
    };
    let problem = problem.as_str().expect("a text");
    for words in [
        "the access log can't be opened: ",
        "/missing/access.log: No such file or directory",
        "tidegate.toml:2:10",
        "access = \"./missing/access.log\"\n  |          ^^^^",
        "help: make its folder first",
    ] {
        assert!(problem.contains(words), "no {words:?} in\n{problem}");
    }
    assert!(Client::try_connect(proxy.address("more")).is_err());
    proxy.get("/2");
    wait_until("a line", || targets(&path) == ["/1", "/2"]);
    assert_eq!(proxy.generation(), 1);
}

#[test]
fn a_start_says_where_the_log_that_cannot_be_opened_is_named() {
    let origin = Origin::named("a");
    let setup = Setup::new(logging("./missing/access.log", &origin));
    let (code, _, said) = setup.run("run");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("tidegate.toml:2:10"), "{said}");
    assert!(said.contains("help: make its folder first"), "{said}");
}

const DEBUG_LINE: &str = "cannot connect";

/// Nobody listens at its only server, of which each request has a line at the level debug.
fn failing(level: &str, gone: &Port) -> String {
    let server = format!("{{ name = \"gone\", address = \"{}\" }}", gone.address());
    log("off", level)
        + &listener("web", "pool = \"app\"")
        + &format!("[[pool]]\nname = \"app\"\nservers = [{server}]\n")
}

/// How many such lines a request brings. The last line of before has come when that of a change after it has.
fn debug_lines(proxy: &Proxy, mark: impl FnOnce(&Proxy) -> String) -> usize {
    let count = |lines: Vec<String>| {
        lines
            .iter()
            .filter(|line| line.contains(DEBUG_LINE))
            .count()
    };
    let before = count(proxy.stderr());
    assert_eq!(proxy.get("/").status(), 503);
    let mark = mark(proxy);
    proxy.wait_for_log(&[&mark]);
    count(proxy.stderr()) - before
}

fn one_more_generation(proxy: &Proxy) -> String {
    assert_eq!(proxy.reload().status(), 200);
    format!("generation={} ", proxy.generation())
}

#[test]
fn the_level_changes_and_changes_back() {
    let gone = Port::free();
    let mut proxy = Proxy::start(failing("info", &gone));
    assert_eq!(debug_lines(&proxy, one_more_generation), 0);
    proxy.reconfigure(failing("debug", &gone));
    assert!(debug_lines(&proxy, one_more_generation) > 0);
    proxy.reconfigure(failing("info", &gone));
    assert_eq!(debug_lines(&proxy, one_more_generation), 0);
    // A word of a part of the program alone, and back to what ran with it.
    proxy.reconfigure(failing("info,tidegate::pipeline=debug", &gone));
    let generation = proxy.generation();
    assert!(debug_lines(&proxy, one_more_generation) > 0);
    proxy.reconfigure(failing("info", &gone));
    assert_eq!(debug_lines(&proxy, one_more_generation), 0);
    assert_eq!(roll_back(&proxy, generation).status(), 200);
    assert!(debug_lines(&proxy, one_more_generation) > 0);
}

#[test]
fn the_level_of_the_environment_stays() {
    let gone = Port::free();
    let setup = Setup::new(failing("info", &gone)).env("TIDEGATE_LOG", "error");
    let mut proxy = setup.start();
    proxy.reconfigure(failing("debug", &gone));
    let refused = |proxy: &Proxy| {
        proxy.write_file("tidegate.toml", "nonsense");
        assert_ne!(proxy.reload().status(), 200);
        "change rejected".to_owned()
    };
    assert_eq!(debug_lines(&proxy, refused), 0);
}

#[test]
fn only_another_number_of_workers_waits_for_a_restart() {
    let origin = Origin::named("a");
    let workers = |n: usize| format!("[proxy]\nworkers = {n}\n");
    let mut proxy = Proxy::start(workers(2) + &logging("off", &origin));
    proxy.reconfigure(workers(2) + &log("stdout", "warn") + &site("round-robin", &[&origin]));
    proxy.reconfigure(workers(1) + &log("stdout", "warn") + &site("round-robin", &[&origin]));
    proxy.wait_for_log(&["`proxy.workers` takes effect at the next start"]);
    assert_eq!(proxy.status()["workers"], 2);
    let waiting = |line: &&String| line.contains("next start");
    assert_eq!(proxy.stderr().iter().filter(waiting).count(), 1);
}
