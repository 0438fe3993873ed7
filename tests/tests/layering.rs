//! The crates keep to the layers of ARCHITECTURE.md: labels, purity, direction of imports.

use milena_tests::cargo_metadata::{Kind, Packages, workspace};
use milena_tests::layering::{Layer, Rules, check_crate};

/// `client/src`, from the bottom up. The longest prefix decides; a prefix that ends in `/` is a folder without the file
/// of the same name.
const CLIENT: Rules = Rules {
    layers: &[
        ("error", Layer::Leaf),
        ("record", Layer::Leaf),
        ("topic_partition", Layer::Leaf),
        ("config", Layer::Leaf),
        ("backoff", Layer::Leaf),
        ("clock", Layer::Leaf),
        ("entropy", Layer::Leaf),
        ("runtime", Layer::Leaf),
        ("watched", Layer::Leaf),
        ("serde", Layer::Leaf),
        ("metrics", Layer::Leaf),
        ("net", Layer::Network),
        ("cluster", Layer::Cluster),
        ("producer/", Layer::MachineOrDriver),
        ("consumer/", Layer::MachineOrDriver),
        ("admin/", Layer::MachineOrDriver),
        ("producer", Layer::Api),
        ("consumer", Layer::Api),
        ("admin", Layer::Api),
        ("client", Layer::Api),
    ],
    all_pure: false,
};

const MOCK_BROKER: Rules = Rules { layers: &[], all_pure: false };

const PROTOCOL: Rules = Rules { layers: &[], all_pure: true };

#[test]
fn every_file_is_what_it_says_and_imports_point_down() {
    let mut problems = Vec::new();
    for (name, rules) in [("client", CLIENT), ("mock-broker", MOCK_BROKER), ("protocol", PROTOCOL)] {
        problems.extend(check_crate(&workspace(), name, &rules).expect("the sources can be read"));
    }
    let list: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} broken rules:\n{}", list.len(), list.join("\n"));
}

#[test]
fn the_crates_depend_on_each_other_as_agreed() {
    let packages = Packages::of_the_workspace().unwrap();
    for (name, kinds, forbidden) in [
        ("milena-protocol", &[Kind::Normal, Kind::Build][..], "tokio"),
        ("milena", &[Kind::Normal, Kind::Build, Kind::Dev], "milena-mock-broker"),
        ("milena-mock-broker", &[Kind::Normal, Kind::Build, Kind::Dev], "milena"),
    ] {
        let tree = packages.tree(name, kinds).unwrap();
        assert!(!tree.iter().any(|package| package.name == forbidden), "{name} must not depend on {forbidden}");
    }
}
