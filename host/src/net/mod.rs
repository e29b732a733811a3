//! Sockets: listening ones, accepted ones.
