//! The fuzzers start from these cases: `tests/fuzz/corpus` holds the small ones, a file each, in step with the tables.
//! `TIDEGATE_GOLDEN=write cargo test -p tidegate-tests --test conformance corpus` writes them anew. What a fuzzer adds of
//! its own is kept elsewhere (see `tests/fuzz/README.md`), but for findings, which begin with `found-`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tidegate_tests::root;

use crate::{accepted, answers, broken, refused};

/// A fuzzer makes large ones itself.
const LARGEST: usize = 1_000;

#[test]
fn the_corpus_is_in_step_with_the_cases() {
    let mut wrong = Vec::new();
    for (target, expected) in [
        ("request_head", request_heads()),
        ("response_head", response_heads()),
        ("chunked_body", chunked_bodies()),
    ] {
        let folder = root().join("tests/fuzz/corpus").join(target);
        if std::env::var_os("TIDEGATE_GOLDEN").is_some_and(|value| value == "write") {
            write(&folder, &expected);
        }
        let found = read(&folder);
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        if found != expected {
            let (found, expected) = (names(&found), names(&expected));
            let extra = found.iter().filter(|name| !expected.contains(name));
            let missing = expected.iter().filter(|name| !found.contains(name));
            wrong.push(format!(
                "{target}: missing {:?}, extra {:?}; or contents differ",
                missing.collect::<Vec<_>>(),
                extra.collect::<Vec<_>>()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "run with TIDEGATE_GOLDEN=write:\n{}",
        wrong.join("\n")
    );
}

fn request_heads() -> BTreeMap<String, Vec<u8>> {
    let refused = refused().into_iter().map(|case| (case.what, case.sent));
    let accepted = accepted::cases()
        .into_iter()
        .map(|case| (case.what, case.sent));
    files(refused.chain(accepted))
}

fn response_heads() -> BTreeMap<String, Vec<u8>> {
    files(
        answers::cases()
            .into_iter()
            .map(|case| (case.what, case.sent)),
    )
}

/// Without the head before them.
fn chunked_bodies() -> BTreeMap<String, Vec<u8>> {
    let broken = broken::cases()
        .into_iter()
        .map(|case| (case.what, case.sent));
    let whole = accepted::cases()
        .into_iter()
        .map(|case| (case.what, case.sent));
    let answers = answers::cases()
        .into_iter()
        .map(|case| (case.what, case.sent));
    let chunked = |(what, sent): (String, Vec<u8>)| {
        let head = sent.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let coding = sent[..head].to_ascii_lowercase();
        let is_chunked = coding.windows(9).any(|window| window == b": chunked");
        is_chunked.then(|| (what, sent[head..].to_vec()))
    };
    files(broken.chain(whole).chain(answers).filter_map(chunked))
}

/// The small ones under names that a file may have; of those that differ in a control byte, one.
fn files(cases: impl Iterator<Item = (String, Vec<u8>)>) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for (what, bytes) in cases {
        let again = what.contains("byte ") && !what.contains("byte 00");
        if again
            || bytes.is_empty()
            || bytes.len() > LARGEST
            || files.values().any(|known| *known == bytes)
        {
            continue;
        }
        let name = name(&what);
        let mut unique = name.clone();
        for number in 2.. {
            if !files.contains_key(&unique) {
                break;
            }
            unique = format!("{name}-{number}");
        }
        files.insert(unique, bytes);
    }
    files
}

fn name(what: &str) -> String {
    let plain: String = what
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-").chars().take(60).collect()
}

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    fs::create_dir_all(folder).expect("the folder can be made");
    for old in read(folder)
        .keys()
        .filter(|name| !files.contains_key(*name))
    {
        fs::remove_file(folder.join(old)).expect("it was there");
    }
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("a file can be written");
    }
}

/// Findings aside.
fn read(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .filter(|(name, _)| !name.starts_with("found-"))
        .map(|(name, path)| (name, fs::read(path).expect("a file can be read")))
        .collect()
}
