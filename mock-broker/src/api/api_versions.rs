//! ApiVersions: tells which versions of which API are served. Pure.
//!
//! * any version that is not known: the layout of version 0, error UNSUPPORTED_VERSION, and this API only; the connection stays
//! * v3: client software name and version, refused unless they look like names
//! * v4: features whose minimum is 0
//! * v5: the cluster and the broker that the client means (KIP-1242); if they are others it must look for its cluster anew

use milena_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use milena_protocol::{ApiKey, ErrorCode};

use super::{Answer, Call, SERVED, reply};
use crate::core::{Core, Outcome};

/// The feature levels of Kafka 4.4; features that stand for what is not served here are not listed.
const METADATA_VERSION: (&str, i16, i16) = ("metadata.version", 7, 33);
const TRANSACTION_VERSION: (&str, i16, i16) = ("transaction.version", 0, 2);

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: ApiVersionsRequest) -> Answer<ApiVersionsResponse> {
    let is_named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    let error_code = match (&request.cluster_id, request.node_id) {
        _ if call.version() >= 3 && !is_named => ErrorCode::INVALID_REQUEST,
        (None, -1) => ErrorCode::NONE,
        (None, _) | (Some(_), -1) => ErrorCode::INVALID_REQUEST,
        (Some(cluster), node) if *cluster == core.settings.cluster_id && node == call.broker() => ErrorCode::NONE,
        _ => ErrorCode::REBOOTSTRAP_REQUIRED,
    };
    if !error_code.is_none() {
        return Answer::Now(ApiVersionsResponse { error_code, ..Default::default() });
    }
    let supported =
        [METADATA_VERSION, TRANSACTION_VERSION].into_iter().filter(|(_, min, _)| call.version() >= 4 || *min > 0);
    let finalized =
        [(METADATA_VERSION.0, METADATA_VERSION.2), (TRANSACTION_VERSION.0, core.settings.transactions.version)];
    Answer::Now(ApiVersionsResponse {
        api_keys: SERVED.iter().map(|(key, _)| advertised(*key)).collect(),
        supported_features: supported
            .map(|(name, min_version, max_version)| SupportedFeatureKey {
                name: name.to_owned(),
                min_version,
                max_version,
            })
            .collect(),
        finalized_features_epoch: 1,
        // A feature at level 0 is not listed.
        finalized_features: finalized
            .into_iter()
            .filter(|(_, level)| *level > 0)
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.to_owned(),
                max_version_level: level,
                min_version_level: level,
            })
            .collect(),
        ..Default::default()
    })
}

/// The answer to a version that is not served.
pub(super) fn unsupported(call: &Call<'_>) -> Outcome {
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![advertised(ApiKey::API_VERSIONS)],
        ..Default::default()
    };
    reply::<ApiVersionsRequest>(call, 0, &response)
}

fn advertised(key: ApiKey) -> ApiVersion {
    let (min, max) = SERVED.iter().find(|row| row.0 == key).map_or((0, -1), |row| (row.1.min, row.1.max));
    // librdkafka gives up on compression with brokers that do not say they know Produce 0; Kafka says so too, and does not.
    let min_version = if key == ApiKey::PRODUCE { 0 } else { min };
    ApiVersion { api_key: key.0, min_version, max_version: max }
}

/// Letters and digits, with dots and dashes between them.
fn is_name(name: &str) -> bool {
    let is_inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
    let has_good_end = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    name.chars().all(is_inner) && has_good_end(name.chars().next()) && has_good_end(name.chars().next_back())
}
