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
