//! DescribeCluster: cluster id, controller, brokers. Pure.
//!
//! * v1: endpoints of controllers can be asked for; brokers do not have them
//! * v2: brokers that are down are listed as fenced, if asked for

use milena_protocol::ErrorCode;
use milena_protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::metadata::CLUSTER_OPERATIONS;
use super::{Answer, Call};
use crate::core::{BrokerAddress, Core};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) fn handle(
    core: &mut Core,
    call: &Call<'_>,
    request: DescribeClusterRequest,
) -> Answer<DescribeClusterResponse> {
    if request.endpoint_type != BROKERS {
        return Answer::Now(DescribeClusterResponse {
            error_code: match request.endpoint_type {
                CONTROLLERS => ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                _ => ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            },
            error_message: Some(
                "the request was sent to a broker, which knows the endpoints of brokers only".to_owned(),
            ),
            ..Default::default()
        });
    }
    let view = core.view(call.broker());
    let describe = |address: &BrokerAddress| DescribeClusterBroker {
        broker_id: address.id,
        host: address.host.clone(),
        port: i32::from(address.port),
        rack: address.rack.clone(),
        is_fenced: !view.is_active(address.id),
    };
    let listed = view.addresses().map(describe);
    let mut response = DescribeClusterResponse {
        cluster_id: core.settings.cluster_id.clone(),
        controller_id: view.active_controller(),
        brokers: listed.filter(|broker| request.include_fenced_brokers || !broker.is_fenced).collect(),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    Answer::Now(response)
}
