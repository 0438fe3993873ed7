//! ApiVersions: tells which versions of which API a broker speaks. Pure.
//!
//! * v3: client software; the response header stays version 0 for ever
//! * v4: features whose minimum is 0
//! * v5: the cluster and node that the client expects (KIP-1242)

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { API_VERSIONS, 0..=5, flexible 3.., ApiVersionsRequest => ApiVersionsResponse }

message! {
    /// Who asks.
    pub struct ApiVersionsRequest {
        client_software_name:    String         [3..]
        client_software_version: String         [3..]
        cluster_id:              Option<String> [5..]
        node_id:                 i32            [5.. default -1]
    }

    /// The versions and the features of the broker.
    pub struct ApiVersionsResponse {
        error_code:               ErrorCode                [0..]
        api_keys:                 Vec<ApiVersion>          [0..]
        throttle_time_ms:         i32                      [1..]
        supported_features:       Vec<SupportedFeatureKey> [3.. tag 0]
        finalized_features_epoch: i64                      [3.. tag 1 default -1]
        finalized_features:       Vec<FinalizedFeatureKey> [3.. tag 2]
        zk_migration_ready:       bool                     [3.. tag 3]
    }

    /// The shape of `api_keys`.
    pub struct ApiVersion {
        api_key:     i16 [0..]
        min_version: i16 [0..]
        max_version: i16 [0..]
    }

    /// The shape of `supported_features`.
    pub struct SupportedFeatureKey {
        name:        String [3..]
        min_version: i16    [3..]
        max_version: i16    [3..]
    }

    /// The shape of `finalized_features`.
    pub struct FinalizedFeatureKey {
        name:              String [3..]
        max_version_level: i16    [3..]
        min_version_level: i16    [3..]
    }
}
