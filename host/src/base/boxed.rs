//! Boxes of what is large and made for each request.

/// Makes a value where it will stay. `Box::new` makes it on the stack and copies all of it, also the room of a future that no
/// step has used yet; to have the box first lets the compiler leave both out.
#[inline(always)]
pub fn in_place<T>(make: impl FnOnce() -> T) -> Box<T> {
    Box::write(Box::new_uninit(), make())
}
