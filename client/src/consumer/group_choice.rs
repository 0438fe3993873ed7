//! Which group a consumer is in, by the call that makes it and by `group.id`. Pure.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// Which group a consumer was asked to be in.
#[derive(Debug)]
pub(crate) enum GroupChoice {
    None,
    Named(String),
    /// The one that `group.id` names.
    Configured,
}

impl GroupChoice {
    /// # Errors
    /// `Config` if `group.id` says another group, or is needed and not there; `Usage` for a group without a name.
    pub(super) fn resolve(self, group_id: Option<String>) -> Result<Option<Arc<str>>> {
        let (kind, text) = match (self, group_id) {
            (Self::None, _) => return Ok(None),
            (Self::Configured, Some(group)) => return Ok(Some(group.into())),
            (Self::Configured, None) => {
                let text = "group.id is missing: Client::consumer_from_config takes the group from it; set it, or name the group \
                            with Client::consumer(group)";
                (ErrorKind::Config, text.to_owned())
            }
            (Self::Named(group), _) if group.is_empty() => {
                let text = "the group of the consumer has no name: give it one, or use Client::reader";
                (ErrorKind::Usage, text.to_owned())
            }
            (Self::Named(group), Some(other)) if group != other => {
                let text = format!(
                    "group.id={other} contradicts Client::consumer({group:?}): take group.id out of the configuration, or use \
                     Client::consumer_from_config to be in the group that it names"
                );
                (ErrorKind::Config, text)
            }
            (Self::Named(group), _) => return Ok(Some(group.into())),
        };
        Err(Error::new(kind, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_is_said_twice_is_the_same_or_an_error_that_names_both() {
        let resolve = |choice: GroupChoice, group_id: Option<&str>| choice.resolve(group_id.map(str::to_owned));
        let named = || GroupChoice::Named("billing".to_owned());
        for (choice, group_id, group) in [
            (named(), None, Some("billing")),
            (named(), Some("billing"), Some("billing")),
            (GroupChoice::Configured, Some("audit"), Some("audit")),
            (GroupChoice::None, Some("audit"), None),
            (GroupChoice::None, None, None),
        ] {
            assert_eq!(resolve(choice, group_id).unwrap().as_deref(), group);
        }
        for (choice, group_id, kind, words) in [
            (named(), Some("audit"), ErrorKind::Config, &["group.id=audit", "\"billing\"", "consumer_from_config"][..]),
            (GroupChoice::Configured, None, ErrorKind::Config, &["group.id is missing"]),
            (GroupChoice::Named(String::new()), Some("audit"), ErrorKind::Usage, &["has no name"]),
        ] {
            let error = resolve(choice, group_id).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
        }
    }
}
