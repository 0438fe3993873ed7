//! Which names a topic may have. Pure.

const MAX_LENGTH: usize = 249;

/// Topics that brokers keep their own records in.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

pub(crate) fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// # Errors
/// Why a topic cannot have this name.
pub(crate) fn check(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("topic name is invalid: the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("topic name is invalid: '{name}' is not allowed"));
    }
    if name.len() > MAX_LENGTH {
        return Err(format!("topic name is invalid: it is longer than {MAX_LENGTH} characters"));
    }
    if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')) {
        let reason = "it contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
        return Err(format!("topic name is invalid: '{name}': {reason}"));
    }
    Ok(())
}

/// Whether the metrics of two topics could not be told apart, which Kafka refuses.
pub(super) fn collide(one: &str, other: &str) -> bool {
    one != other && one.replace('.', "_") == other.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(check("orders-1.eu_West").is_ok() && check(&"a".repeat(249)).is_ok());
        for name in ["", ".", "..", "bad name!", "ümlaut", &"a".repeat(250)] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(collide("a.b", "a_b") && !collide("a.b", "a.b") && !collide("ab", "a.b"));
    }
}
