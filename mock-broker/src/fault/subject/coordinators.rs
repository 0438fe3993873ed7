//! The APIs of coordinators: groups, producers, transactions. Pure.

use milena_protocol::messages::add_offsets_to_txn::AddOffsetsToTxnRequest;
use milena_protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use milena_protocol::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use milena_protocol::messages::end_txn::EndTxnRequest;
use milena_protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use milena_protocol::messages::heartbeat::HeartbeatRequest;
use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use milena_protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use milena_protocol::messages::leave_group::LeaveGroupRequest;
use milena_protocol::messages::list_groups::ListGroupsRequest;
use milena_protocol::messages::sync_group::SyncGroupRequest;

use super::{About, Name, Refusal, Subject, View};
use crate::api::join_group;

/// Keys of FindCoordinator.
const GROUP_KEY: i8 = 0;
const TRANSACTION_KEY: i8 = 1;

/// One line an API with one code: what the request names, and what its answer has beside the code.
macro_rules! whole {
    ($($request:ident $(.$about:ident($named:ident))* $(with $($field:ident: $value:expr),+)?;)*) => {$(
        impl Subject for $request {
            fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
                $(if let Some(name) = self.$named.name() { about(About::$about(name)); })*
                let _ = about;
            }

            fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<Self::Response> {
                Some(Self::Response { error_code: refusal.code, $($($field: $value,)+)? ..Default::default() })
            }
        }
    )*};
}

whole! {
    SyncGroupRequest.Group(group_id);
    HeartbeatRequest.Group(group_id);
    LeaveGroupRequest.Group(group_id);
    ListGroupsRequest;
    InitProducerIdRequest.TransactionalId(transactional_id) with producer_epoch: -1;
    AddOffsetsToTxnRequest.TransactionalId(transactional_id).Group(group_id);
    EndTxnRequest.TransactionalId(transactional_id);
}

impl Subject for JoinGroupRequest {
    fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        about(About::Group(&self.group_id));
    }

    fn refuse(self, view: &View<'_>, refusal: &Refusal<'_>) -> Option<JoinGroupResponse> {
        Some(join_group::refusal(view.version, refusal.code, self.member_id))
    }
}

impl Subject for DescribeGroupsRequest {
    fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        self.groups.iter().for_each(|group| about(About::Group(group)));
    }

    fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<DescribeGroupsResponse> {
        let failed = |group_id| DescribedGroup { group_id, error_code: refusal.code, ..Default::default() };
        Some(DescribeGroupsResponse { groups: self.groups.into_iter().map(failed).collect(), ..Default::default() })
    }
}

impl Subject for DeleteGroupsRequest {
    fn tell(&self, _: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        self.groups_names.iter().for_each(|group| about(About::Group(group)));
    }

    fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<DeleteGroupsResponse> {
        let failed = |group_id| DeletableGroupResult { group_id, error_code: refusal.code, error_message: None };
        Some(DeleteGroupsResponse {
            results: self.groups_names.into_iter().map(failed).collect(),
            ..Default::default()
        })
    }
}

impl Subject for FindCoordinatorRequest {
    fn tell(&self, view: &View<'_>, about: &mut dyn FnMut(About<'_>)) {
        let keys = if view.version < 4 { std::slice::from_ref(&self.key) } else { &self.coordinator_keys };
        for key in keys {
            match self.key_type {
                GROUP_KEY => about(About::Group(key)),
                TRANSACTION_KEY => about(About::TransactionalId(key)),
                _ => {}
            }
        }
    }

    fn refuse(self, _: &View<'_>, refusal: &Refusal<'_>) -> Option<FindCoordinatorResponse> {
        let code = refusal.code;
        let nobody = |key| Coordinator { key, node_id: -1, port: -1, error_code: code, ..Default::default() };
        Some(FindCoordinatorResponse {
            error_code: code,
            node_id: -1,
            port: -1,
            coordinators: self.coordinator_keys.into_iter().map(nobody).collect(),
            ..Default::default()
        })
    }
}
