//! Calls itself without end.

fn recurse() {
    fn deeper(n: u64) -> u64 {
        std::hint::black_box(if std::hint::black_box(n) == u64::MAX {
            n
        } else {
            deeper(n + 1) + 1
        })
    }
    deeper(0);
}

tidegate_guests::misbehaving!(recurse);
