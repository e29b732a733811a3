//! What is no plugin is refused, with what it is and what to do.

use std::time::Duration;

use tidegate::plugin::{Cause, Kind, PrepareError, Runtime, RuntimeOptions};
use tidegate::state::State;
use tidegate::upstream::LiveTable;
use tidegate_tests::{guest, guest_wasip2};

use crate::support::{World, settings};

fn refused(wasm: &[u8]) -> String {
    match World::new().runtime.load(wasm) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn garbage_is_no_plugin() {
    for garbage in [&b""[..], b"PK\x03\x04", b"(component)", b"\0as"] {
        let words = refused(garbage);
        assert!(words.contains("no WebAssembly file"), "{words}");
    }
    let words = refused(b"\0asm\x0d\0\x01\0garbage");
    assert!(words.contains("not valid"), "{words}");
    let words = refused(b"\0asm\x01\0\0\0garbage");
    assert!(words.contains("not valid"), "{words}");
    let words = refused(b"\0asm\x01\0\0\0");
    assert!(words.contains("no Tidegate plugin"), "{words}");
    let words = refused(b"\0asm\x02\0\0\0");
    assert!(words.contains("version"), "{words}");
    let mut cut = guest("trap");
    cut.truncate(cut.len() / 2);
    let words = refused(&cut);
    assert!(words.contains("not valid"), "{words}");
}

#[test]
fn another_version_is_named_beside_ours() {
    let words = refused(&guest("wrong-version"));
    assert!(words.contains("tidegate:plugin/plugin@0.9.0"), "{words}");
    assert!(words.contains("0.1.0"), "{words}");
}

#[test]
fn missing_exports_are_named() {
    let words = refused(&guest("no-role"));
    assert!(words.contains("none of the roles"), "{words}");
    let words = refused(&guest("no-plugin"));
    assert!(words.contains("tidegate:plugin/plugin@0.1.0"), "{words}");
    let words = refused(&guest("foreign"));
    assert!(words.contains("no Tidegate plugin"), "{words}");
}

#[test]
fn wrong_types_are_refused() {
    let words = refused(&guest("wrong-shape"));
    assert!(words.contains("configure"), "{words}");
}

#[test]
fn the_intrinsics_are_not_for_plugins() {
    let words = refused(&guest("greedy-import"));
    assert!(words.contains("unsafe-intrinsics"), "{words}");
}

#[test]
fn a_core_module_and_a_component_are_told_apart() {
    let world = World::new();
    let module = world.load(&guest("writer"));
    assert_eq!(module.kind(), Kind::Module);
    assert!(module.roles().request_filter && !module.roles().router);
    assert_eq!(module.roles().to_string(), "request-filter");
    assert_eq!(module.wit_version(), "0.1.0");
    assert_eq!(module.size(), guest("writer").len());
    let wasi = |names: &[String]| names.iter().any(|name| name.starts_with("wasi:"));
    assert!(!wasi(module.imports()), "{:?}", module.imports());
    let component = world.load(&guest_wasip2("writer"));
    assert_eq!(component.kind(), Kind::Component);
    assert!(wasi(component.imports()), "{:?}", component.imports());
    let live = world.load(&guest("live"));
    assert!(live.imports().contains(&"live-v1".to_owned()));
}

#[test]
fn the_same_file_is_compiled_once() {
    let world = World::new();
    let first = world.load(&guest("trap"));
    assert!(std::sync::Arc::ptr_eq(&first, &world.load(&guest("trap"))));
}

#[test]
fn compiled_code_is_kept_in_a_folder_of_ours() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("cache");
    let load = || {
        let runtime = Runtime::new(RuntimeOptions {
            cache: Some(folder.clone()),
            live: LiveTable::with_capacity(1),
            state: State::new(),
        });
        runtime.unwrap().load(&guest("trap")).unwrap();
    };
    load();
    assert!(std::fs::read_dir(&folder).unwrap().next().is_some());
    load();
}

#[test]
fn refused_settings_are_told_in_the_plugins_words() {
    let world = World::new();
    let prepare = |config| world.prepared(&guest("refusal"), settings("picky", config));
    assert!(prepare(r#"{"key": "right"}"#).is_ok());
    let Err(PrepareError::Settings(words)) = prepare(r#"{"key": "wrong"}"#) else {
        panic!("settings were taken");
    };
    assert_eq!(words, "key `key`: \"wrong\" is not \"right\"");
    assert!(matches!(
        prepare(r#"{"keys": 1}"#),
        Err(PrepareError::Settings(_))
    ));
}

#[test]
fn a_configure_that_fails_is_no_crash() {
    let world = World::new();
    let on = r#"{"on": ["configure"]}"#;
    let cause = |name: &str| {
        let memory = 16 << 20;
        let settings = tidegate::plugin::Settings {
            memory,
            ..settings(name, on)
        };
        match world.prepared(&guest(name), settings) {
            Err(PrepareError::Failed { during, cause, .. }) => (during, cause),
            Err(other) => panic!("{name}: {other}"),
            Ok(_) => panic!("{name} was prepared"),
        }
    };
    assert_eq!(cause("trap"), ("configure", Cause::Trap));
    assert_eq!(cause("allocation"), ("configure", Cause::Memory));
    assert_eq!(cause("recursion"), ("configure", Cause::Stack));
    let start = std::time::Instant::now();
    assert_eq!(cause("spin"), ("configure", Cause::Cpu));
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "its limit is 1 s"
    );
    assert_eq!(world.runtime.live_instances(), 0);
}

#[test]
fn a_memory_limit_below_what_it_starts_with_is_told() {
    let world = World::new();
    let settings = tidegate::plugin::Settings {
        memory: 64 << 10,
        ..settings("trap", "{}")
    };
    let error = world.prepared(&guest("trap"), settings).err().unwrap();
    assert!(
        matches!(
            &error,
            PrepareError::Failed {
                during: "instantiate",
                cause: Cause::Memory,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("65536 bytes"), "{error}");
}
