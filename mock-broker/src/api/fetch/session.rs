//! Which partitions a Fetch is about: those it names, or those of its session. Pure.

use std::collections::BTreeMap;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{FetchPartition, FetchRequest};
use milena_protocol::primitives::Uuid;

use crate::api::Call;
use crate::core::Core;
use crate::core::fetch_sessions::{Context, FINAL_EPOCH, FetchKey, INITIAL_EPOCH, TopicRef};

/// # Errors
/// If the session that the request goes on with is not there, or not as far as the client thinks.
pub(super) fn open(
    core: &mut Core,
    call: &Call<'_>,
    request: FetchRequest,
) -> Result<(Context, Vec<(FetchKey, FetchPartition)>), ErrorCode> {
    let uses_topic_ids = call.version() >= 13;
    let topic_ref = |name: String, id: Uuid| if uses_topic_ids { TopicRef::Id(id) } else { TopicRef::Name(name) };
    let mut wanted: Vec<(FetchKey, FetchPartition)> = Vec::new();
    let mut places = BTreeMap::new();
    for topic in request.topics {
        let topic_ref = topic_ref(topic.topic, topic.topic_id);
        for partition in topic.partitions {
            let key = FetchKey { topic: topic_ref.clone(), partition: partition.partition };
            // Of a partition that is named twice the last wish counts.
            match places.get(&key).and_then(|place: &usize| wanted.get_mut(*place)) {
                Some((_, earlier)) => *earlier = partition,
                None => {
                    places.insert(key.clone(), wanted.len());
                    wanted.push((key, partition));
                }
            }
        }
    }
    let session = (request.session_id, request.session_epoch);
    let Core { brokers, random, .. } = core;
    let Some(broker) = brokers.get_mut(&call.broker()) else { return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND) };
    if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
        let context = broker.fetch_sessions.begin(call.now, session, uses_topic_ids, &wanted, random);
        return Ok((context, wanted));
    }
    let forgotten: Vec<FetchKey> = request
        .forgotten_topics_data
        .into_iter()
        .flat_map(|topic| {
            let topic_ref = topic_ref(topic.topic, topic.topic_id);
            topic.partitions.into_iter().map(move |partition| FetchKey { topic: topic_ref.clone(), partition })
        })
        .collect();
    broker.fetch_sessions.resume(call.now, session, uses_topic_ids, wanted, &forgotten)
}
