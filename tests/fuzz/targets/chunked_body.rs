//! A chunked body, its trailers, and what stands behind it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::invariants::{self, Splits};

fuzz_target!(|bytes: &[u8]| invariants::chunked_body(bytes, Splits::Some));
