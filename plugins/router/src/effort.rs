//! Counts look-ups and comparisons, so that a test can show that a thousand routes cost no more than ten. Nothing in a
//! plugin that is shipped.

#[cfg(test)]
thread_local!(static STEPS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) });

/// One look-up in a map, or one condition compared.
#[inline(always)]
pub fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// What `work` took.
#[cfg(test)]
pub fn of<T>(work: impl FnOnce() -> T) -> (T, u32) {
    STEPS.with(|steps| steps.set(0));
    let answer = work();
    (answer, STEPS.with(std::cell::Cell::get))
}
