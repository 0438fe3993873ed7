//! DeleteGroups: deletes groups without members, and their offsets. Pure.
//!
//! * v3: error messages

use milena_protocol::ErrorCode;
use milena_protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: DeleteGroupsRequest) -> Answer<DeleteGroupsResponse> {
    let results = request.groups_names.into_iter().map(|group_id| {
        let error_code = core.delete_group(call.now, call.broker(), &group_id).err().unwrap_or_default();
        let error_message = match error_code {
            ErrorCode::NONE => None,
            ErrorCode::GROUP_ID_NOT_FOUND => Some(format!("there is no group '{group_id}'")),
            code => Some(format!("group '{group_id}' cannot be deleted: {code}")),
        };
        DeletableGroupResult { group_id, error_code, error_message }
    });
    Answer::Now(DeleteGroupsResponse { results: results.collect(), ..Default::default() })
}
