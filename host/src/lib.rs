//! Tidegate's host. The floors, lowest first; a file imports lower floors and its own folder, never a sibling folder
//! (`tests/house.rs` reads the `use crate::` lines and holds it so):
//!
//! | floor | folders |
//! |---|---|
//! | 0 | `base` |
//! | 1 | `config`, `hook` |
//! | 2 | `net`, `state` |
//! | 3 | `tls`, `upstream` |
//! | 4 | `http`, `plugin` |
//! | 5 | `pipeline`, `health`, `observe` |
//! | 6 | `control` |
//! | 7 | `admin`, `cli` |
//!
//! `app` joins them all and `main` holds flags and exit codes. The library target exists for benches and the binary; it
//! is no public API.

pub mod admin;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod discovery;
pub mod health;
pub mod hook;
pub mod http;
pub mod net;
pub mod observe;
pub mod pipeline;
pub mod plugin;
pub mod shipped;
pub mod state;
pub mod tls;
pub mod upstream;
