//! What an outsider sees of a group. Pure.

use bytes::Bytes;
use milena_protocol::ErrorCode;

use super::group::{Group, GroupState};
use crate::core::Core;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    pub(crate) state: GroupState,
    pub(crate) generation: i32,
    /// Empty if nobody has ever joined.
    pub(crate) protocol_type: String,
    /// Empty while the group has none.
    pub(crate) protocol: String,
    /// The eldest first.
    pub(crate) members: Vec<MemberDescription>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberDescription {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Of the group's protocol.
    pub(crate) metadata: Bytes,
    /// Of the last generation that got one.
    pub(crate) assignment: Bytes,
}

impl GroupDescription {
    fn of(group: &Group) -> Self {
        let protocol = group.protocol.clone().unwrap_or_default();
        let members = group.members.iter().map(|member| MemberDescription {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        Self {
            state: group.name_of_state(),
            generation: group.generation,
            protocol_type: group.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol,
        }
    }

    /// A group that nobody has joined: simple consumers commit their offsets to it.
    fn simple() -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}

impl Core {
    /// A group as the broker that coordinates it sees it; `None` if it does not exist.
    ///
    /// # Errors
    /// NOT_COORDINATOR if that is another broker.
    pub(crate) fn describe_group(&self, broker: i32, id: &str) -> Result<Option<GroupDescription>, ErrorCode> {
        self.check_coordinator(broker, id)?;
        if let Some(group) = self.group_at(broker, id) {
            return Ok(Some(GroupDescription::of(group)));
        }
        let (_, offsets) = self.offsets_at(broker, id)?;
        Ok(offsets.of_group(id).map(|_| GroupDescription::simple()))
    }

    /// All groups that the broker coordinates, by their ids.
    pub(crate) fn groups_of(&self, broker: i32) -> Vec<(String, GroupDescription)> {
        let Some(broker) = self.brokers.get(&broker) else { return Vec::new() };
        let joined = broker.groups.by_id.keys();
        let committed = broker.offsets.values().flat_map(|offsets| offsets.group_ids());
        let ids: std::collections::BTreeSet<&String> = joined.chain(committed).collect();
        let described = ids.into_iter().map(|id| (id, broker.groups.get(id)));
        described
            .map(|(id, group)| (id.clone(), group.map_or_else(GroupDescription::simple, GroupDescription::of)))
            .collect()
    }

    /// A group as its coordinator sees it; `None` if it does not exist, or if no broker can coordinate it.
    pub(crate) fn group(&self, id: &str) -> Option<GroupDescription> {
        self.describe_group(self.coordinator(id), id).ok().flatten()
    }
}
