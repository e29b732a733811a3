//! HTTP/1.1 on the wire (RFC 9112): strict reading of heads (`head`) and chunks (`chunk`), sockets that hold no buffer while
//! they wait (`wire`), requests as they come (`request`), bodies on their way in (`incoming`) and out (`sink`).

pub mod chunk;
pub mod head;
pub mod incoming;
pub mod request;
pub mod sink;
pub mod wire;
