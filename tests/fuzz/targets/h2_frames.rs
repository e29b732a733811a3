//! What a client of HTTP/2 sends, behind its preface.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::invariants::{self, Splits};

fuzz_target!(|bytes: &[u8]| invariants::h2_frames(bytes, Splits::Some));
