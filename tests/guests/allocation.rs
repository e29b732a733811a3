//! Asks for memory without end.

fn allocate() {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

tidegate_guests::misbehaving!(allocate);
