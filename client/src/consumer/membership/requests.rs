//! What a member sends to its coordinator. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::join_group::JoinGroupRequest;
use milena_protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use milena_protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};

use super::protocols::Describing;
use super::{Action, Membership, MembershipSettings, PROTOCOL_TYPE, State, protocols};
use crate::clock::Time;
use crate::consumer::assignor::RebalanceProtocol;
use crate::consumer::rebalance::{Departure, RebalanceReason};

/// Beyond the rebalance timeout a JoinGroup may take this long.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

impl Membership {
    pub(super) fn join(&mut self, broker: i32, now: Time) -> Option<Action> {
        let owned = match self.rebalance_protocol {
            RebalanceProtocol::Eager => &BTreeSet::new(),
            RebalanceProtocol::Cooperative => &self.owned,
        };
        let member = Describing { topics: &self.topics, owned, last: &self.last, generation: self.generation };
        let MembershipSettings { strategies, rack, rebalance_timeout, .. } = &self.settings;
        let protocols = protocols::offer(strategies, &member, rack.as_deref());
        let protocols = match protocols {
            Ok(protocols) => protocols,
            Err(error) => {
                self.rest(error, now);
                return self.ready.pop_front();
            }
        };
        let timeout = self.settings.request_timeout.max(*rebalance_timeout + JOIN_MARGIN);
        let request = JoinGroupRequest {
            group_id: self.settings.group.to_string(),
            session_timeout_ms: millis(self.settings.session_timeout),
            rebalance_timeout_ms: millis(*rebalance_timeout),
            member_id: self.member_id.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols,
            reason: Some(self.said.take().unwrap_or_else(|| self.reason.text().to_owned())),
        };
        self.offered.clone_from(&self.topics);
        self.offered_generation = self.generation;
        self.state = State::Joining;
        self.attempts += 1;
        Some(Action::Join { broker, timeout, attempt: self.attempts, request })
    }

    pub(super) fn sync_request(
        &self,
        protocol: &str,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> SyncGroupRequest {
        SyncGroupRequest {
            group_id: self.settings.group.to_string(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(protocol.to_owned()),
            assignments,
        }
    }

    pub(super) fn beat(&mut self, broker: i32, now: Time) -> Option<Action> {
        let number = self.heartbeats.next_beat(now)?;
        // So that there is time to find another coordinator within the session.
        let timeout = self.settings.request_timeout.min(self.settings.session_timeout / 3);
        let request = HeartbeatRequest {
            group_id: self.settings.group.to_string(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.settings.instance_id.clone(),
        };
        Some(Action::Heartbeat { broker, timeout, number, request })
    }

    /// One try, if the coordinator is known and the member has a name there. A static member stays unless it is asked to leave:
    /// it means to come back.
    pub(super) fn leave(&mut self, reason: RebalanceReason) {
        let leaves = match self.departure {
            Departure::Usual => self.settings.instance_id.is_none(),
            Departure::Leave => true,
            Departure::Stay => false,
        };
        let leaves = leaves && !self.member_id.is_empty();
        let Some(broker) = self.coordinator.known().filter(|_| leaves) else { return };
        let member_id = std::mem::take(&mut self.member_id);
        let member = MemberIdentity {
            member_id: member_id.clone(),
            group_instance_id: self.settings.instance_id.clone(),
            reason: Some(reason.text().to_owned()),
        };
        let request = LeaveGroupRequest { group_id: self.settings.group.to_string(), member_id, members: vec![member] };
        self.ready.push_back(Action::Leave { broker, timeout: self.settings.request_timeout, request });
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
