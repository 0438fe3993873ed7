//! The task of a producer: its identity, its partitions' leaders, and its deadlines. IO.

use std::sync::Arc;
use std::time::Duration;

use milena_protocol::messages::init_producer_id::InitProducerIdRequest;
use tracing::{debug, warn};

use super::sequencer::Identity;
use super::shared::Shared;
use crate::clock::Time;
use crate::error::{Error, ErrorKind, Result};

/// However the task ends, nobody waits for ever.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Runs until the producer is closed and everything is settled.
pub(crate) async fn run(shared: Arc<Shared>) {
    let _ending = Ending(shared.clone());
    let net = shared.cluster.net().clone();
    let mut changes = shared.cluster.changes();
    let mut closing = shared.cluster.closing();
    let mut unsettled = shared.unsettled();
    // Lives as long as there may be something to settle, so that closing the client can wait for it.
    let _unsettled_guard = shared.cluster.unsettled();
    let mut identity_failures = 0;
    let mut identity_due = Time::ZERO;
    let mut client_closed = false;
    loop {
        let now = net.now();
        expire(&shared, now);
        if shared.has_ended() {
            return;
        }
        if shared.cluster.is_closed() && !client_closed {
            client_closed = true;
            shared.begin_close();
        }
        if shared.is_closing() && *unsettled.borrow_and_update() == 0 {
            finish(&shared);
            return;
        }
        let wants_identity = shared.needs_producer_id();
        let identity = async {
            if !wants_identity {
                std::future::pending::<()>().await;
            }
            net.sleep_until(Some(identity_due)).await;
            match producer_id(&shared).await {
                Ok(identity) => {
                    debug!(producer_id = identity.producer_id, "producer id");
                    identity_failures = 0;
                    shared.on_producer_id(identity);
                }
                Err(error) => {
                    identity_failures += 1;
                    identity_due = net.now() + shared.retry_delay(identity_failures);
                    if error.is_retriable() {
                        debug!(%error, "no producer id yet");
                    } else {
                        warn!(%error, "no producer id");
                    }
                    shared.on_no_producer_id(error);
                }
            }
        };
        tokio::pin!(identity);
        // The request for an identity goes on while everything else is attended to.
        loop {
            let deadline = shared.deadlines.first_due();
            tokio::select! {
                biased;
                () = net.sleep_until(deadline) => {}
                () = &mut identity => break,
                () = changes.changed() => shared.on_view(&shared.cluster.view()),
                () = closing.changed(), if !client_closed => {}
                _ = unsettled.changed(), if shared.is_closing() => {}
                () = shared.wake.notified() => {}
            }
            expire(&shared, net.now());
            let done = shared.has_ended()
                || (shared.cluster.is_closed() && !client_closed)
                || (shared.is_closing() && *unsettled.borrow() == 0)
                || shared.needs_producer_id() != wants_identity;
            if done {
                break;
            }
        }
    }
}

/// Gives up the batches whose time is over.
fn expire(shared: &Shared, now: Time) {
    while let Some(partition) = shared.deadlines.take_due(now) {
        let mut state = partition.lock();
        let trouble = state.trouble().or_else(|| shared.no_producer_id());
        let told = shared.settle(state.queue.expire(now, trouble));
        let deadline = state.queue.deadline();
        state.watched = deadline.is_some();
        state.schedule(&partition);
        drop(state);
        if let Some(deadline) = deadline {
            shared.deadlines.insert(deadline, partition);
        }
        shared.wake(told);
    }
}

fn finish(shared: &Shared) {
    shared.end();
    if let Some((count, error)) = shared.unawaited.take() {
        warn!(count, first = %error, "records failed that nobody awaited");
    }
}

/// Asks some broker for a producer id.
async fn producer_id(shared: &Shared) -> Result<Identity> {
    let cluster = &shared.cluster;
    let broker = cluster.any_broker().ok_or_else(|| Error::new(ErrorKind::Transport, "no broker is known"))?;
    let build = |_| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    let patience = cluster.net().limits.request_timeout.min(Duration::from_secs(5));
    let response = cluster.call::<InitProducerIdRequest>(broker, patience, build).await?.body;
    response.error_code.ok().map_err(|code| Error::broker("asking for a producer id", code, broker))?;
    if response.producer_id < 0 || response.producer_epoch < 0 {
        return Err(Error::new(ErrorKind::Protocol, format!("broker {broker} gave a producer id below 0")));
    }
    Ok(Identity { producer_id: response.producer_id, epoch: response.producer_epoch })
}
