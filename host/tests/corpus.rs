//! What must hold of the readers of heads, chunks and frames whatever they are given: over everything that the fuzzers start from, at
//! every place where reads may split it, and over variations of it, new ones each time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// The invariants find what they check under this name, here as in the fuzz targets.
mod h1 {
    pub use tidegate::http::h1::{chunk, head};
}

mod h2 {
    pub use tidegate::http::h2::{PREFACE, flood, frame, hpack, reader};
}

#[path = "../../tests/fuzz/invariants/mod.rs"]
mod invariants;

use invariants::{Random, Splits};

#[test]
fn request_heads() {
    each("request_head", invariants::request_head);
}

#[test]
fn response_heads() {
    each("response_head", invariants::response_head);
}

#[test]
fn chunked_bodies() {
    each("chunked_body", invariants::chunked_body);
}

#[test]
fn frames() {
    each("h2_frames", invariants::h2_frames);
}

/// Checks the files, and variations of them. What is at fault is told by the last lines that were printed.
fn each(target: &str, check: fn(&[u8], Splits)) {
    let files = files(target);
    assert!(files.len() > 50, "{target}: {} files only", files.len());
    for (path, bytes) in &files {
        println!("{}", path.display());
        check(bytes, Splits::All);
    }
    let seed = UNIX_EPOCH.elapsed().expect("a clock").as_nanos() as u64;
    println!("variations of seed {seed}");
    let mut random = Random(seed);
    for _ in 0..VARIATIONS {
        let (_, one) = &files[random.below(files.len())];
        let (_, other) = &files[random.below(files.len())];
        let varied = vary(one, other, &mut random);
        println!("\"{}\"", varied.escape_ascii());
        check(&varied, Splits::Some);
    }
}

const VARIATIONS: usize = 5_000;

fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
    let mut files: Vec<_> = fs::read_dir(corpus.join(target))
        .expect("there is a corpus")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("a file can be read")))
        .collect();
    files.sort();
    files
}

/// One to three changes; bytes that mean something are put in rather than others.
fn vary(one: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const BYTES: &[u8] = b"\r\n\r\n \t:;,\0\x7f\xff0159aFgGH/*";
    let mut bytes = one.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let byte = BYTES[random.below(BYTES.len())];
        match random.below(5) {
            0 => bytes.insert(at, byte),
            1 if at < bytes.len() => bytes[at] = byte,
            2 => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(4)))),
            3 => {
                let begin = random.below(one.len());
                let end = begin + random.below(one.len() - begin + 1);
                drop(bytes.splice(at..at, one[begin..end].iter().copied()));
            }
            _ => {
                bytes.truncate(at);
                bytes.extend_from_slice(&other[random.below(other.len())..]);
            }
        }
    }
    bytes
}
