//! ApiVersions: tells which versions of which API are served. Pure.
//!
//! * any version that is not known: the layout of version 0, error UNSUPPORTED_VERSION, and this API only; the connection stays
//! * v3: client software name and version, refused unless they look like names
//! * v4: features whose minimum is 0 (there are none)
//! * v5: the cluster and the broker that the client means (KIP-1242); if they are others it must look for its cluster anew

use milena_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use milena_protocol::{ApiKey, ErrorCode};

use super::{Answer, Call, SERVED, reply};
use crate::core::{Core, Outcome};

/// The feature levels of Kafka 4.4's metadata; features that stand for what is not served here are not listed.
const METADATA_VERSION: (i16, i16) = (7, 33);

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
    let (min_version, max_version) = METADATA_VERSION;
    let name = || "metadata.version".to_owned();
    Answer::Now(ApiVersionsResponse {
        api_keys: SERVED.iter().map(|(key, _)| advertised(*key)).collect(),
        supported_features: vec![SupportedFeatureKey { name: name(), min_version, max_version }],
        finalized_features_epoch: 1,
        finalized_features: vec![FinalizedFeatureKey {
            name: name(),
            max_version_level: max_version,
            min_version_level: max_version,
        }],
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
