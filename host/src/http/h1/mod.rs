//! HTTP/1.1 on the wire (RFC 9112): strict reading of heads (`head`) and chunks (`chunk`), sockets that hold no buffer while
//! they wait (`wire`), requests as they come (`request`), bodies on their way in (`incoming`) and out (`sink`).

pub mod chunk;
pub mod head;
pub mod incoming;
pub mod request;
pub mod sink;
pub mod wire;

use std::cell::RefCell;

/// Lends the worker's index of a head's fields: a head is read into it, and what is kept of the head is copied out.
pub(super) fn with_index<R>(read: impl FnOnce(&mut Vec<head::FieldAt>) -> R) -> R {
    thread_local! {
        static INDEX: RefCell<Vec<head::FieldAt>> = const { RefCell::new(Vec::new()) };
    }
    INDEX.with_borrow_mut(read)
}
