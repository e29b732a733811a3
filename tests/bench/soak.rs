//! `--soak`: hours of everything, if need be, and what is left of it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tidegate_tests::soak::soak;

/// Err: what was wrong.
pub fn run(proxy: &Path, seconds: u32) -> Result<(), String> {
    tidegate_tests::take_binary(proxy).map_err(|e| format!("{}: {e}", proxy.display()))?;
    println!("{seconds} seconds, and up to a minute more");
    let report = soak(Duration::from_secs(seconds.into()), &|line| {
        println!("{line}")
    });
    println!("{report}");
    let json = serde_json::to_string_pretty(&report.json()).expect("it is JSON");
    let path = Path::new("tests/bench/out/soak.json");
    fs::write(path, json).map_err(|e| format!("{}: {e}", path.display()))?;
    match report.problems().len() {
        0 => Ok(()),
        count => Err(format!("{count} things are wrong, see above")),
    }
}
