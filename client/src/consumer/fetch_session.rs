//! Fetch sessions (KIP-227): after the first request only what changed is sent. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use milena_protocol::ErrorCode;
use milena_protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, ForgottenTopic,
};
use milena_protocol::primitives::Uuid;

use crate::topic_partition::TopicPartition;

/// The last version with topic names; above it topics are named by their ids alone.
pub(crate) const LAST_WITH_NAMES: i16 = 12;

/// What to fetch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Zero if it is not known.
    pub(crate) topic_id: Uuid,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) max_bytes: i32,
}

/// The epoch that asks for a new session.
const NEW: i32 = 0;

/// ```text
///          full request                    answered with an id
///   None ───────────────► (asking) ─────────────────────────────► Open { id, epoch }  ──┐ each answer: next epoch
///    ▲ ▲                     │ answered without one                  │        ▲─────────┘
///    │ └─────────────────────┘                                       │ connection lost, unknown session, other naming of topics
///    └───────────────────────────────────────────────────────────────┘
/// ```
#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Open {
        id: i32,
        epoch: i32,
    },
}

/// The session with one broker over one connection. Brokers that grant none get full requests.
#[derive(Debug, Default)]
pub(crate) struct FetchSession {
    state: State,
    /// What the broker was told last, and by which kind of names.
    told: BTreeMap<TopicPartition, Wanted>,
    by_id: bool,
}

impl FetchSession {
    /// Fills in what makes `request` fetch exactly `wanted`.
    pub(crate) fn fill(&mut self, request: &mut FetchRequest, wanted: BTreeMap<TopicPartition, Wanted>, version: i16) {
        let by_id = version > LAST_WITH_NAMES;
        let recreated = || {
            let other = |(partition, wanted): (_, &Wanted)| {
                self.told.get(partition).is_some_and(|told| told.topic_id != wanted.topic_id)
            };
            wanted.iter().any(other)
        };
        if by_id != self.by_id || recreated() {
            self.close();
        }
        (request.session_id, request.session_epoch) = match self.state {
            State::None => (0, NEW),
            State::Open { id, epoch } => (id, epoch),
        };
        let changed = wanted.iter().filter(|(partition, wanted)| self.told.get(partition) != Some(wanted));
        for (partition, wanted) in changed {
            let entry = FetchPartition {
                partition: partition.partition(),
                current_leader_epoch: wanted.leader_epoch,
                fetch_offset: wanted.offset,
                partition_max_bytes: wanted.max_bytes,
                ..Default::default()
            };
            match request.topics.last_mut().filter(|topic| topic.topic == partition.topic()) {
                Some(topic) => topic.partitions.push(entry),
                None => request.topics.push(FetchTopic {
                    topic: partition.topic().to_owned(),
                    topic_id: wanted.topic_id,
                    partitions: vec![entry],
                }),
            }
        }
        for (partition, told) in self.told.iter().filter(|(partition, _)| !wanted.contains_key(partition)) {
            match request.forgotten_topics_data.last_mut().filter(|topic| topic.topic == partition.topic()) {
                Some(topic) => topic.partitions.push(partition.partition()),
                None => request.forgotten_topics_data.push(ForgottenTopic {
                    topic: partition.topic().to_owned(),
                    topic_id: told.topic_id,
                    partitions: vec![partition.partition()],
                }),
            }
        }
        self.told = wanted;
        self.by_id = by_id;
    }

    /// The broker answered the last request.
    pub(crate) fn on_response(&mut self, response: &FetchResponse) {
        if !response.error_code.is_none() {
            return self.close();
        }
        match self.state {
            State::Open { id, epoch } if id == response.session_id => {
                self.state = State::Open { id, epoch: epoch.checked_add(1).unwrap_or(1) };
            }
            State::None if response.session_id != 0 => {
                self.state = State::Open { id: response.session_id, epoch: 1 };
            }
            State::None | State::Open { .. } => self.close(),
        }
    }

    /// The session is over: the next request is a full one.
    pub(crate) fn close(&mut self) {
        self.state = State::None;
        self.told.clear();
    }

    /// The name of the topic that a part of the answer is about.
    pub(crate) fn topic_of(&self, topic: &FetchableTopicResponse) -> Option<Arc<str>> {
        if !self.by_id {
            return Some(topic.topic.as_str().into());
        }
        let told = self.told.iter().find(|(_, told)| told.topic_id == topic.topic_id && !topic.topic_id.is_zero());
        told.map(|(partition, _)| partition.topic_name().clone())
    }
}

/// Whether the whole answer says only that the session is gone: the same may be asked again at once.
pub(crate) fn is_lost_session(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::FETCH_SESSION_ID_NOT_FOUND
            | ErrorCode::INVALID_FETCH_SESSION_EPOCH
            | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> BTreeMap<TopicPartition, Wanted> {
        let want = |offset| Wanted { topic_id: Uuid([1; 16]), offset, leader_epoch: 0, max_bytes: 10 };
        offsets.iter().map(|(partition, offset)| (("t", *partition).into(), want(*offset))).collect()
    }

    /// (session id, session epoch), partitions with offsets, forgotten partitions
    type Sent = ((i32, i32), Vec<(i32, i64)>, Vec<i32>);

    fn send(session: &mut FetchSession, offsets: &[(i32, i64)], version: i16) -> Sent {
        let mut request = FetchRequest::default();
        session.fill(&mut request, wanted(offsets), version);
        let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
        (
            (request.session_id, request.session_epoch),
            partitions.map(|partition| (partition.partition, partition.fetch_offset)).collect(),
            request.forgotten_topics_data.iter().flat_map(|topic| topic.partitions.clone()).collect(),
        )
    }

    fn answer(session: &mut FetchSession, session_id: i32, error_code: ErrorCode) {
        session.on_response(&FetchResponse { session_id, error_code, ..Default::default() });
    }

    #[test]
    fn after_the_first_request_only_changes_are_sent() {
        let mut session = FetchSession::default();
        assert_eq!(send(&mut session, &[(0, 5), (1, 6)], 18), ((0, 0), vec![(0, 5), (1, 6)], vec![]));
        answer(&mut session, 42, ErrorCode::NONE);
        assert_eq!(send(&mut session, &[(0, 5), (1, 7), (2, 1)], 18), ((42, 1), vec![(1, 7), (2, 1)], vec![]));
        answer(&mut session, 42, ErrorCode::NONE);
        assert_eq!(send(&mut session, &[(1, 7)], 18), ((42, 2), vec![], vec![0, 2]));
    }

    #[test]
    fn a_lost_session_begins_anew_with_everything() {
        for code in [ErrorCode::FETCH_SESSION_ID_NOT_FOUND, ErrorCode::UNKNOWN_SERVER_ERROR] {
            let mut session = FetchSession::default();
            send(&mut session, &[(0, 5)], 18);
            answer(&mut session, 42, ErrorCode::NONE);
            send(&mut session, &[(0, 5)], 18);
            answer(&mut session, 0, code);
            assert_eq!(send(&mut session, &[(0, 5)], 18), ((0, 0), vec![(0, 5)], vec![]));
        }
        let mut session = FetchSession::default();
        send(&mut session, &[(0, 5)], 18);
        answer(&mut session, 42, ErrorCode::NONE);
        send(&mut session, &[(0, 5)], 18);
        answer(&mut session, 43, ErrorCode::NONE);
        assert_eq!(send(&mut session, &[(0, 5)], 18).0, (0, 0), "somebody else's session");
    }

    #[test]
    fn a_broker_without_sessions_gets_full_requests() {
        let mut session = FetchSession::default();
        for _ in 0..3 {
            assert_eq!(send(&mut session, &[(0, 5)], 12), ((0, 0), vec![(0, 5)], vec![]));
            answer(&mut session, 0, ErrorCode::NONE);
        }
    }

    #[test]
    fn the_epoch_wraps_to_one() {
        let mut session = FetchSession { state: State::Open { id: 4, epoch: i32::MAX }, ..FetchSession::default() };
        answer(&mut session, 4, ErrorCode::NONE);
        assert_eq!(send(&mut session, &[], 12).0, (4, 1));
    }

    #[test]
    fn ids_and_names_are_not_mixed_in_one_session() {
        let mut session = FetchSession::default();
        send(&mut session, &[(0, 5)], 13);
        answer(&mut session, 42, ErrorCode::NONE);
        assert_eq!(send(&mut session, &[(0, 5)], 12), ((0, 0), vec![(0, 5)], vec![]));
    }

    #[test]
    fn answers_name_topics_by_id_or_name() {
        let mut session = FetchSession::default();
        send(&mut session, &[(0, 5)], 13);
        let by_id = FetchableTopicResponse { topic_id: Uuid([1; 16]), ..Default::default() };
        assert_eq!(session.topic_of(&by_id).as_deref(), Some("t"));
        let unknown = FetchableTopicResponse { topic_id: Uuid([2; 16]), ..Default::default() };
        assert_eq!(session.topic_of(&unknown), None);
    }
}
