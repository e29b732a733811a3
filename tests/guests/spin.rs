//! Runs for ever.

fn spin() {
    loop {
        std::hint::black_box(0);
    }
}

tidegate_guests::misbehaving!(spin);
