//! DescribeConfigs: reads the configuration of topics and brokers. Pure.
//!
//! * v1: synonyms
//! * v3: documentation

use crate::error_code::ErrorCode;
use crate::schema::{api, message};

api! { DESCRIBE_CONFIGS, 1..=4, flexible 4.., DescribeConfigsRequest => DescribeConfigsResponse }

message! {
    /// Of what, and which names; null names mean all.
    pub struct DescribeConfigsRequest {
        resources:             Vec<DescribeConfigsResource> [0..]
        include_synonyms:      bool                         [1..]
        include_documentation: bool                         [3..]
    }

    /// The shape of `resources`.
    pub struct DescribeConfigsResource {
        resource_type:      i8                  [0..]
        resource_name:      String              [0..]
        configuration_keys: Option<Vec<String>> [0.. default Some(Vec::new())]
    }

    /// Names, values and where they come from.
    pub struct DescribeConfigsResponse {
        throttle_time_ms: i32                        [0..]
        results:          Vec<DescribeConfigsResult> [0..]
    }

    /// The shape of `results`.
    pub struct DescribeConfigsResult {
        error_code:    ErrorCode                          [0..]
        error_message: Option<String>                     [0.. default Some(String::new())]
        resource_type: i8                                 [0..]
        resource_name: String                             [0..]
        configs:       Vec<DescribeConfigsResourceResult> [0..]
    }

    /// The shape of `configs`.
    pub struct DescribeConfigsResourceResult {
        name:          String                      [0..]
        value:         Option<String>              [0.. default Some(String::new())]
        read_only:     bool                        [0..]
        config_source: i8                          [1.. default -1]
        is_sensitive:  bool                        [0..]
        synonyms:      Vec<DescribeConfigsSynonym> [1..]
        config_type:   i8                          [3..]
        documentation: Option<String>              [3.. default Some(String::new())]
    }

    /// The shape of `synonyms`.
    pub struct DescribeConfigsSynonym {
        name:   String         [1..]
        value:  Option<String> [1.. default Some(String::new())]
        source: i8             [1..]
    }
}
