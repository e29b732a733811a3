//! Compiled plugins to swap in: the shipped ones as the host's build script left them, and variants of a plugin.

use std::fs;

use crate::binary;

/// The core module of a shipped plugin.
#[track_caller]
pub fn shipped(name: &str) -> Vec<u8> {
    let target = binary::tidegate()
        .ancestors()
        .nth(2)
        .expect("the binary lies in a profile's folder");
    let file = format!("tidegate_plugin_{}.wasm", name.replace('-', "_"));
    let path = target
        .join("plugins/wasm32-unknown-unknown/plugin")
        .join(file);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The same plugin as another binary: with a custom section that holds a number (WebAssembly Core, 5.5.3).
pub fn variant(wasm: &[u8], number: u32) -> Vec<u8> {
    let name = b"variant";
    let mut content = vec![name.len() as u8];
    content.extend(name);
    content.extend(number.to_le_bytes());
    let mut wasm = wasm.to_vec();
    wasm.extend([0, content.len() as u8]);
    wasm.extend(content);
    wasm
}
