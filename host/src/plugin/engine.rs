//! The engine's settings, each with its reason, and the folder of compiled code.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wasmtime::{Cache, CacheConfig, Config, Engine, Inlining};

/// Addresses reserved for a guest's memory. wasmtime's default is 4 GiB each, which a thousand instances do not fit in; a
/// memory that outgrows this is moved.
const RESERVED: u64 = 16 << 20;
const GUARD: u64 = 64 << 10;

/// A guest's stack. Workers have 2 MiB, so a guest that recurses is stopped long before the host's own stack ends.
const STACK: usize = 512 << 10;

/// Of zstd, of the files in the cache. What is read often wasmtime would compress once more, at level 20: that takes 170 MiB, which
/// the C library's allocator then keeps, and saves next to nothing.
const COMPRESSION: i32 = 3;

/// Makes engines of the same settings: the one that plugins run on, and passing ones that compile them.
pub(super) struct Engines(Config);

impl Engines {
    pub fn new(cache: Option<&Path>) -> Engines {
        let mut config = Config::new();
        // Calls are synchronous and never overlap in a store; with it, a call costs 500 to 1500 ns instead of 170.
        config.concurrency_support(false);
        config.epoch_interruption(true);
        // For the live counters. Within a module LLVM has inlined already.
        config.compiler_inlining(Inlining::InterModuleAndIntraGc);
        config.memory_reservation(RESERVED);
        config.memory_reservation_for_growth(RESERVED);
        config.memory_guard_size(GUARD);
        config.max_wasm_stack(STACK);
        // Guests are 32-bit; where their code was is of no use without their sources.
        config.wasm_memory64(false);
        config.generate_address_map(false);
        config.cache(cache.and_then(opened));
        Engines(config)
    }

    pub fn make(&self) -> wasmtime::Result<Engine> {
        Engine::new(&self.0)
    }
}

/// The cache in that folder, if nobody else can write there: what lies in it is run as native code.
fn opened(folder: &Path) -> Option<Cache> {
    let cache = ours(folder).and_then(|folder| {
        let mut config = CacheConfig::new();
        config
            .with_directory(folder)
            .with_baseline_compression_level(COMPRESSION)
            .with_optimized_compression_level(COMPRESSION);
        Cache::new(config).map_err(|e| e.to_string())
    });
    cache
        .inspect_err(|reason| {
            tracing::warn!(
                folder = %folder.display(),
                "compiled plugins are not kept between runs: {reason}"
            );
        })
        .ok()
}

/// Makes the folder if it is missing. Err: why it can't be used.
fn ours(folder: &Path) -> Result<PathBuf, String> {
    let mut maker = fs::DirBuilder::new();
    maker.recursive(true).mode(0o700);
    maker.create(folder).map_err(|e| e.to_string())?;
    let facts = fs::symlink_metadata(folder).map_err(|e| e.to_string())?;
    if !facts.is_dir() {
        return Err("it is not a folder, or a link to one".to_owned());
    }
    if facts.uid() != rustix::process::geteuid().as_raw() {
        return Err("the folder belongs to another user".to_owned());
    }
    if facts.permissions().mode() & 0o077 != 0 {
        return Err("others have access to the folder; run `chmod 700` on it".to_owned());
    }
    fs::canonicalize(folder).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_folder_is_made_for_us_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/cache");
        assert!(ours(&folder).is_ok());
        let mode = fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_folder_open_to_others_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(ours(&folder).unwrap_err().contains("chmod 700"));
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        assert!(ours(&link).unwrap_err().contains("not a folder"));
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(ours(&file).is_err());
    }
}
