//! The plugins that the binary carries, compiled from `plugins/` by the build script.

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// The component or core module of a shipped plugin.
pub fn get(name: &str) -> Option<&'static [u8]> {
    SHIPPED
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, wasm)| *wasm)
}

/// The names of all shipped plugins, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHIPPED.iter().map(|(name, _)| *name)
}
