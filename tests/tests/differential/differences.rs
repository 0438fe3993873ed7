//! Where the mock cluster is not like Kafka, and why.

/// Probes with different answers. The documentation of the mock cluster lists them, too; at most five.
pub const DIFFERENCES: &[(&str, &str)] = &[
    (
        "some_bytes_that_cannot_be_right_are_read_all_the_same",
        "the mock cluster closes the connection: such bytes are a client's mistake, which a test should find",
    ),
    (
        "some_requests_are_never_answered",
        "the mock cluster answers them: that Kafka loses its way there, and its connection, is nothing to rely on",
    ),
];

#[test]
fn differences_are_few_known_and_on_the_page_that_users_read() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../mock-broker/src/lib.rs")).unwrap();
    assert!(DIFFERENCES.len() <= 5);
    for (probe, reason) in DIFFERENCES {
        assert!(!reason.is_empty() && page.contains(&format!("`{probe}`")), "{probe} is not on the page");
    }
}
