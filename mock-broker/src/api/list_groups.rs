//! ListGroups: the groups that the asked broker coordinates. Pure.
//!
//! * v4: filters by state; v5: filters by type, and every group here is a classic one

use milena_protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::{Answer, Call};
use crate::core::Core;

const CLASSIC: &str = "classic";

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: ListGroupsRequest) -> Answer<ListGroupsResponse> {
    let passes = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(value))
    };
    let mut response = ListGroupsResponse::default();
    if !passes(&request.types_filter, CLASSIC) {
        return Answer::Now(response);
    }
    for (group_id, group) in core.groups_of(call.broker()) {
        let group_state = group.state.to_string();
        if passes(&request.states_filter, &group_state) {
            let (protocol_type, group_type) = (group.protocol_type, CLASSIC.to_owned());
            response.groups.push(ListedGroup { group_id, protocol_type, group_state, group_type });
        }
    }
    Answer::Now(response)
}
