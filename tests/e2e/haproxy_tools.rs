//! The programs that read HAProxy's statistics, as Debian has them, at the admin socket: hatop, Prometheus' exporter, a monitoring plugin.
//! And the real one's columns beside ours, for the same requests.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tidegate_tests::{
    Client, Origin, Port, Process, Proxy, Signal, curl, listener, pool, server, wait_for,
    wait_until,
};

const SOCKET: &str =
    "\n[admin]\nbind = \"@admin\"\ntoken = \"open-sesame\"\nsocket = \"admin.sock\"\n";

/// Probes twenty times a second, of servers `web1`, which answers, and `web2`, where nobody is.
fn site(origin: &Origin, gone: &Port) -> String {
    let web1 = server(origin, ", weight = 7, max-connections = 9");
    let web2 = format!("{{ name = \"web2\", address = \"{}\" }}", gone.address());
    listener("web", "pool = \"app\"")
        + &format!(
            "[[pool]]\nname = \"app\"\nbalancer = \"first\"\nsticky = \"sticky-cookie\"\nhealth = {{ path = \"/\", interval = \"50ms\", rise = 2, fall = 3 }}\nservers = [{web1}, {web2}]\n"
        )
        + SOCKET
}

fn started(config: &str) -> Proxy {
    let proxy = Proxy::start(config);
    wait_until("its probes know", || {
        let servers = &proxy.status()["pools"][0]["servers"];
        servers[0]["health"] == "up" && servers[1]["state"] == "down"
    });
    proxy
}

/// Lines of the CSV by proxy and service, each cell by its column.
type Table = BTreeMap<(String, String), BTreeMap<String, String>>;

#[track_caller]
fn stat(socket: &Path) -> Table {
    let line = format!(
        "echo 'show stat' | socat stdio unix-connect:{}",
        socket.display()
    );
    let output = Command::new("sh").args(["-c", &line]).output();
    let text = String::from_utf8(output.expect("a shell runs").stdout).expect("text");
    let mut lines = text.lines();
    let header = lines.next().and_then(|line| line.strip_prefix("# "));
    let columns: Vec<_> = header.expect("a header").split(',').collect();
    let row = |line: &str| {
        let cells: Vec<_> = line.split(',').collect();
        assert_eq!(cells.len(), columns.len(), "{line}");
        let names = columns.iter().map(|name| (*name).to_owned());
        let row: BTreeMap<_, _> = names.zip(cells.iter().map(|c| (*c).to_owned())).collect();
        ((row["pxname"].clone(), row["svname"].clone()), row)
    };
    lines.filter(|line| !line.is_empty()).map(row).collect()
}

fn cell<'a>(table: &'a Table, service: (&str, &str), column: &str) -> &'a str {
    let key = (service.0.to_owned(), service.1.to_owned());
    let row = table.get(&key).unwrap_or_else(|| panic!("no {service:?}"));
    row.get(column).unwrap_or_else(|| panic!("no {column}"))
}

/// A real HAProxy for the same servers.
struct Haproxy {
    folder: tempfile::TempDir,
    port: Port,
    _process: Process,
}

impl Haproxy {
    fn start(origin: &Origin, gone: &Port) -> Haproxy {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), Port::free());
        let text = format!(
            "global\n stats socket {}/haproxy.sock level admin\n\
             defaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n\
             frontend web\n bind {}\n default_backend app\n\
             backend app\n balance first\n cookie SERVERID insert indirect nocache\n option httpchk GET /\n \
             server web1 {} check inter 50ms rise 2 fall 3 weight 7 maxconn 9 cookie web1\n \
             server web2 {} check inter 50ms rise 2 fall 3 cookie web2\n",
            folder.path().display(),
            port.address(),
            origin.address(),
            gone.address(),
        );
        fs::write(folder.path().join("haproxy.cfg"), text).expect("a file can be written");
        let mut command = Command::new("haproxy");
        command.arg("-f").arg(folder.path().join("haproxy.cfg"));
        let haproxy = Haproxy {
            folder,
            port,
            _process: Process::start(&mut command),
        };
        wait_until("haproxy knows its servers", || {
            haproxy.socket().exists() && {
                let table = stat(&haproxy.socket());
                cell(&table, ("app", "web1"), "check_status") == "L7OK"
                    && cell(&table, ("app", "web2"), "status") == "DOWN"
            }
        });
        haproxy
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("haproxy.sock")
    }
}

#[test]
fn its_columns_are_haproxys_and_so_is_what_stands_there() {
    let (origin, gone) = (Origin::named("web1"), Port::free());
    let proxy = started(&site(&origin, &gone));
    let haproxy = Haproxy::start(&origin, &gone);
    for address in [proxy.address("web"), haproxy.port.address()] {
        let mut client = Client::connect(address);
        (0..3).for_each(|_| assert_eq!(client.get("/").status(), 200));
    }
    // Rates are of the last whole second.
    let seen = |socket: &Path| {
        wait_for("the second is over", || {
            let table = stat(socket);
            let rates = [
                (("web", "FRONTEND"), "req_rate_max"),
                (("web", "FRONTEND"), "conn_rate_max"),
                (("app", "web1"), "rate_max"),
                (("app", "BACKEND"), "rate_max"),
            ];
            let known = |(service, column)| cell(&table, service, column) != "0";
            // HAProxy marks a probe that is under way.
            let probes = [("app", "web1"), ("app", "web2")];
            let at_rest = |service| !cell(&table, service, "check_status").starts_with('*');
            let fits = rates.into_iter().all(known) && probes.into_iter().all(at_rest);
            fits.then_some(table)
        })
    };
    let (ours, theirs) = (
        seen(&proxy.path().join("admin.sock")),
        seen(&haproxy.socket()),
    );
    let columns = |table: &Table| -> Vec<String> {
        let row = table.values().next().expect("a line");
        row.keys().cloned().collect()
    };
    assert_eq!(columns(&ours), columns(&theirs));

    let front = ("web", "FRONTEND");
    let (web1, web2, back) = (("app", "web1"), ("app", "web2"), ("app", "BACKEND"));
    let same = [
        (
            front,
            "scur smax stot status rate_lim hrsp_1xx hrsp_2xx hrsp_4xx hrsp_5xx hrsp_other req_tot conn_tot mode dcon ereq eint intercepted type pid sid ssl_sess",
        ),
        (
            web1,
            "qcur qmax scur smax slim stot lbtot econ eresp wretr wredis status weight uweight act bck chkfail chkdown downtime check_status check_code check_desc check_rise check_fall check_health hrsp_2xx hrsp_5xx req_tot cli_abrt srv_abrt throttle addr cookie mode qlimit type sid used_conn_cur",
        ),
        (
            web2,
            "stot status weight act bck chkdown check_status check_code check_desc check_rise check_fall check_health lastsess cookie mode qtime ctime rtime ttime connect reuse",
        ),
        (
            back,
            "qcur qmax scur smax stot lbtot econ eresp wretr wredis status weight act bck chkdown downtime hrsp_2xx req_tot cookie mode algo type",
        ),
    ];
    let mut wrong = Vec::new();
    for (service, columns) in same {
        for column in columns.split(' ') {
            let (mine, real) = (cell(&ours, service, column), cell(&theirs, service, column));
            // The pool's bound is another default; chance says how often probes had failed before all began.
            let expected = match (service.1, column) {
                ("web1", "qlimit") => "10000",
                _ => real,
            };
            if mine != expected {
                wrong.push(format!("{service:?} {column}: {mine:?}, HAProxy {real:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What is measured: a number here as there.
    let measured = [
        (
            front,
            "bout bin slim rate rate_max req_rate req_rate_max conn_rate conn_rate_max",
        ),
        (
            web1,
            "bin bout lastchg check_duration rate rate_max lastsess qtime ctime rtime ttime qtime_max ctime_max rtime_max ttime_max connect reuse",
        ),
        (web2, "chkfail lastchg downtime check_duration"),
        (
            back,
            "bin bout lastchg lastsess rate rate_max qtime ctime rtime ttime qtime_max ctime_max rtime_max ttime_max connect reuse",
        ),
    ];
    for (service, columns) in measured {
        for column in columns.split(' ') {
            let number: Result<i64, _> = cell(&ours, service, column).parse();
            assert!(number.is_ok(), "{service:?} {column} is no number");
            let real = cell(&theirs, service, column);
            assert!(real.parse::<i64>().is_ok(), "{service:?} {column}: {real}");
        }
    }
    let more_than_0 = [
        (front, "bout req_rate_max"),
        (web1, "bout connect"),
        (web2, "chkfail"),
        (back, "bout connect"),
    ];
    for (service, columns) in more_than_0 {
        for column in columns.split(' ') {
            assert_ne!(cell(&ours, service, column), "0", "{service:?} {column}");
        }
    }
    // Three requests on one connection, which the first of them made.
    let connections = ["connect", "reuse"].map(|column| cell(&ours, web1, column));
    assert_eq!(connections, ["1", "2"]);
}

#[test]
fn what_goes_wrong_is_told_by_server() {
    let (origin, gone) = (Origin::named("web1"), Port::free());
    let config = site(&origin, &gone)
        .replace(
            "health = ",
            "retries = 1\ntimeouts = { first-byte = \"100ms\" }\n# ",
        )
        .replace(
            "servers = [",
            "servers = [{ name = \"gone\", address = \"127.0.0.1:1\" }, ",
        );
    let proxy = Proxy::start(config);
    assert_eq!(proxy.get("/").text(), "web1", "tried again");
    // What is logged is counted.
    proxy.access_log(1);
    let socket = proxy.path().join("admin.sock");
    let table = stat(&socket);
    let of = |server: &str, column: &str| cell(&table, ("app", server), column).to_owned();
    assert_eq!([of("gone", "wretr"), of("gone", "wredis")], ["1", "1"]);
    assert_eq!([of("BACKEND", "wretr"), of("web1", "wretr")], ["1", "0"]);
    assert_eq!(of("gone", "status"), "no check");

    let path = "/api/v1/pools/app/servers/";
    for name in ["web1", "web2"] {
        let changed = proxy.admin("PATCH", &format!("{path}{name}"), b"{\"state\": \"maint\"}");
        assert_eq!(changed.status(), 200);
    }
    assert_eq!(proxy.get("/").status(), 503);
    proxy.access_log(2);
    let metrics = proxy.metrics();
    let blamed = [("server", "gone"), ("fault", "connect-failed")];
    assert_eq!(metrics.sum("tidegate_faults_total", &blamed), 1.0);
    let changed = proxy.admin("PATCH", &format!("{path}gone"), b"{\"state\": \"maint\"}");
    assert_eq!(changed.status(), 200);
    assert_eq!(proxy.get("/").status(), 503);
    proxy.access_log(3);
    let table = stat(&socket);
    let of = |server: &str, column: &str| cell(&table, ("app", server), column).to_owned();
    assert_eq!([of("gone", "econ"), of("BACKEND", "econ")], ["1", "2"]);
    assert_eq!(
        [of("BACKEND", "status"), of("BACKEND", "chkdown")],
        ["DOWN", "1"]
    );
    assert_eq!(of("web1", "status"), "MAINT");
    assert_eq!(cell(&table, ("web", "FRONTEND"), "status"), "OPEN");
    // No server is to blame for that there is none.
    let nobody = [("server", ""), ("fault", "no-server")];
    assert_eq!(proxy.metrics().sum("tidegate_faults_total", &nobody), 1.0);
    let malformed = proxy.send("GET / HTTP/1.1\nhost: a\nhost: b");
    assert_eq!(malformed.status(), 400);
    assert_eq!(cell(&stat(&socket), ("web", "FRONTEND"), "ereq"), "1");
}

#[test]
fn hatop_shows_it_and_its_prompt_is_answered() {
    let (origin, gone) = (Origin::named("web1"), Port::free());
    let proxy = started(&site(&origin, &gone));
    assert_eq!(proxy.get("/").status(), 200);
    // A terminal of its own; what is typed comes through `keys`.
    let fifo = proxy.path().join("keys");
    let screen = proxy.path().join("screen");
    let command = format!(
        "mkfifo keys; exec script --quiet --flush --return --command 'stty rows 40 cols 160; hatop -i 1 -s admin.sock' {} < keys > /dev/null",
        screen.display()
    );
    let hatop = Process::start(
        Command::new("sh")
            .args(["-c", &command])
            .current_dir(proxy.path())
            .env("TERM", "xterm"),
    );
    wait_until("there is somewhere to type", || fifo.exists());
    let mut keys = fs::OpenOptions::new()
        .write(true)
        .open(&fifo)
        .expect("it is read");
    let shown = || fs::read(&screen).map(|text| String::from_utf8_lossy(&text).into_owned());
    for words in [
        "Tidegate", "web1", "UP", "L7OK", "web2", "L4CON", "BACKEND", ">>> app",
    ] {
        wait_for(words, || shown().ok().filter(|text| text.contains(words)));
    }
    // Its CLI, and what it is answered there.
    keys.write_all(b"5").expect("it reads");
    let words = "command line";
    wait_for(words, || shown().ok().filter(|text| text.contains(words)));
    keys.write_all(b"show version\r").expect("it reads");
    let version = proxy.status()["version"].as_str().map(str::to_owned);
    let version = version.expect("a version");
    wait_for("its prompt is answered", || {
        let text = shown().ok()?;
        let mut behind = text.split("> show version").skip(1);
        let answered = behind.any(|text| text.find(&version).is_some_and(|at| at < 30));
        answered.then_some(())
    });
    drop(keys);
    hatop.signal(Signal::TERM);
}

#[test]
fn a_prompt_takes_line_after_line_until_it_is_told_to_quit() {
    let origin = Origin::named("web1");
    let proxy =
        Proxy::start(listener("web", "pool = \"app\"") + &pool("app", "", &[&origin]) + SOCKET);
    let socket = proxy.path().join("admin.sock");
    let talk = |lines: &str| {
        let line = format!(
            "printf '{lines}' | socat -t 5 stdio unix-connect:{}",
            socket.display()
        );
        let output: Output = Command::new("sh")
            .args(["-c", &line])
            .output()
            .expect("a shell runs");
        String::from_utf8(output.stdout).expect("text")
    };
    let version = proxy.status()["version"]
        .as_str()
        .map(str::to_owned)
        .expect("a version");
    let answer = talk("prompt\\nshow version\\n\\nget weight app/web1\\nquit\\nshow version\\n");
    assert_eq!(answer, format!("\n> {version}\n\n> > 1 (initial 1)\n\n> "));
    // Without it there is one line, and a second `prompt` ends it.
    assert_eq!(
        talk("show version\\nshow version\\n"),
        format!("{version}\n\n")
    );
    assert_eq!(talk("prompt\\nprompt\\nshow version\\n"), "\n> \n");
    assert_eq!(
        talk("prompt; show version\\nshow version\\n"),
        format!("\n{version}\n\n")
    );
}

#[test]
fn prometheus_exporter_of_haproxy_reads_it() {
    let (origin, gone) = (Origin::named("web1"), Port::free());
    let proxy = started(&site(&origin, &gone));
    (0..3).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
    let port = Port::free();
    let socket = proxy.path().join("admin.sock");
    let _exporter = Process::start(
        Command::new("prometheus-haproxy-exporter")
            .arg(format!("--haproxy.scrape-uri=unix:{}", socket.display()))
            .arg(format!("--web.listen-address={}", port.address())),
    );
    wait_until("it listens", || Client::try_connect(port.address()).is_ok());
    let text = curl(&["-s", &format!("http://{}/metrics", port.address())]);
    for line in [
        "haproxy_up 1",
        "haproxy_exporter_csv_parse_failures_total 0",
        "haproxy_frontend_http_requests_total{frontend=\"web\"} 3",
        "haproxy_frontend_http_responses_total{code=\"2xx\",frontend=\"web\"} 3",
        "haproxy_backend_up{backend=\"app\"} 1",
        "haproxy_backend_sessions_total{backend=\"app\"} 3",
        "haproxy_server_up{backend=\"app\",server=\"web1\"} 1",
        "haproxy_server_up{backend=\"app\",server=\"web2\"} 0",
        "haproxy_server_weight{backend=\"app\",server=\"web1\"} 7",
        "haproxy_server_check_failures_total{backend=\"app\",server=\"web1\"} 0",
        "haproxy_server_sessions_total{backend=\"app\",server=\"web1\"} 3",
        "haproxy_server_limit_sessions{backend=\"app\",server=\"web1\"} 9",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "no {line} in\n{text}"
        );
    }
    for name in [
        "haproxy_server_bytes_out_total{backend=\"app\",server=\"web1\"} ",
        "haproxy_server_downtime_seconds_total{backend=\"app\",server=\"web2\"} ",
        "haproxy_version_info{release_date=\"-\",version=",
    ] {
        assert!(text.contains(name), "no {name} in\n{text}");
    }
}

#[test]
fn the_monitoring_plugin_says_what_is_down() {
    let (origin, gone) = (Origin::named("web1"), Port::free());
    let proxy = started(&site(&origin, &gone));
    let socket = proxy.path().join("admin.sock");
    let check = |more: &[&str]| {
        let output = Command::new("/usr/lib/nagios/plugins/check_haproxy_stats")
            .arg("-s")
            .arg(&socket)
            .args(more)
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), words)
    };
    let (code, words) = check(&[]);
    assert_eq!(code, Some(2), "{words}");
    assert!(
        words.starts_with(
            "Check haproxy CRITICAL - server: app:web2 is DOWN (check status: connection error); |"
        ),
        "{words}"
    );
    let out = proxy.admin(
        "PATCH",
        "/api/v1/pools/app/servers/web2",
        b"{\"state\": \"maint\"}",
    );
    assert_eq!(out.status(), 200);
    let (code, words) = check(&["--ignore-maint"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("OK - checked "), "{words}");
    // Its thresholds are of the limits.
    assert!(words.contains("app-web1=0;7;8;0;9;"), "{words}");
    assert!(words.contains("web-FRONTEND="), "{words}");
}
