//! The admin surface over HTTP.
