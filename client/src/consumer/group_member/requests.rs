//! What a member asks of its coordinator, and the leader's work. IO.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use milena_protocol::api::Request;
use milena_protocol::messages::leave_group::LeaveGroupRequest;
use tracing::debug;

use super::{Event, GroupMember};
use crate::cluster::Cluster;
use crate::consumer::assignor::{Division, Topics};
use crate::error::Result;
use crate::net::request_queue::RequestQueue;

/// How long a leader waits for the metadata of topics that other members brought along.
const TOPICS: Duration = Duration::from_secs(5);

impl GroupMember {
    /// One request over the connection to the coordinator.
    pub(super) fn call<R: Request + Send + 'static>(
        &mut self,
        broker: i32,
        timeout: Duration,
        request: R,
    ) -> impl Future<Output = Result<R::Response>> + Send + 'static {
        let queue = self.connect(broker);
        let cluster = self.shared.cluster.clone();
        async move {
            let answer = queue.call::<R>(timeout, R::VERSIONS.max, move |_| request).await;
            answer.map(|answer| answer.body).inspect_err(|_| cluster.request_refresh())
        }
    }

    pub(super) fn disconnect(&mut self) {
        if let Some((_, queue)) = self.connection.take() {
            queue.close();
        }
    }

    fn connect(&mut self, broker: i32) -> RequestQueue {
        if let Some((known, queue)) = &self.connection {
            if *known == broker {
                return queue.clone();
            }
            self.disconnect();
        }
        let cluster = self.shared.cluster.clone();
        let queue = RequestQueue::spawn(
            cluster.net().clone(),
            move || cluster.address(broker),
            // A join waits for the others.
            || {},
        );
        self.connection = Some((broker, queue.clone()));
        queue
    }

    /// Not over the group's connection: a JoinGroup may be waiting there.
    pub(super) fn leave(&mut self, broker: i32, timeout: Duration, request: LeaveGroupRequest) {
        self.leaving += 1;
        let (cluster, group) = (self.shared.cluster.clone(), self.group.clone());
        self.reply(async move {
            match cluster.call::<LeaveGroupRequest>(broker, timeout, move |_| request).await {
                Ok(answer) => debug!(%group, code = %answer.body.error_code, "left"),
                Err(error) => debug!(%group, %error, "left without an answer"),
            }
            Event::Left
        });
    }
}

/// The leader's work, when it is known of every topic whether it is there.
pub(super) async fn divide(cluster: Cluster, generation: i32, division: Division) -> Event {
    let mut changes = cluster.changes();
    let deadline = cluster.net().now() + TOPICS;
    let view = loop {
        changes.look();
        let view = cluster.view();
        let known = |name: &Arc<str>| {
            view.topic(name).is_some_and(|topic| !topic.error.is_none() || !topic.partitions.is_empty())
        };
        if division.topics().iter().all(known) {
            break view;
        }
        cluster.request_refresh();
        tokio::select! {
            biased;
            () = cluster.net().sleep_until(Some(deadline)) => break view,
            () = changes.changed() => {}
        }
    };
    let topics = Topics::of(&view, division.topics(), division.uses_racks());
    let outcome = division.run(&topics);
    Event::Divided(generation, topics, outcome)
}
