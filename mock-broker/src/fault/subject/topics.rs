//! The APIs that are about topics as a whole, or about the cluster. Pure.

use std::mem;

use milena_protocol::ErrorCode;
use milena_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use milena_protocol::messages::create_partitions::{CreatePartitionsRequest, CreatePartitionsTopicResult};
use milena_protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsRequest};
use milena_protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use milena_protocol::messages::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use milena_protocol::messages::describe_configs::{DescribeConfigsRequest, DescribeConfigsResult};
use milena_protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
};
use milena_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponseTopic,
};

use super::{About, Refusal, Scope, Subject, View, put_rows};

/// A resource that is a topic.
const TOPIC_RESOURCE: i8 = 2;

/// One line an API: where its topics are [their name, the type of resource if not all are topics] in the request and in the
/// answer.
macro_rules! per_topic {
    ($($request:ident $topics:ident[$name:ident $($kind:ident)?] => $rows:ident: $row:ident;)*) => {$(
        #[allow(clippy::needless_update, reason = "some rows have nothing else")]
        impl Subject for $request {
            fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
                for topic in &self.$topics {
                    if true $(&& topic.$kind == TOPIC_RESOURCE)? {
                        about(About::Topic(&topic.$name, None));
                    }
                }
            }

            fn split(&mut self, _: &View<'_>, scope: &Scope) -> (Self, bool) {
                let topics = mem::take(&mut self.$topics);
                let mut hit = self.clone();
                (hit.$topics, self.$topics) = topics.into_iter().partition(|topic| {
                    scope.has(&topic.$name, None) $(&& topic.$kind == TOPIC_RESOURCE)?
                });
                let is_rest = !self.$topics.is_empty();
                (hit, is_rest)
            }

            fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<Self::Response> {
                let rows = self.$topics.into_iter().map(|topic| $row {
                    $name: topic.$name,
                    $($kind: topic.$kind,)?
                    error_code: refusal.code,
                    error_message: None,
                    ..Default::default()
                });
                Some(Self::Response { $rows: rows.collect(), ..Default::default() })
            }

            fn put_over(answer: &mut Self::Response, errors: Self::Response) {
                let is_same = |a: &$row, b: &$row| a.$name == b.$name $(&& a.$kind == b.$kind)?;
                put_rows(&mut answer.$rows, errors.$rows, is_same, |row, error| *row = error);
            }
        }
    )*};
}

per_topic! {
    CreateTopicsRequest topics[name] => topics: CreatableTopicResult;
    DescribeConfigsRequest resources[resource_name resource_type] => results: DescribeConfigsResult;
    CreatePartitionsRequest topics[name] => results: CreatePartitionsTopicResult;
    IncrementalAlterConfigsRequest resources[resource_name resource_type] => responses: AlterConfigsResourceResponse;
}

impl Subject for DeleteTopicsRequest {
    fn tell(&self, view: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        self.topic_names.iter().for_each(|name| about(About::Topic(name, None)));
        for topic in &self.topics {
            if let Some(name) = view.name(topic.name.as_deref().unwrap_or_default(), &[topic.topic_id]) {
                about(About::Topic(name, None));
            }
        }
    }

    fn split(&mut self, view: &View<'_>, scope: &Scope) -> (Self, bool) {
        let (names, topics) = (mem::take(&mut self.topic_names), mem::take(&mut self.topics));
        let mut hit = self.clone();
        (hit.topic_names, self.topic_names) = names.into_iter().partition(|name| scope.has(name, None));
        (hit.topics, self.topics) = topics.into_iter().partition(|topic| {
            let name = view.name(topic.name.as_deref().unwrap_or_default(), &[topic.topic_id]);
            name.is_some_and(|name| scope.has(name, None))
        });
        let is_rest = !self.topic_names.is_empty() || !self.topics.is_empty();
        (hit, is_rest)
    }

    fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<DeleteTopicsResponse> {
        let failed =
            |name, topic_id| DeletableTopicResult { name, topic_id, error_code: refusal.code, ..Default::default() };
        let by_name = self.topic_names.into_iter().map(|name| failed(Some(name), Default::default()));
        let by_either = self.topics.into_iter().map(|topic| failed(topic.name, topic.topic_id));
        Some(DeleteTopicsResponse { responses: by_name.chain(by_either).collect(), ..Default::default() })
    }

    fn put_over(answer: &mut DeleteTopicsResponse, errors: DeleteTopicsResponse) {
        let is_same = |a: &DeletableTopicResult, b: &DeletableTopicResult| {
            if b.topic_id.is_zero() { a.name == b.name } else { a.topic_id == b.topic_id }
        };
        put_rows(&mut answer.responses, errors.responses, is_same, |row, error| *row = error);
    }
}

impl Subject for MetadataRequest {
    fn tell(&self, view: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        match &self.topics {
            None => about(About::EveryTopic),
            Some(topics) if topics.is_empty() && view.version == 0 => about(About::EveryTopic),
            Some(topics) => topics.iter().for_each(|topic| {
                if let Some(name) = view.name(topic.name.as_deref().unwrap_or_default(), &[topic.topic_id]) {
                    about(About::Topic(name, None));
                }
            }),
        }
    }

    fn split(&mut self, view: &View<'_>, scope: &Scope) -> (Self, bool) {
        let asks_for_all = |topics: &Vec<_>| view.version == 0 && topics.is_empty();
        let Some(topics) = self.topics.as_mut().filter(|topics| !asks_for_all(topics)) else {
            // It stays a request for all topics: what it would say of this one is replaced.
            let topic = MetadataRequestTopic { name: scope.topic.clone(), ..Default::default() };
            return (Self { topics: Some(vec![topic]), ..self.clone() }, true);
        };
        let (hit, rest): (Vec<_>, Vec<_>) = mem::take(topics).into_iter().partition(|topic| {
            let name = view.name(topic.name.as_deref().unwrap_or_default(), &[topic.topic_id]);
            name.is_some_and(|name| scope.has(name, None))
        });
        *topics = rest;
        let is_rest = !topics.is_empty();
        (Self { topics: Some(hit), ..self.clone() }, is_rest)
    }

    /// The brokers are there, so that a client can go on asking; each topic has the code. Where no topic is asked for, the code
    /// is the whole answer's, which only the newest version has.
    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<MetadataResponse> {
        let core = view.core;
        let failed =
            |name, topic_id| MetadataResponseTopic { error_code: refusal.code, name, topic_id, ..Default::default() };
        // Version 0 asks for all topics with an empty list, later ones with null.
        let all = self.topics.as_ref().is_none_or(|topics| view.version == 0 && topics.is_empty());
        let topics: Vec<_> = if all {
            core.topics().into_iter().map(|name| failed(Some(name), Default::default())).collect()
        } else {
            let name_of = |id| core.controller.topic_by_id(id).map(|topic| topic.name.clone());
            let named = self.topics.unwrap_or_default().into_iter();
            named.map(|topic| failed(topic.name.or_else(|| name_of(topic.topic_id)), topic.topic_id)).collect()
        };
        if topics.is_empty() && view.version < 13 {
            return None;
        }
        let brokers = core.controller.live_brokers().map(|broker| MetadataResponseBroker {
            node_id: broker.id,
            host: broker.host.clone(),
            port: i32::from(broker.port),
            rack: broker.rack.clone(),
        });
        Some(MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(core.settings.cluster_id.clone()),
            error_code: if topics.is_empty() { refusal.code } else { ErrorCode::NONE },
            topics,
            ..Default::default()
        })
    }

    fn put_over(answer: &mut MetadataResponse, errors: MetadataResponse) {
        if errors.topics.is_empty() {
            *answer = errors;
            return;
        }
        let is_same = |a: &MetadataResponseTopic, b: &MetadataResponseTopic| a.name == b.name;
        put_rows(&mut answer.topics, errors.topics, is_same, |row, error| *row = error);
    }
}

impl Subject for DescribeClusterRequest {
    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<DescribeClusterResponse> {
        Some(DescribeClusterResponse {
            error_code: refusal.code,
            endpoint_type: self.endpoint_type,
            cluster_id: view.core.settings.cluster_id.clone(),
            ..Default::default()
        })
    }
}

impl Subject for ApiVersionsRequest {
    fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<ApiVersionsResponse> {
        Some(ApiVersionsResponse { error_code: refusal.code, ..Default::default() })
    }

    /// A client that asked in a version which the broker does not speak can read the lowest one only.
    fn refusal_version(version: i16, code: ErrorCode) -> i16 {
        if code == ErrorCode::UNSUPPORTED_VERSION { 0 } else { version }
    }
}
