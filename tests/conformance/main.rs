//! Conformance with RFC 9112 and RFC 9110, strictly read: raw bytes to the built binary, raw bytes as an origin got them. The
//! tables say what must come of each case; `check` finds out; the tests join the two.
//!
//! What is refused is tried alone and behind a good request on the same connection, and once more in pieces.

mod accepted;
mod answers;
mod broken;
mod case;
mod check;
mod corpus;
mod fields;
mod framing;
mod http2;
mod lines;
mod pieces;
mod site;

use std::collections::BTreeSet;
use std::fs;

use tidegate_tests::root;

use site::Site;

/// Every table of requests that are refused by their head.
fn refused() -> Vec<case::Refused> {
    [lines::cases(), fields::cases(), framing::cases()].concat()
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_and_reaches_no_server() {
    Site::run(|site| {
        for case in refused() {
            let found = check::refused(site, &case, &pieces::at_once);
            site.note(&case.what, found);
        }
    });
}

#[test]
fn what_is_refused_is_refused_in_frames_too() {
    http2::run(&refused());
}

#[test]
fn a_body_that_breaks_its_coding_never_looks_whole_to_a_server() {
    Site::run(|site| {
        for case in broken::cases() {
            let found = check::broken(site, &case, &pieces::at_once);
            site.note(&case.what, found);
        }
    });
}

#[test]
fn what_clients_send_is_passed_on_as_it_is() {
    Site::run(|site| {
        for case in accepted::cases() {
            let found = check::accepted(site, &case, &pieces::at_once, <[u8]>::to_vec);
            site.note(&case.what, found);
        }
    });
}

#[test]
fn an_answer_is_held_to_the_same_rules() {
    Site::run(|site| {
        for case in answers::cases() {
            let found = check::answer(site, &case, false);
            site.note(&case.what, found);
        }
    });
}

#[test]
fn what_a_server_says_unasked_is_nobodys_answer() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    Site::run(|site| {
        for unasked in [
            "!",
            "\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            "HTTP/1.1 408 Request Timeout\r\n\r\n",
        ] {
            let found = check::unasked(site, whole, unasked);
            site.note(unasked, found);
        }
    });
}

#[test]
fn every_rule_of_the_reference_has_a_case() {
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, strict) = readme
        .split_once("All have the letters `PR`.\n\n")
        .expect("the README has its table");
    let (table, _) = strict.split_once("\n\n").expect("a table ends");
    let rows = table.lines().filter_map(|row| row.split('|').nth(2));
    let named = |row: &str| {
        row.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let told: BTreeSet<String> = rows.flat_map(named).collect();
    let mut tried: BTreeSet<String> = refused().iter().map(|case| case.word.to_owned()).collect();
    // The other table tells of these.
    for word in ["connect-method", "request-head-too-large"] {
        assert!(tried.remove(word), "{word}");
    }
    // Of answers alone.
    tried.insert("bad-status-line".to_owned());
    assert_eq!(told, tried, "left: in the README, right: in the cases");
}

/// Larger ones take too long byte by byte.
const SMALL: usize = 2_000;

#[test]
fn byte_by_byte_the_same_comes_of_it() {
    Site::run(|site| {
        in_pieces(site, "byte by byte", &pieces::by_bytes, SMALL);
        for case in answers::cases() {
            // What is said behind an answer may come late then: too late to be known of.
            if case.sent.len() <= SMALL && !case.what.starts_with("surplus") {
                let found = check::answer(site, &case, true);
                site.note(&format!("{}, byte by byte", case.what), found);
            }
        }
    });
}

#[test]
fn in_random_pieces_the_same_comes_of_it() {
    // A new seed each time; what is wrong is told with it.
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock");
    Site::run(|site| {
        for seed in [1, now.as_nanos() as u64] {
            in_pieces(
                site,
                &format!("seed {seed}"),
                &pieces::at_random(seed),
                usize::MAX,
            );
        }
    });
}

fn in_pieces(site: &mut Site, how: &str, send: pieces::Manner<'_>, largest: usize) {
    let suits = |what: &str, sent: &[u8]| {
        // One that is not whole is judged when a line ends, or it is late.
        let unfinished = what.ends_with("so far");
        // A client that sends on behind the last answer may find the connection closed.
        let goes_on = what.contains("nothing behind");
        // One control byte is read like another.
        let again = what.contains("byte ") && !what.contains("byte 00");
        sent.len() <= largest && !unfinished && !goes_on && !again
    };
    for case in refused() {
        if suits(&case.what, &case.sent) {
            let found = check::refused(site, &case, send);
            site.note(&format!("{}, {how}", case.what), found);
        }
    }
    for case in broken::cases() {
        if suits(&case.what, &case.sent) {
            let found = check::broken(site, &case, send);
            site.note(&format!("{}, {how}", case.what), found);
        }
    }
    for case in accepted::cases() {
        if suits(&case.what, &case.sent) {
            let found = check::accepted(site, &case, send, check::in_one_chunk);
            site.note(&format!("{}, {how}", case.what), found);
        }
    }
}
