//! Heartbeat: keeps a member in its group, and tells it of a rebalance. Pure.
//!
//! * v3: static members

use milena_protocol::ErrorCode;
use milena_protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::{Answer, Call};
use crate::core::Core;

pub(super) fn handle(core: &mut Core, call: &Call<'_>, request: HeartbeatRequest) -> Answer<HeartbeatResponse> {
    let error_code = beat(core, call, &request).err().unwrap_or_default();
    Answer::Now(HeartbeatResponse { error_code, ..Default::default() })
}

fn beat(core: &mut Core, call: &Call<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    core.check_coordinator(call.broker(), &request.group_id)?;
    core.heartbeat(call.now, call.broker(), request)
}
