//! What the workspace depends on: licences, sources, banned crates, duplicates, and how much it is.
//!
//! `deny.toml` states the same for `cargo deny`, which also reads an advisory database.
#![allow(clippy::print_stdout, reason = "figures are printed")]

use std::collections::BTreeMap;

use milena_tests::cargo_metadata::{Kind, Package, Packages};

/// Each may be used in a published crate under MIT OR Apache-2.0 without further duty than a notice.
const LICENSES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const DEFAULT_REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "needs OpenSSL to build: rustls with ring"),
    ("native-tls", "needs OpenSSL on Linux: rustls with ring"),
    ("aws-lc-sys", "needs cmake: rustls with ring"),
    ("cmake", "needs cmake"),
    ("rdkafka-sys", "a C client"),
    ("backoff", "unmaintained (RUSTSEC-2025-0012): our own backoff"),
    ("instant", "unmaintained (RUSTSEC-2024-0384)"),
    ("paste", "unmaintained (RUSTSEC-2024-0436)"),
    ("fxhash", "unmaintained (RUSTSEC-2025-0057)"),
    ("bincode", "unmaintained (RUSTSEC-2025-0141)"),
    ("rustls-pemfile", "unmaintained (RUSTSEC-2025-0134): rustls-pki-types reads PEM"),
    ("atty", "unmaintained (RUSTSEC-2024-0375): std::io::IsTerminal"),
    ("proc-macro-error", "unmaintained (RUSTSEC-2024-0370)"),
    ("async-std", "unmaintained (RUSTSEC-2025-0052): tokio"),
];

const LARGEST_CLIENT: usize = 60;
const LARGEST_WORKSPACE: usize = 130;

fn packages() -> Packages {
    Packages::of_the_workspace().unwrap()
}

fn client(packages: &Packages) -> Vec<&Package> {
    packages.tree("milena", &[Kind::Normal, Kind::Build]).unwrap()
}

#[test]
fn every_license_is_allowed() {
    let packages = packages();
    let refused: Vec<_> = packages.iter().filter(|package| !is_allowed(&package.license)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// One alternative of an SPDX expression is enough, all of its parts must be allowed. `/` is the old way to write OR.
fn is_allowed(expression: &str) -> bool {
    let whole = |text: &str| LICENSES.contains(&text.trim().trim_matches(['(', ')']));
    if expression.contains(") AND") || expression.contains("AND (") {
        return expression.split(" AND ").all(is_allowed);
    }
    expression
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')')
        .replace('/', " OR ")
        .split(" OR ")
        .any(|alternative| alternative.split(" AND ").all(whole))
}

#[test]
fn a_license_expression_is_read_as_spdx_means_it() {
    for allowed in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0", "BSD-3-Clause AND MIT"]
    {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "MPL-2.0 OR LGPL-2.1"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn every_source_is_the_default_registry_or_this_repository() {
    let packages = packages();
    for package in packages.iter() {
        match package.source.as_deref() {
            Some(source) => assert_eq!(source, DEFAULT_REGISTRY, "{package}"),
            None => assert!(package.name.starts_with("milena"), "{package} is a path dependency"),
        }
    }
}

#[test]
fn no_banned_crate_is_used() {
    let packages = packages();
    for (name, reason) in BANNED {
        assert!(!packages.iter().any(|package| package.name == *name), "{name}: {reason}");
    }
}

#[test]
fn the_client_has_every_crate_in_one_version() {
    let packages = packages();
    let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in client(&packages) {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    assert!(versions.is_empty(), "more than one version: {versions:?}");
}

#[test]
fn the_trees_stay_small() {
    let packages = packages();
    let in_client: Vec<_> = client(&packages).iter().map(ToString::to_string).collect();
    let in_workspace = packages.iter().count();
    println!(
        "packages: {} in the client's normal tree on all platforms, {in_workspace} in the workspace",
        in_client.len()
    );
    assert!(in_client.len() <= LARGEST_CLIENT, "{} packages in the client: {in_client:?}", in_client.len());
    assert!(in_workspace <= LARGEST_WORKSPACE, "{in_workspace} packages in the workspace");
}

#[test]
fn deny_toml_says_the_same() {
    let deny = include_str!("../../deny.toml");
    for license in LICENSES {
        assert!(deny.contains(&format!("    \"{license}\",\n")), "deny.toml does not allow {license}");
    }
    for (name, reason) in BANNED {
        let line = format!("{{ crate = \"{name}\", reason = \"{reason}\" }}");
        assert!(deny.contains(&line), "deny.toml lacks {line}");
    }
    assert_eq!(deny.matches("{ crate = ").count(), BANNED.len(), "deny.toml bans more than this test");
}
