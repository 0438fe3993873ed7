//! The fidelity page of the mock cluster names a test for each rule that it says is modelled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("mock-broker/src/fidelity.md")).expect("the fidelity page")
}

/// The lines of the table under a heading.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let heading = format!("## {heading}");
    let lines = page.lines().skip_while(|line| **line != heading).skip(1);
    let table = lines.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| "));
    table.skip(1).map(|line| line.trim_matches('|').split(" | ").collect()).collect()
}

/// The text of all files of these tests.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder of tests") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, text);
        } else {
            *text += &std::fs::read_to_string(&path).expect("a source file");
        }
    }
}

/// The error codes that the sources of the mock cluster name, without those of their tests.
fn codes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            codes(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                found.extend(
                    line.split("ErrorCode::").skip(1).map(name).filter(|name| is_code(name)).map(str::to_owned),
                );
            }
        }
    }
}

/// The name at the beginning of a text.
fn name(text: &str) -> &str {
    text.split(|letter: char| letter != '_' && !letter.is_ascii_alphanumeric()).next().unwrap_or_default()
}

fn is_code(name: &str) -> bool {
    name.len() > 1 && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase())
}

fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_rule_that_is_modelled_names_tests_that_run_on_both_clusters() {
    let mut tests = String::new();
    for folder in ["behaviour", "differential"] {
        sources(&root().join("tests/tests").join(folder), &mut tests);
    }
    let page = page();
    let rows = rows(&page, "Modelled");
    assert!(rows.len() >= 15, "the table is there: {rows:?}");
    for row in rows {
        let [rule, cell] = row.as_slice() else { panic!("{row:?} has not two columns") };
        assert!(named(cell).count() > 0, "{rule} names no test");
        for test in named(cell) {
            assert!(tests.contains(&format!("async fn {test}(")), "{rule}: there is no test {test}");
        }
    }
}

#[test]
fn every_known_difference_is_among_what_is_simplified() {
    let differences =
        std::fs::read_to_string(root().join("tests/tests/differential/differences.rs")).expect("the differences");
    let table = differences.split_once("DIFFERENCES").expect("the list").1;
    let is_name =
        |text: &&str| text.contains('_') && text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    let known: BTreeSet<&str> = table.split('"').skip(1).step_by(2).filter(is_name).collect();
    assert!(!known.is_empty(), "the list is read");
    let page = page();
    let told: BTreeSet<&str> = rows(&page, "Simplified").into_iter().filter_map(|row| named(row[0]).next()).collect();
    assert!(told.is_superset(&known), "{known:?} are not all told: {told:?}");
}

#[test]
fn each_error_code_is_shown_by_a_probe_or_told_to_be_shown_by_none() {
    let mut given = BTreeSet::new();
    codes(&root().join("mock-broker/src"), &mut given);
    assert!(given.len() > 60, "the sources are read: {given:?}");
    let mut recorded = String::new();
    sources(&root().join("tests/golden/differential"), &mut recorded);
    let words: BTreeSet<&str> = recorded.split(|letter: char| letter != '_' && !letter.is_alphanumeric()).collect();
    let missing: BTreeSet<&str> = given.iter().map(String::as_str).filter(|code| !words.contains(code)).collect();
    let page = page();
    let rows = rows(&page, "Error codes that no probe shows");
    let told: BTreeSet<&str> = rows.iter().filter_map(|row| named(row[0]).next()).collect();
    assert_eq!(missing, told, "missing in tests/golden/differential, and told on the fidelity page");
}
