//! Which version of each API a broker speaks, and which one to use. Pure.

use milena_protocol::api::{Request, VersionRange};
use milena_protocol::messages::api_versions::ApiVersionsResponse;

use crate::error::{Error, ErrorKind, Result};

/// What a broker said in ApiVersions.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrokerVersions {
    /// Sorted by key.
    apis: Vec<(i16, VersionRange)>,
}

impl BrokerVersions {
    /// Takes over an answer. A range that ends before it begins counts as not offered.
    pub(crate) fn from_response(response: &ApiVersionsResponse) -> Self {
        let ranges = response.api_keys.iter().filter(|api| api.min_version <= api.max_version);
        let mut apis: Vec<_> =
            ranges.map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version })).collect();
        apis.sort_by_key(|api| api.0);
        Self { apis }
    }

    /// The highest version of `R` that both sides speak, not above `at_most`.
    pub(crate) fn pick<R: Request>(&self, at_most: i16) -> Result<i16> {
        let found = self.apis.binary_search_by_key(&R::KEY.0, |api| api.0).ok();
        let Some(&(_, theirs)) = found.and_then(|index| self.apis.get(index)) else {
            return Err(Error::new(ErrorKind::Protocol, format!("the broker does not offer {}", R::KEY)));
        };
        let ours = VersionRange { min: R::VERSIONS.min, max: R::VERSIONS.max.min(at_most) };
        ours.highest_common(theirs).ok_or_else(|| {
            Error::new(
                ErrorKind::Protocol,
                format!(
                    "the broker speaks {} versions {} to {}, this client {} to {}",
                    R::KEY,
                    theirs.min,
                    theirs.max,
                    ours.min,
                    ours.max
                ),
            )
        })
    }
}
