//! Where the mock cluster is not like Kafka, and why.

/// Probes with different answers. The documentation of the mock cluster lists them, too; at most five.
pub const DIFFERENCES: &[(&str, &str)] = &[(
    "some_bytes_that_cannot_be_right_are_read_all_the_same",
    "the mock cluster closes the connection: such bytes are a client's mistake, which a test should find",
)];
