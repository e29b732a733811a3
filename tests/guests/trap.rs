//! Panics.

fn trap() {
    panic!("this guest traps");
}

tidegate_guests::misbehaving!(trap);
