//! Loads: as much as fits (`wrk`, over HTTP/2 `h2load`), at a constant rate (`paced`), connections that are merely held (`held`),
//! TLS handshakes (`handshakes`).

mod answer;
pub mod h2load;
pub mod handshakes;
pub mod held;
pub mod paced;
pub mod wrk;

/// As wrk sends it, so that all loads ask for the same.
fn request(port: u16, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nx-tenant: beta\r\n\r\n")
}
