//! The configuration file: read with its spans (`source`), as typed (`written`), checked and resolved (`check` makes
//! `checked`), and what is wrong with it (`problem`). Knows nothing of plugins' insides: whether a plugin has the role it
//! is used in, and takes its settings, is found when a candidate is built, and reported with the spans kept here.

pub mod checked;
pub mod problem;

pub use checked::Config;
pub use problem::{Problem, Problems, Source};
