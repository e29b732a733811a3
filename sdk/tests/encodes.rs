//! A crate may export any roles together. The linker of wasm32-wasip2 encodes the component, and refuses what doesn't fit
//! together: two worlds that import the same thing differently, an export without a body.

use std::path::Path;
use std::process::Command;

#[test]
fn all_roles_in_one_crate_make_a_component() {
    // Beside the shipped plugins, so that what both are made of is compiled once.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("plugins");
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args([
            "build",
            "--locked",
            "--profile",
            "plugin",
            "--example",
            "every_role",
        ])
        .args(["--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let wasm = target.join("wasm32-wasip2/plugin/examples/every_role.wasm");
    let wasm = std::fs::read(wasm).expect("cargo has written it");
    assert_eq!(
        wasm[..8],
        *b"\0asm\x0d\0\x01\0",
        "a component, not a core module"
    );
    for role in [
        "plugin",
        "router",
        "request-filter",
        "response-filter",
        "balancer",
        "request-balancer",
        "sticky",
        "health",
        "connect",
        "stateful",
    ] {
        let name = format!("tidegate:plugin/{role}@0.1.0");
        let exported = wasm
            .windows(name.len())
            .any(|bytes| bytes == name.as_bytes());
        assert!(exported, "{role}");
    }
}
