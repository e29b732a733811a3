//! Bodies of requests that are kept for another attempt (`retry-body`): how many bytes of them there are at a time, in the whole
//! process. Each request keeps little, but nobody else bounds how many do so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;

use super::live::Crew;

/// Bytes, of all pools together.
#[derive(Default)]
pub struct Kept(AtomicUsize);

/// Room for a body.
pub struct Room {
    kept: Arc<Kept>,
    bytes: usize,
}

/// A body in its room, which it gives back with its last reader.
struct Whole {
    bytes: Bytes,
    _room: Room,
}

/// Bodies of one pool that there was no room for.
#[derive(Default)]
pub struct Refused(AtomicU64);

impl Crew {
    /// Room for a body of so many bytes, where all together come to no more than `most`. None: there is none, and the body goes on
    /// as it comes.
    pub fn room_for_body(&self, bytes: usize, most: usize) -> Option<Room> {
        let held = &self.kept.0;
        let more = |now: usize| now.checked_add(bytes).filter(|all| *all <= most);
        if held.fetch_update(Relaxed, Relaxed, more).is_err() {
            self.bodies_refused.0.fetch_add(1, Relaxed);
            return None;
        }
        let kept = self.kept.clone();
        Some(Room { kept, bytes })
    }

    /// Bodies that were not kept, though the pool keeps such, as there was no room.
    pub fn bodies_refused(&self) -> u64 {
        self.bodies_refused.0.load(Relaxed)
    }
}

impl Room {
    /// The body that it was made for.
    pub fn hold(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Whole { bytes, _room: self })
    }
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.kept.0.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_until_the_last_reader_of_a_body_is_gone() {
        let crew = Crew::default();
        let body = Bytes::from_static(b"12345678");
        let first = crew.room_for_body(8, 10).unwrap().hold(body.clone());
        assert!(
            crew.room_for_body(3, 10).is_none() && crew.room_for_body(usize::MAX, 10).is_none()
        );
        assert_eq!(crew.bodies_refused(), 2);
        let unused = crew.room_for_body(2, 10).unwrap();
        let reader = first.clone();
        drop((first, unused));
        assert_eq!(reader, body);
        assert!(crew.room_for_body(3, 10).is_none());
        drop(reader);
        assert!(crew.room_for_body(10, 10).is_some());
        assert_eq!(crew.bodies_refused(), 3);
    }
}
