//! A short form of `tests/bench/run --soak`: the same driver, the same demands.

use std::time::Duration;

use tidegate_tests::soak::soak;

#[test]
fn traffic_changes_and_deaths_leave_nothing_behind() {
    let report = soak(Duration::from_secs(20), &|_| {});
    println!("{report}");
    assert!(report.problems().is_empty(), "{report}");
    assert!(report.requests() > 500, "{report}");
}
