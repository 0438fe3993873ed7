//! Records of groups that are written and not on all in-sync replicas yet: nobody is told before they are. Pure.

use std::time::Duration;

use milena_protocol::ErrorCode;

use super::group::{Effects, Store};
use crate::core::Core;
use crate::core::append::Appended;
use crate::core::broker::Process;
use crate::core::controller::PartitionId;
use crate::core::offsets::COMMIT_TIMEOUT;

#[derive(Debug)]
pub(super) struct Unconfirmed {
    group: String,
    generation: i32,
    store: Store,
    pub(super) partition: PartitionId,
    /// Where the high watermark has to be.
    end: i64,
    /// Then it is given up.
    pub(super) until: Duration,
}

impl Unconfirmed {
    /// The coordinator moves. The members' own requests are the group's to answer.
    pub(super) fn dismiss(self, effects: &mut Effects) {
        if let Store::Replacement(ticket, _) = self.store {
            effects.refuse_join(ticket, ErrorCode::NOT_COORDINATOR, "");
        }
    }
}

impl Core {
    /// Finishes what was written, now or when the followers have it.
    #[allow(clippy::too_many_arguments, reason = "what was written, where, by whom, for whom")]
    pub(super) fn confirm(
        &mut self,
        now: Duration,
        broker: i32,
        group: &str,
        store: Store,
        partition: PartitionId,
        appended: Appended,
        effects: &mut Effects,
    ) {
        let end = appended.last_offset + 1;
        let high_watermark = self.brokers.get(&broker).and_then(|broker| broker.replicas.get(&partition));
        if high_watermark.is_some_and(|replica| replica.high_watermark >= end) {
            return self.finish_store(now, broker, group, store, Ok(()), effects);
        }
        let Some(generation) = self.group_at(broker, group).map(|group| group.generation) else { return };
        if let Some(broker) = self.brokers.get_mut(&broker) {
            let (group, until) = (group.to_owned(), now.saturating_add(COMMIT_TIMEOUT));
            broker.groups.unconfirmed.push(Unconfirmed { group, generation, store, partition, end, until });
        }
    }

    /// What was to be written is on all in-sync replicas, or will not be.
    pub(super) fn finish_store(
        &mut self,
        now: Duration,
        broker: i32,
        id: &str,
        store: Store,
        result: Result<(), ErrorCode>,
        effects: &mut Effects,
    ) {
        match (store, result) {
            (Store::Emptied, Ok(())) => {}
            // The generation before comes back if the broker crashes, and its members' sessions end.
            (Store::Emptied, Err(code)) => tracing::warn!(group = id, %code, "an empty group was not written"),
            (Store::Assignment, result) => {
                if let Some(group) = self.brokers.get_mut(&broker).and_then(|broker| broker.groups.get_mut(id)) {
                    group.on_stored(now, result, effects);
                }
            }
            (Store::Replacement(ticket, response), Ok(())) => effects.join(ticket, response),
            (Store::Replacement(ticket, _), Err(code)) => effects.refuse_join(ticket, code, ""),
        }
    }

    /// After a change of a partition: what its leader has written may be on all in-sync replicas now.
    pub(super) fn finish_confirmed(&mut self, now: Duration, id: PartitionId) {
        let mut confirmed = Vec::new();
        for broker in self.brokers.values_mut().filter(|broker| !broker.groups.unconfirmed.is_empty()) {
            let Some(high_watermark) = broker.replicas.get(&id).map(|replica| replica.high_watermark) else { continue };
            let done = |record: &mut Unconfirmed| record.partition == id && record.end <= high_watermark;
            confirmed.extend(broker.groups.unconfirmed.extract_if(.., done).map(|record| (broker.id, record)));
        }
        for (broker, record) in confirmed {
            self.finish_unconfirmed(now, broker, record, Ok(()));
        }
    }

    /// Gives up one record that the followers do not get. Tells whether there was any.
    pub(super) fn give_up_unconfirmed(&mut self, now: Duration) -> bool {
        for broker in self.brokers.values_mut().filter(|broker| broker.process == Process::Running) {
            let Some(late) = broker.groups.unconfirmed.iter().position(|record| record.until <= now) else { continue };
            let (broker, record) = (broker.id, broker.groups.unconfirmed.remove(late));
            self.finish_unconfirmed(now, broker, record, Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
            return true;
        }
        false
    }

    fn finish_unconfirmed(&mut self, now: Duration, broker: i32, record: Unconfirmed, result: Result<(), ErrorCode>) {
        let Unconfirmed { group, generation, store, .. } = record;
        let mut effects = Effects::default();
        // A rebalance that has begun meanwhile makes its own assignment.
        let is_outdated = self.group_at(broker, &group).is_none_or(|group| group.generation != generation);
        if !(is_outdated && matches!(store, Store::Assignment)) {
            self.finish_store(now, broker, &group, store, result, &mut effects);
        }
        self.settle_group(now, broker, &group, effects);
    }
}
