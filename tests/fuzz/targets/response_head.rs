//! A response's head.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::invariants::{self, Splits};

fuzz_target!(|bytes: &[u8]| invariants::response_head(bytes, Splits::Some));
