//! The plugin runtime: the only user of wasmtime.
