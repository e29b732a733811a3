//! `jwt`, with keys and signatures that openssl makes.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tidegate_sdk::base64::encode_url;
use tidegate_tests::{Origin, Port, Proxy, Setup, listener, pool, reply, wait_until};

#[test]
fn each_kind_of_key_signs_by_its_own_algorithms() {
    let keys = [Pair::rsa(), Pair::p256(), Pair::p384(), Pair::ed25519()];
    let origin = Origin::named("a");
    let pems: Vec<String> = (0..4)
        .map(|n| format!("{{ file = \"{n}.pem\" }}"))
        .collect();
    let settings = format!(
        "keys = [{}, {{ secret = \"{SECRET}\" }}], headers = {{ x-user = \"sub\" }}",
        pems.join(", ")
    );
    let setup = Setup::new(site(&settings, &origin));
    let setup = keys.iter().enumerate().fold(setup, |setup, (n, key)| {
        setup.file(&format!("{n}.pem"), key.public())
    });
    let proxy = setup.start();
    for (key, algorithm) in [
        (0, "RS256"),
        (0, "RS384"),
        (0, "RS512"),
        (0, "PS256"),
        (0, "PS512"),
        (1, "ES256"),
        (2, "ES384"),
        (3, "EdDSA"),
    ] {
        let token = keys[key].token(json!({ "alg": algorithm }), good());
        let answer = ask(&proxy, &token);
        assert_eq!(
            answer.status(),
            200,
            "{algorithm}: {:?}",
            answer.header("www-authenticate")
        );
        assert_eq!(origin.last().header("x-user"), Some("ada"));
        let other = keys[key].token(json!({ "alg": algorithm }), json!({ "exp": 1 }));
        let swapped = format!(
            "{}.{}",
            token.rsplit_once('.').unwrap().0,
            other.rsplit_once('.').unwrap().1
        );
        assert_eq!(
            ask(&proxy, &swapped).status(),
            401,
            "{algorithm}, another token's signature"
        );
    }
    for (key, algorithm) in [
        (0, "ES256"),
        (1, "EdDSA"),
        (2, "RS256"),
        (3, "HS256"),
        (0, "none"),
    ] {
        let signed = keys[key].signed(algorithm, good());
        assert_eq!(
            ask(&proxy, &format!("{signed}.AAAA")).status(),
            401,
            "{algorithm}"
        );
    }
}

#[test]
fn a_public_key_does_not_make_an_hmac() {
    let key = Pair::rsa();
    let origin = Origin::named("a");
    let proxy = Setup::new(site("keys = [{ file = \"key.pem\" }]", &origin))
        .file("key.pem", key.public())
        .start();
    let signed = key.signed("HS256", good());
    let hex: String = key
        .public()
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mac = openssl(
        &[
            "dgst",
            "-sha256",
            "-mac",
            "HMAC",
            "-macopt",
            &format!("hexkey:{hex}"),
            "-binary",
        ],
        signed.as_bytes(),
    );
    let answer = ask(&proxy, &format!("{signed}.{}", encode_url(&mac)));
    assert_eq!(answer.status(), 401);
    assert_eq!(
        answer.header("www-authenticate"),
        Some(
            "Bearer realm=\"restricted\", error=\"invalid_token\", error_description=\"algorithm not of this key\""
        )
    );
    assert_eq!(origin.served(), 0);
}

#[test]
fn keys_are_fetched_from_the_issuer_once_for_all_workers() {
    let (rsa, p256) = (Pair::rsa(), Pair::p256());
    let set = json!({ "keys": [rsa.jwk("r"), p256.jwk("e")] }).to_string();
    let idp = Origin::answering("idp", move |_, stream| reply(stream, 200, &[], &set));
    let origin = Origin::named("a");
    let proxy = Proxy::start(site(FETCHED, &origin) + &pool("idp", "", &[&idp]));
    for _ in 0..6 {
        let token = rsa.token(json!({ "alg": "RS256", "kid": "r" }), good());
        assert_eq!(ask(&proxy, &token).status(), 200);
        let token = p256.token(json!({ "alg": "ES256", "kid": "e" }), good());
        assert_eq!(ask(&proxy, &token).status(), 200);
    }
    assert_eq!(idp.served(), 1);
    assert_eq!(
        (idp.last().target(), idp.last().header("host")),
        ("/jwks.json", Some("id.example"))
    );
    let expired = rsa.token(
        json!({ "alg": "RS256", "kid": "r" }),
        json!({ "sub": "ada", "exp": seconds() - 100 }),
    );
    assert_eq!(ask(&proxy, &expired).status(), 401);
    let lines = proxy.access_log(13);
    assert!(
        lines
            .iter()
            .any(|line| line.to_string().contains("token: expired")),
        "{lines:?}"
    );
}

#[test]
fn a_slow_issuer_keeps_nobody_waiting_once_there_are_keys() {
    let key = Pair::p256();
    let set = json!({ "keys": [key.jwk("e")] }).to_string();
    let (waits, slow) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(())));
    let (told_to_wait, gate) = (waits.clone(), slow.clone());
    let idp = Origin::answering("idp", move |_, stream| {
        // From then on an answer waits until the test is through.
        if told_to_wait.load(SeqCst) {
            drop(gate.lock());
        }
        reply(stream, 200, &[], &set)
    });
    let origin = Origin::named("a");
    let settings = FETCHED.replace(" }", ", refresh = \"10s\" }");
    let proxy = Proxy::start(site(&settings, &origin) + &pool("idp", "", &[&idp]));
    let token = key.token(json!({ "alg": "ES256", "kid": "e" }), good());
    // The first request waits for them, on a busy machine in vain.
    wait_until("there are keys", || ask(&proxy, &token).status() == 200);
    let held = slow.lock().unwrap();
    waits.store(true, SeqCst);
    let before = idp.served();
    wait_until("the keys are fetched again", || {
        let begun = Instant::now();
        assert_eq!(ask(&proxy, &token).status(), 200);
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "it waited for the issuer"
        );
        idp.served() > before
    });
    assert_eq!(ask(&proxy, &token).status(), 200);
    drop(held);
}

#[test]
fn without_the_issuer_nobody_comes_in() {
    let (key, origin, gone) = (Pair::ed25519(), Origin::named("a"), Port::free());
    let idp = format!(
        "[[pool]]\nname = \"idp\"\nservers = [{{ address = \"{}\" }}]\n",
        gone.address()
    );
    let proxy = Proxy::start(site(FETCHED, &origin) + &idp);
    assert_eq!(
        ask(&proxy, &key.token(json!({ "alg": "EdDSA" }), good())).status(),
        503
    );
    assert_eq!(origin.served(), 0);
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const FETCHED: &str = "jwks = { pool = \"idp\", path = \"/jwks.json\", host = \"id.example\" }";

fn site(settings: &str, origin: &Origin) -> String {
    let plugin = format!(
        "[proxy]\nworkers = 3\n[[plugin]]\nname = \"token\"\nshipped = \"jwt\"\nconfig = {{ {settings} }}\n{}",
        if settings.starts_with("jwks = {") {
            "grants = [\"fetch:idp\"]\n"
        } else {
            ""
        }
    );
    plugin + &listener("web", "filters = [\"token\"]\npool = \"app\"") + &pool("app", "", &[origin])
}

fn ask(proxy: &Proxy, token: &str) -> tidegate_tests::Message {
    proxy.send(&format!(
        "GET / HTTP/1.1\nhost: x\nauthorization: Bearer {token}"
    ))
}

fn good() -> Value {
    json!({ "sub": "ada", "exp": seconds() + 600, "nbf": seconds() })
}

fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_secs()
}

/// A private key of openssl's, in a file of its own.
struct Pair {
    file: tempfile::NamedTempFile,
    kind: &'static str,
}

impl Pair {
    fn rsa() -> Pair {
        Pair::new(
            "RSA",
            &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        )
    }

    fn p256() -> Pair {
        Pair::new(
            "P-256",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        )
    }

    fn p384() -> Pair {
        Pair::new(
            "P-384",
            &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        )
    }

    fn ed25519() -> Pair {
        Pair::new("Ed25519", &["-algorithm", "ed25519"])
    }

    fn new(kind: &'static str, how: &[&str]) -> Pair {
        let pem = openssl(&[&["genpkey"], how].concat(), b"");
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&pem).unwrap();
        Pair { file, kind }
    }

    fn path(&self) -> String {
        PathBuf::from(self.file.path())
            .to_string_lossy()
            .into_owned()
    }

    fn public(&self) -> String {
        String::from_utf8(openssl(&["pkey", "-in", &self.path(), "-pubout"], b"")).unwrap()
    }

    fn jwk(&self, id: &str) -> Value {
        let der = openssl(
            &["pkey", "-in", &self.path(), "-pubout", "-outform", "DER"],
            b"",
        );
        match self.kind {
            // The modulus of 2048 bits stands before the exponent, which is 65537: 02 03 01 00 01.
            "RSA" => {
                let n = &der[der.len() - 5 - 256..der.len() - 5];
                json!({ "kty": "RSA", "kid": id, "use": "sig", "n": encode_url(n), "e": "AQAB" })
            }
            _ => {
                let (x, y) = der[der.len() - 64..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "x": encode_url(x), "y": encode_url(y) })
            }
        }
    }

    fn signed(&self, algorithm: &str, claims: Value) -> String {
        let header = json!({ "alg": algorithm });
        format!(
            "{}.{}",
            encode_url(header.to_string().as_bytes()),
            encode_url(claims.to_string().as_bytes())
        )
    }

    fn token(&self, header: Value, claims: Value) -> String {
        let signed = format!(
            "{}.{}",
            encode_url(header.to_string().as_bytes()),
            encode_url(claims.to_string().as_bytes())
        );
        let signature = self.sign(header["alg"].as_str().unwrap(), signed.as_bytes());
        format!("{signed}.{}", encode_url(&signature))
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let path = self.path();
        if algorithm == "EdDSA" {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(message).unwrap();
            let input = file.path().to_str().unwrap();
            return openssl(
                &["pkeyutl", "-sign", "-rawin", "-inkey", &path, "-in", input],
                b"",
            );
        }
        let hash = format!("-sha{}", &algorithm[2..]);
        let mut arguments = vec!["dgst", &hash, "-sign", &path];
        if algorithm.starts_with("PS") {
            arguments.extend([
                "-sigopt",
                "rsa_padding_mode:pss",
                "-sigopt",
                "rsa_pss_saltlen:-1",
            ]);
        }
        let signature = openssl(&arguments, message);
        match algorithm {
            "ES256" => fixed(&signature, 32),
            "ES384" => fixed(&signature, 48),
            _ => signature,
        }
    }
}

/// r and s, each of that length, of the sequence of two integers that openssl writes.
fn fixed(der: &[u8], length: usize) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(rest[1].into());
        rest = after;
        let number = &number[number.len().saturating_sub(length)..];
        out.resize(out.len() + length - number.len(), 0);
        out.extend_from_slice(number);
    }
    out
}

fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed; tests/run sees to it");
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "openssl {}: {said}",
        arguments.join(" ")
    );
    output.stdout
}
