//! Every example, followed as its README says.

use tidegate_tests::{Document, Story, root};

macro_rules! examples {
    ($($test:ident $folder:literal)*) => {
        $(
            #[test]
            fn $test() {
                follow($folder);
            }
        )*

        #[test]
        fn every_example_is_followed_and_listed() {
            let tested = [$($folder),*];
            let listed = std::fs::read_to_string(root().join("examples/README.md")).expect("a README");
            let mut found = Vec::new();
            for entry in std::fs::read_dir(root().join("examples")).expect("examples").map(|e| e.expect("an entry")) {
                if entry.path().is_dir() {
                    found.push(entry.file_name().to_string_lossy().into_owned());
                }
            }
            found.sort();
            assert_eq!(found, tested);
            for folder in found {
                assert!(listed.contains(&format!("]({folder})")), "{folder} is not in examples/README.md");
            }
        }
    };
}

examples! {
    first_proxy "01-first-proxy"
    routing "02-routing"
    tenants "03-tenants"
    authorisation "04-authorisation"
    maintenance "05-maintenance"
    canary "06-canary"
    sticky_by_hash "07-sticky-by-hash"
    headers_and_paths "08-headers-and-paths"
    pair "09-pair"
    monitoring "10-monitoring"
    patroni "11-patroni"
    galera "12-galera"
    container "13-container"
}

/// What can be said of it where no images are built.
#[test]
fn the_container_is_built_from_what_is_there() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect(path);
    let file = read("examples/13-container/Containerfile");
    let (toolchain, manifest) = (read("rust-toolchain.toml"), read("Cargo.toml"));
    let channel = &quoted(&toolchain, "channel = ")[0];
    assert!(
        file.contains(&format!("FROM docker.io/library/rust:{channel}-")),
        "it is built by another compiler than {channel}"
    );
    for target in quoted(&toolchain, "targets = ") {
        assert!(file.contains(&target), "{target} is missing");
    }
    let profile = file.split("--profile ").nth(1);
    let profile = profile.and_then(|rest| rest.split(' ').next());
    let profile = profile.expect("it names a profile");
    assert!(manifest.contains(&format!("[profile.{profile}]")));
    assert!(file.contains(&format!("/source/target/{profile}/tidegate ")));
    // Nothing that the workspace is made of is left out.
    let mut needed = quoted(&manifest, "members = ");
    assert!(needed.len() > 5, "{needed:?}");
    for file in ["wit", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
        needed.push(file.to_owned());
    }
    let left_out = read("examples/13-container/Containerfile.dockerignore");
    for needed in needed {
        for pattern in left_out.lines() {
            let inside = needed
                .strip_prefix(pattern)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            assert!(!inside, "{needed} is left out by {pattern}");
        }
    }
}

/// What stands in quotes behind a key of a TOML file, on its line.
fn quoted(text: &str, key: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let parts = line.expect(key).split('"');
    parts.skip(1).step_by(2).map(str::to_owned).collect()
}

/// The four servers of `origins.toml` beside, then the README from top to bottom.
fn follow(example: &str) {
    let folder = root().join("examples").join(example);
    let mut story = Story::of(&folder);
    story.bring(&root().join("examples/origins.toml"));
    for block in Document::read(&root().join("examples/README.md")).blocks {
        story.beside(&block.text);
    }
    let document = Document::read(&folder.join("README.md"));
    assert!(
        document.blocks.iter().any(|block| block.language == "text"),
        "{example} promises nothing"
    );
    story.follow(&document);
}
