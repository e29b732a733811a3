//! Lines in the proxy's log, under the plugin's name. Control characters are escaped, 4 KiB of a line and 100 lines a
//! second are kept; what is dropped is counted. A panic's message gets there by itself.
//!
//! ```
//! use tidegate_sdk::log;
//! log::info("tables loaded");
//! log::warn(format!("{} tenants have no pool", 3));
//! ```

use crate::sys::{self, Level};

/// For whoever follows what the plugin does step by step.
pub fn debug(message: impl AsRef<str>) {
    sys::log(Level::Debug, message.as_ref());
}

/// Worth knowing.
pub fn info(message: impl AsRef<str>) {
    sys::log(Level::Info, message.as_ref());
}

/// Something is not as it should be, and the plugin copes.
pub fn warn(message: impl AsRef<str>) {
    sys::log(Level::Warn, message.as_ref());
}

/// Something failed.
pub fn error(message: impl AsRef<str>) {
    sys::log(Level::Error, message.as_ref());
}
