//! TLS towards clients: curl and openssl against certificates of every kind, renewed ones, and what is no TLS.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_tests::{
    Authority, Client, Front, Issued, Origin, Proxy, Setup, curl, get, listener, openssl, pool,
    reply, tls_connect, wait_until,
};

#[test]
fn a_client_is_answered_over_tls_by_versions_1_2_and_1_3() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    assert_eq!(https(&proxy, "site.test", "/a", &[]), "app\n");
    assert_eq!(
        https(&proxy, "site.test", "/b", &["--tls-max", "1.2"]),
        "app\n"
    );
    let request = origin.last();
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    let metrics = proxy.metrics();
    let done = |version: &str| {
        let labels = [("version", version), ("resumed", "false")];
        metrics.sum("tidegate_tls_handshakes_total", &labels)
    };
    assert_eq!((done("1.2"), done("1.3")), (1.0, 1.0));
    let left = metrics.sum(
        "tidegate_tls_certificate_expiry_seconds",
        &[("listener", "web")],
    );
    assert!(left > 86_400.0, "{left}");
}

#[test]
fn a_minimum_version_is_kept() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(
        &ca,
        &origin,
        "certificates = ['site.pem'], min-version = '1.3'",
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .start();
    assert_eq!(https(&proxy, "site.test", "/", &[]), "app\n");
    let refused = try_https(&proxy, "site.test", "/", &["--tls-max", "1.2"]);
    assert!(refused.unwrap_err().contains("protocol version"));
    let log = proxy.access_log(2);
    let line = log
        .iter()
        .find(|line| line["fault"] == "tls-handshake-failed");
    let why = line.expect("it is in the access log")["reasons"]["tls"].to_string();
    assert!(why.contains("incompatible"), "{why}");
}

#[test]
fn the_name_chooses_the_certificate() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(
        &ca,
        &origin,
        "certificates = ['first.pem', { cert = 'apart.crt', key = 'apart.key' }, 'folder']",
    );
    let apart = ca.issue(&["apart.test"]);
    let folder = proxy.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("a.pem"),
        ca.issue(&["exact.wild.test"]).bundle(),
    )
    .unwrap();
    fs::write(folder.join("b.pem"), ca.issue(&["*.wild.test"]).bundle()).unwrap();
    let beside = ca.issue(&["beside.test"]);
    fs::write(folder.join("c.pem"), beside.chain).unwrap();
    fs::write(folder.join("c.key"), beside.key).unwrap();
    fs::write(folder.join(".hidden"), "not a certificate").unwrap();
    let proxy = proxy
        .file("first.pem", ca.issue(&["first.test"]).bundle())
        .file("apart.crt", apart.chain)
        .file("apart.key", apart.key)
        .start();
    for (asked, given) in [
        ("first.test", "first.test"),
        ("apart.test", "apart.test"),
        ("APART.test", "apart.test"),
        ("beside.test", "beside.test"),
        ("exact.wild.test", "exact.wild.test"),
        ("any.wild.test", "*.wild.test"),
        ("two.labels.wild.test", "first.test"),
        ("wild.test", "first.test"),
        ("unknown.test", "first.test"),
    ] {
        assert_eq!(shown(&proxy, asked), given, "{asked}");
    }
}

#[test]
fn strict_sni_refuses_a_name_that_nobody_bears() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(
        &ca,
        &origin,
        "certificates = ['site.pem'], strict-sni = true",
    )
    .file("site.pem", ca.issue(&["site.test"]).bundle())
    .start();
    assert_eq!(https(&proxy, "site.test", "/", &[]), "app\n");
    assert!(try_https(&proxy, "other.test", "/", &["-k"]).is_err());
    expect_failures(&proxy, "unknown-name", 1.0);
}

#[test]
fn rsa_stands_beside_ecdsa_for_who_can_take_no_other() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let setup = secured(&ca, &origin, "certificates = ['rsa.pem', 'ecdsa.pem']")
        .file("ecdsa.pem", ca.issue(&["site.test"]).bundle());
    let made = "req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -days 2 -subj /CN=site.test -addext subjectAltName=DNS:site.test";
    let arguments: Vec<_> = made.split(' ').collect();
    openssl(setup.path(), &arguments, "");
    let proxy = setup.start();
    let kind = |schemes: &str| {
        let said = s_client(
            &proxy,
            &["-servername", "site.test", "-sigalgs", schemes],
            "",
        );
        let line = said
            .lines()
            .find(|line| line.starts_with("Peer signature type"));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert!(kind("ECDSA+SHA256:RSA-PSS+SHA256").ends_with("ECDSA"));
    assert!(kind("RSA-PSS+SHA256").ends_with("RSA-PSS"));
}

#[test]
fn http_1_1_is_chosen_by_alpn() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let said = s_client(&proxy, &["-alpn", "spdy/1,http/1.1"], "");
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    let said = s_client(&proxy, &["-alpn", "spdy/1"], "");
    assert!(said.contains("no application protocol"), "{said}");
    expect_failures(&proxy, "no-common-alpn", 1.0);
}

#[test]
fn a_session_is_resumed_on_any_worker_and_after_a_reload() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    for version in ["-tls1_2", "-tls1_3"] {
        let saved = format!("session{version}");
        // A request, so that tickets, which come behind the handshake in version 1.3, are read.
        let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let first = s_client(&proxy, &[version, "-ign_eof", "-sess_out", &saved], request);
        assert!(first.contains("New, TLSv1."), "{first}");
        for round in 0..8 {
            if round == 4 {
                assert_eq!(proxy.reload().status(), 200);
            }
            let again = s_client(&proxy, &[version, "-ign_eof", "-sess_in", &saved], request);
            assert!(
                again.contains("Reused, TLSv1."),
                "{version} {round}: {again}"
            );
        }
    }
    let resumed = proxy
        .metrics()
        .sum("tidegate_tls_handshakes_total", &[("resumed", "true")]);
    assert_eq!(resumed, 16.0);
}

#[test]
fn a_session_opens_no_listener_that_wants_a_certificate() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let tls = "certificates = ['site.pem']";
    let config = listener("web", &format!("pool = 'app'\ntls = {{ {tls} }}"))
        + &listener(
            "closed",
            &format!(
                "pool = 'app'\ntls = {{ {tls}, client-ca = 'ca.pem', client-auth = 'required' }}"
            ),
        )
        + &pool("app", "", &[&origin]);
    let proxy = Setup::new(config)
        .file("ca.pem", ca.pem())
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let open = s_client(
            &proxy,
            &[version, "-ign_eof", "-sess_out", "session"],
            request,
        );
        assert!(open.contains("HTTP/1.1 200"), "{open}");
        let closed = proxy.address("closed").to_string();
        let arguments = [
            "s_client", "-connect", &closed, version, "-ign_eof", "-sess_in", "session",
        ];
        let said = openssl(proxy.path(), &arguments, request);
        assert!(!said.contains("HTTP/1.1 200"), "{version}: {said}");
        assert!(!said.contains("Reused"), "{version}: {said}");
    }
    let labels = [("listener", "closed"), ("reason", "no-client-certificate")];
    let refused = proxy
        .metrics()
        .sum("tidegate_tls_handshake_failures_total", &labels);
    assert_eq!(refused, 2.0);
}

#[test]
fn a_clients_certificate_is_told_to_the_server() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let tls = "certificates = ['site.pem'], client-ca = 'ca.pem', client-auth = 'optional', client-cert-headers = true";
    let alice = ca.issue_with(&["alice"], |params| {
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::OrganizationName, "Smith, \"Jones\" & Ćo");
    });
    let stranger = Authority::new("stranger").issue(&["eve"]);
    let proxy = secured(&ca, &origin, tls)
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .file("alice.pem", alice.bundle())
        .file("eve.pem", stranger.bundle())
        .start();
    let lie = [
        "-H",
        "x-client-cert-subject: CN=root",
        "-H",
        "x_client_cert_fingerprint: 1",
    ];

    https(&proxy, "site.test", "/none", &lie);
    assert_eq!(origin.last().header("x-client-cert-subject"), None);
    assert_eq!(origin.last().header("x_client_cert_fingerprint"), None);

    let with = |name: &str| proxy.path().join(name).display().to_string();
    let alice_file = with("alice.pem");
    https(
        &proxy,
        "site.test",
        "/alice",
        &[&lie[..], &["--cert", &alice_file]].concat(),
    );
    let request = origin.last();
    assert_eq!(
        request.header("x-client-cert-subject"),
        Some("O=Smith\\, \\\"Jones\\\" & \\c4\\86o,CN=alice")
    );
    let fingerprint = openssl(
        proxy.path(),
        &[
            "x509",
            "-in",
            "alice.pem",
            "-noout",
            "-fingerprint",
            "-sha256",
        ],
        "",
    );
    let (_, fingerprint) = fingerprint.trim().split_once('=').unwrap();
    assert_eq!(
        request.header("x-client-cert-fingerprint").unwrap(),
        fingerprint.replace(':', "").to_lowercase()
    );

    let eve = try_https(&proxy, "site.test", "/eve", &["--cert", &with("eve.pem")]);
    assert!(eve.is_err());
    expect_failures(&proxy, "bad-client-certificate", 1.0);
}

/// An authority of openssl's, which can revoke, with clients alice and bob; all lies in `folder`.
fn revoking(folder: &Path) {
    let config = "[ca]\ndefault_ca = o\n[o]\ndatabase = index.txt\ncrlnumber = number\ndefault_md = sha256\ncrl_extensions = e\n\
                  [e]\nauthorityKeyIdentifier = keyid\n";
    for (name, text) in [
        ("ca.cnf", config),
        ("number", "01\n"),
        ("names", "subjectAltName=DNS:client\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let mut commands = vec![
        "req -x509 -newkey rsa:2048 -nodes -keyout o.key -out o.pem -days 2 -subj /CN=o".to_owned(),
    ];
    for (serial, name) in [(7, "alice"), (8, "bob")] {
        commands.push(format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out csr -subj /CN={name}"
        ));
        commands.push(format!(
            "x509 -req -in csr -CA o.pem -CAkey o.key -set_serial {serial} -days 2 -extfile names -out {name}.pem"
        ));
    }
    for command in commands {
        openssl(folder, &command.split(' ').collect::<Vec<_>>(), "");
    }
}

/// Its list of whom it has revoked, by serial numbers.
#[track_caller]
fn revoke(folder: &Path, serials: &[&str], more: &str) {
    let line =
        |serial: &&str| format!("R\t391231235959Z\t240101000000Z\t{serial}\tunknown\t/CN=x\n");
    let index: String = serials.iter().map(line).collect();
    fs::write(folder.join("index.txt"), index).unwrap();
    let command =
        format!("ca -gencrl -config ca.cnf -keyfile o.key -cert o.pem -out crl.new {more}");
    let said = openssl(folder, &command.split(' ').collect::<Vec<_>>(), "");
    let made = fs::rename(folder.join("crl.new"), folder.join("crl.pem"));
    made.unwrap_or_else(|error| panic!("{error}: {said}"));
}

const JUDGING: &str = "certificates = ['site.pem'], client-ca = 'o.pem', client-auth = 'required', client-crl = ['crl.pem']";

#[test]
fn a_revoked_certificate_opens_nothing_from_the_next_handshake_on() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let setup = secured(&ca, &origin, JUDGING).file("site.pem", ca.issue(&["site.test"]).bundle());
    revoking(setup.path());
    revoke(setup.path(), &[], "-crldays 1");
    let proxy = setup.start();
    let as_client = |name: &str| {
        let file = |end: &str| {
            proxy
                .path()
                .join(format!("{name}.{end}"))
                .display()
                .to_string()
        };
        let shown = ["--cert", &file("pem"), "--key", &file("key")];
        try_https(&proxy, "site.test", "/", &shown)
    };
    assert_eq!(as_client("alice").unwrap(), "app\n");
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let session = [
        "-ign_eof",
        "-cert",
        "alice.pem",
        "-key",
        "alice.key",
        "-sess_out",
        "session",
    ];
    assert!(s_client(&proxy, &session, request).contains("HTTP/1.1 200"));
    let again = || s_client(&proxy, &["-ign_eof", "-sess_in", "session"], request);
    assert!(again().contains("Reused, TLSv1.3"));

    revoke(proxy.path(), &["07"], "-crldays 1");
    wait_until("alice is refused", || as_client("alice").is_err());
    assert_eq!(as_client("bob").unwrap(), "app\n");
    let said = again();
    assert!(
        !said.contains("HTTP/1.1 200") && !said.contains("Reused"),
        "{said}"
    );
    let labels = [("listener", "web"), ("reason", "bad-client-certificate")];
    let refused = proxy
        .metrics()
        .sum("tidegate_tls_handshake_failures_total", &labels);
    assert!(refused >= 1.0, "{refused}");

    fs::write(
        proxy.path().join("crl.pem"),
        "-----BEGIN X509 CRL-----\nhalf",
    )
    .unwrap();
    proxy.wait_for_log(&["crl.pem", "stays in use"]);
    assert!(as_client("alice").is_err());
    assert_eq!(as_client("bob").unwrap(), "app\n");
}

#[test]
fn check_names_lists_of_revoked_certificates_that_are_of_no_use() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let setup = secured(&ca, &origin, JUDGING).file("site.pem", ca.issue(&["site.test"]).bundle());
    revoking(setup.path());
    let says = |words: &str| {
        let (code, _, said) = setup.run("check");
        assert!(code == 1 && said.contains(words), "{words}: {said}");
        assert!(said.contains("crl.pem"), "{said}");
    };
    says("can't be read: No such file");
    fs::copy(setup.path().join("o.pem"), setup.path().join("crl.pem")).unwrap();
    says("it holds no list of revoked certificates");
    let nonsense = "-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n";
    fs::write(setup.path().join("crl.pem"), nonsense).unwrap();
    says("a list in it can't be understood");
    revoke(
        setup.path(),
        &[],
        "-crl_lastupdate 20200101000000Z -crl_nextupdate 20210101000000Z",
    );
    says("expired on 2021-01-01");
    revoke(setup.path(), &[], "-crldays 1");
    let (code, _, said) = setup.run("check");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn check_names_a_route_for_a_host_that_no_certificate_bears() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let tls = "pool = 'app'\ntls = { certificates = ['site.pem'] }";
    let routes = [
        ("site.test", ""),
        ("A.wild.test", ""),
        ("*.wild.test", ""),
        ("127.0.0.1", ""),
        ("plain.test", "'plain'"),
    ];
    let route = |(host, on): &(&str, &str)| {
        let on = if on.is_empty() {
            String::new()
        } else {
            format!("listeners = [{on}]\n")
        };
        format!("[[route]]\nhost = '{host}'\n{on}pool = 'app'\n")
    };
    let config = |more: &(&str, &str)| {
        let routes: String = routes.iter().chain([more]).map(route).collect();
        let plain = listener("plain", "pool = 'app'");
        listener("web", tls) + &plain + &routes + &pool("app", "", &[&origin])
    };
    let check = |more: (&str, &str)| {
        let site = ca.issue(&["site.test", "*.wild.test"]);
        let setup = Setup::new(config(&more)).file("site.pem", site.bundle());
        let (code, _, said) = setup.run("check");
        (code, said, setup)
    };
    let (code, said, _) = check(("b.wild.test", "'web'"));
    assert_eq!(code, 0, "{said}");
    for host in ["other.test", "two.labels.wild.test", "*.other.test"] {
        let (code, said, setup) = check((host, "'web'"));
        assert!(
            code == 1 && said.contains(&format!("no certificate bears \"{host}\"")),
            "{said}"
        );
        if host == "other.test" {
            let proxy = setup.start();
            proxy.wait_for_log(&["WARN", "no certificate bears"]);
        }
    }
}

#[test]
fn what_is_said_of_a_certificate_is_dropped_on_plain_listeners_too() {
    let origin = Origin::named("app");
    let proxy = Proxy::start(listener("web", "pool = 'app'") + &pool("app", "", &[&origin]));
    proxy.send("GET / HTTP/1.1\nhost: x\nX-Client-Cert-Subject: CN=root");
    assert_eq!(origin.last().header("x-client-cert-subject"), None);
}

#[test]
fn an_ocsp_response_is_stapled() {
    let origin = Origin::named("app");
    let ca = Authority::new("ca");
    let setup = secured(&ca, &origin, "certificates = ['site.pem']");
    // openssl answers as the authority; it needs the authority's key, so this one is openssl's.
    let folder = setup.path();
    fs::write(folder.join("index.txt"), "").unwrap();
    fs::write(folder.join("san"), "subjectAltName=DNS:site.test\n").unwrap();
    for command in [
        "req -x509 -newkey rsa:2048 -nodes -keyout o.key -out o.pem -days 2 -subj /CN=o",
        "req -newkey rsa:2048 -nodes -keyout s.key -out s.csr -subj /CN=site.test",
        "x509 -req -in s.csr -CA o.pem -CAkey o.key -set_serial 7 -days 2 -extfile san -out s.crt",
        "ocsp -issuer o.pem -cert s.crt -reqout request",
    ] {
        openssl(folder, &command.split(' ').collect::<Vec<_>>(), "");
    }
    let expires = "391231235959Z";
    fs::write(
        folder.join("index.txt"),
        format!("V\t{expires}\t\t07\tunknown\t/CN=site.test\n"),
    )
    .unwrap();
    let answer = "ocsp -index index.txt -CA o.pem -rsigner o.pem -rkey o.key -reqin request -respout site.pem.ocsp -ndays 1";
    let said = openssl(folder, &answer.split(' ').collect::<Vec<_>>(), "");
    assert!(folder.join("site.pem.ocsp").exists(), "{said}");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    fs::write(folder.join("site.pem"), read("s.crt") + &read("s.key")).unwrap();
    let proxy = setup.start();
    let said = s_client(&proxy, &["-status", "-servername", "site.test"], "");
    assert!(said.contains("Cert Status: good"), "{said}");
}

#[test]
fn a_renewed_certificate_is_in_use_without_a_reload() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    // As certbot does it: a link to the file of the day.
    let setup = secured(
        &ca,
        &origin,
        "certificates = [{ cert = 'live.pem', key = 'live.key' }]",
    );
    let put = |folder: &std::path::Path, version: &str, issued: &Issued| {
        for (end, text) in [("pem", &issued.chain), ("key", &issued.key)] {
            fs::write(folder.join(format!("{version}.{end}")), text).unwrap();
            let draft = folder.join("draft");
            std::os::unix::fs::symlink(format!("{version}.{end}"), &draft).unwrap();
            fs::rename(&draft, folder.join(format!("live.{end}"))).unwrap();
        }
    };
    put(setup.path(), "1", &ca.issue(&["one.test"]));
    let proxy = setup.start();
    assert_eq!(shown(&proxy, "x.test"), "one.test");

    put(proxy.path(), "2", &ca.issue(&["two.test"]));
    wait_until("the new certificate is in use", || {
        shown(&proxy, "x.test") == "two.test"
    });
    assert_eq!(proxy.generation(), 1);

    fs::write(
        proxy.path().join("2.pem"),
        "-----BEGIN CERTIFICATE-----\nhalf",
    )
    .unwrap();
    let line = proxy.wait_for_log(&["live.pem", "stays in use"]);
    assert!(line.contains("ERROR") && line.contains("remedy="), "{line}");
    assert_eq!(shown(&proxy, "x.test"), "two.test");
    let broken = proxy
        .metrics()
        .sum("tidegate_tls_reload_failures_total", &[("listener", "web")]);
    assert_eq!(broken, 1.0);

    put(proxy.path(), "3", &ca.issue(&["three.test"]));
    wait_until("the mended certificate is in use", || {
        shown(&proxy, "x.test") == "three.test"
    });
}

#[test]
fn certificates_come_into_a_folder_and_leave_it() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let setup = secured(&ca, &origin, "certificates = ['folder/']");
    let folder = setup.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.pem"), ca.issue(&["a.test"]).bundle()).unwrap();
    let proxy = setup.start();
    fs::write(folder.join("b.pem"), ca.issue(&["b.test"]).bundle()).unwrap();
    wait_until("b.test has its own", || shown(&proxy, "b.test") == "b.test");
    fs::remove_file(folder.join("b.pem")).unwrap();
    wait_until("b.test has none", || shown(&proxy, "b.test") == "a.test");
    fs::remove_file(folder.join("a.pem")).unwrap();
    proxy.wait_for_log(&["a.pem", "can't be read", "stays in use"]);
    assert_eq!(shown(&proxy, "a.test"), "a.test");
}

#[test]
fn a_thousand_certificates_are_served() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let setup = secured(&ca, &origin, "certificates = ['folder']");
    let folder = setup.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for number in 0..1000 {
        let issued = ca.issue(&[&format!("n{number}.test")]);
        fs::write(folder.join(format!("{number:04}.pem")), issued.bundle()).unwrap();
    }
    let proxy = setup.start();
    for number in [0, 1, 499, 999] {
        let name = format!("n{number}.test");
        assert_eq!(shown(&proxy, &name), name);
    }
}

#[test]
fn plain_http_on_a_tls_port_is_told_so() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let answer = get(proxy.address("web"), "/");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("https://"), "{}", answer.text());
    assert_eq!(proxy.access_log(1)[0]["fault"], "plain-http");
    expect_failures(&proxy, "plain-http", 1.0);
    // Its first byte says it already; the others may come one by one.
    let mut client = Client::connect(proxy.address("web"));
    let request = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";
    request
        .chunks(1)
        .for_each(|byte| client.write(byte).unwrap());
    let answer = client.read().unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("https://"), "{}", answer.text());
    assert!(client.closed());
    expect_failures(&proxy, "plain-http", 2.0);
}

#[test]
fn what_is_no_tls_at_all_is_refused() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let client = Client::connect(proxy.address("web"));
    let mut socket = client.socket();
    socket.write_all(&[0, 1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    assert!(said.len() < 16, "{said:?}");
    expect_failures(&proxy, "invalid", 1.0);
    assert_eq!(https(&proxy, "site.test", "/", &[]), "app\n");
}

#[test]
fn a_handshake_has_a_deadline() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let lines =
        "pool = 'app'\ntimeouts = { handshake = '300ms' }\ntls = { certificates = ['site.pem'] }";
    let proxy = Setup::new(listener("web", lines) + &pool("app", "", &[&origin]))
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let begun = Instant::now();
    let mut silent = Client::connect(proxy.address("web"));
    let mut slow = Client::connect(proxy.address("web"));
    slow.write(&[22, 3, 1, 0, 200, 1]).unwrap();
    assert!(slow.closed() && silent.closed());
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );
    let log = proxy.access_log(1);
    assert_eq!(log[0]["fault"], "tls-handshake-timeout");
    assert_eq!(log.len(), 1, "one that said nothing is not logged");
    expect_failures(&proxy, "timeout", 2.0);
    let silent = proxy.metrics().sum(
        "tidegate_connections_timed_out_total",
        &[("timeout", "handshake")],
    );
    assert_eq!(silent, 1.0);
}

/// curl takes a body until the end of the connection for whole only when TLS has ended too.
#[test]
fn an_answer_until_the_end_of_the_connection_ends_with_close_notify() {
    let ca = Authority::new("ca");
    let origin = Origin::answering("app", |request, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
        if request.target() == "/broken" {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        stream.write_all(b"0\r\n\r\n")
    });
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    assert_eq!(
        https(&proxy, "site.test", "/whole", &["--http1.0"]),
        "hello"
    );
    assert!(try_https(&proxy, "site.test", "/broken", &["--http1.0"]).is_err());
}

#[test]
fn large_bodies_pass_both_ways() {
    let ca = Authority::new("ca");
    let origin = Origin::answering("app", |request, stream| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        reply(stream, 200, &[], &body)
    });
    let setup = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle());
    let body: String = (0..600_000).map(|n| format!("{n:07}\n")).collect();
    let proxy = setup.file("body", &body).start();
    let sent = format!("@{}", proxy.path().join("body").display());
    // Slowly at first, so that the socket fills.
    let arguments = ["--data-binary", &sent, "--limit-rate", "8M"];
    assert!(
        https(&proxy, "site.test", "/", &arguments) == body,
        "the body came back changed"
    );
}

/// The socket is full while the client reads nothing; what TLS holds back then must follow once it reads, though the server
/// says nothing more.
#[test]
fn what_a_full_socket_held_back_follows() {
    const LENGTH: usize = 12 << 20;
    let ca = Authority::new("ca");
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::answering("app", move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        write!(stream, "{LENGTH:x}\r\n")?;
        stream.write_all(&vec![b'x'; LENGTH])?;
        stream.write_all(b"\r\n")?;
        let _ = wait.lock().unwrap().recv();
        stream.write_all(b"0\r\n\r\n")
    });
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let mut client = tls_connect(proxy.address("web"), &ca, "site.test");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    let mut before = 0;
    wait_until("nothing moves any more", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = rustix::io::ioctl_fionread(&client.sock).unwrap();
        now == std::mem::replace(&mut before, now) && now > 0
    });
    let mut got = 0;
    let mut buffer = vec![0; 64 << 10];
    while got < LENGTH {
        let read = client.read(&mut buffer).unwrap();
        got += buffer[..read].iter().filter(|b| **b == b'x').count();
    }
    go_on.send(()).unwrap();
}

#[test]
fn a_tunnel_passes_through_tls_on_both_sides() {
    let ca = Authority::new("ca");
    let origin = Origin::answering("app", |_, stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhello")?;
        let mut echo = stream.try_clone()?;
        std::io::copy(stream, &mut echo)?;
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    let issued = ca.issue(&["site.test"]);
    let front = Front::of(origin.address(), &issued);
    let lines = "pool = 'app'\ntls = { certificates = ['site.pem'] }";
    let pool = format!(
        "[[pool]]\nname = 'app'\nservers = [{{ address = '{}' }}]\ntls = {{ ca = 'ca.pem', server-name = 'site.test' }}\n",
        front.address()
    );
    let proxy = Setup::new(listener("web", lines) + &pool)
        .file("ca.pem", ca.pem())
        .file("site.pem", issued.bundle())
        .start();
    let mut client = tls_connect(proxy.address("web"), &ca, "site.test");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .unwrap();
    let read_until = |client: &mut tidegate_tests::TlsStream, end: &[u8]| {
        let mut got = Vec::new();
        while !got.ends_with(end) {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            got.push(byte[0]);
        }
    };
    read_until(&mut client, b"hello");
    client.write_all(b"over and out").unwrap();
    read_until(&mut client, b"over and out");
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("it ends in order");
}

#[test]
fn an_expired_certificate_is_a_warning_to_a_proxy_that_is_to_run() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let setup = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue_expired(&["site.test"]).bundle());
    let (code, _, said) = setup.run("check");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("expired on 2021-01-01"), "{said}");
    let proxy = setup.start();
    proxy.wait_for_log(&["WARN", "site.pem", "expired on 2021-01-01"]);
    assert_eq!(https(&proxy, "site.test", "/", &["-k"]), "app\n");
}

#[test]
fn a_drain_ends_idle_tls_connections_in_order() {
    let (ca, origin) = (Authority::new("ca"), Origin::named("app"));
    let proxy = secured(&ca, &origin, "certificates = ['site.pem']")
        .file("site.pem", ca.issue(&["site.test"]).bundle())
        .start();
    let address = proxy.address("web").to_string();
    let folder = proxy.path().to_owned();
    let client = std::thread::spawn(move || {
        let arguments = ["s_client", "-connect", &address, "-ign_eof", "-msg"];
        openssl(&folder, &arguments, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    });
    proxy.access_log(1);
    proxy.signal(tidegate_tests::Signal::TERM);
    let said = client.join().unwrap();
    assert!(said.contains("warning close_notify"), "{said}");
}

/// `CN` of the certificate that a client gets which asks for that name.
#[track_caller]
fn shown(proxy: &Proxy, name: &str) -> String {
    let said = s_client(proxy, &["-servername", name], "");
    let line = said.lines().find_map(|line| line.strip_prefix("subject="));
    let subject = line.unwrap_or_else(|| panic!("no certificate:\n{said}"));
    subject.trim_start_matches("CN = ").to_owned()
}

fn s_client(proxy: &Proxy, more: &[&str], input: &str) -> String {
    let address = proxy.address("web").to_string();
    let arguments = [&["s_client", "-connect", &address], more].concat();
    openssl(proxy.path(), &arguments, input)
}

/// A listener `web` that speaks TLS, in front of an origin; `ca.pem` lies beside.
fn secured(ca: &Authority, origin: &Origin, tls: &str) -> Setup {
    let lines = format!("pool = 'app'\ntls = {{ {tls} }}");
    let config = listener("web", &lines) + &pool("app", "", &[origin]);
    Setup::new(config).file("ca.pem", ca.pem())
}

#[track_caller]
fn https(proxy: &Proxy, host: &str, path: &str, more: &[&str]) -> String {
    let arguments = arguments(proxy, host, path);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    curl(&[&arguments[..], more].concat())
}

/// `Err`: what curl complains of.
fn try_https(proxy: &Proxy, host: &str, path: &str, more: &[&str]) -> Result<String, String> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
        ])
        .args(arguments(proxy, host, path))
        .args(more)
        .output()
        .expect("curl is installed; tests/run sees to it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

fn arguments(proxy: &Proxy, host: &str, path: &str) -> Vec<String> {
    let port = proxy.address("web").port();
    vec![
        "--cacert".to_owned(),
        proxy.path().join("ca.pem").display().to_string(),
        "--resolve".to_owned(),
        format!("{host}:{port}:127.0.0.1"),
        format!("https://{host}:{port}{path}"),
    ]
}

/// Waits: a client may hear of it before it is counted.
#[track_caller]
fn expect_failures(proxy: &Proxy, reason: &str, count: f64) {
    let labels = [("listener", "web"), ("reason", reason)];
    let counted = || {
        let metrics = proxy.metrics();
        metrics.sum("tidegate_tls_handshake_failures_total", &labels)
    };
    wait_until(&format!("{count} × {reason}"), || counted() >= count);
    assert_eq!(counted(), count);
}
