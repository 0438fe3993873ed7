//! DeleteGroups: deletes groups without members, and their offsets. Pure.
//!
//! * v3: error messages, which Kafka leaves out

use std::collections::BTreeSet;

use milena_protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: DeleteGroupsRequest) -> Answer<DeleteGroupsResponse> {
    let mut seen = BTreeSet::new();
    let once = request.groups_names.into_iter().filter(|group_id| seen.insert(group_id.clone()));
    let results = once.map(|group_id| {
        let error_code = core.delete_group(call.now, call.broker(), &group_id).err().unwrap_or_default();
        DeletableGroupResult { group_id, error_code, error_message: None }
    });
    Answer::Now(DeleteGroupsResponse { results: results.collect(), ..Default::default() })
}
