//! IncrementalAlterConfigs: changes single settings of topics, brokers and groups. Pure.

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { INCREMENTAL_ALTER_CONFIGS, 0..=1, flexible 1.., IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse }

message! {
    /// Per resource, which settings change.
    pub struct IncrementalAlterConfigsRequest {
        resources:     Vec<AlterConfigsResource> [0..]
        validate_only: bool                      [0..]
    }

    /// The shape of `resources`.
    pub struct AlterConfigsResource {
        resource_type: i8                   [0..]
        resource_name: String               [0..]
        configs:       Vec<AlterableConfig> [0..]
    }

    /// The shape of `configs`; operations are 0 set, 1 delete, 2 append, 3 subtract.
    pub struct AlterableConfig {
        name:             String         [0..]
        config_operation: i8             [0..]
        value:            Option<String> [0.. default Some(String::new())]
    }

    /// Per resource, whether its settings changed.
    pub struct IncrementalAlterConfigsResponse {
        throttle_time_ms: i32                               [0..]
        responses:        Vec<AlterConfigsResourceResponse> [0..]
    }

    /// The shape of `responses`.
    pub struct AlterConfigsResourceResponse {
        error_code:    ErrorCode      [0..]
        error_message: Option<String> [0.. default Some(String::new())]
        resource_type: i8             [0..]
        resource_name: String         [0..]
    }
}
