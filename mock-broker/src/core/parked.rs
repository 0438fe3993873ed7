//! Requests that wait: for a partition to change, or for their time to run out. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use milena_protocol::frame::RequestHeader;

use super::controller::PartitionId;
use super::transactions::Waiting;
use super::{Origin, Ticket};
use crate::api::{Call, delete_records, fetch, offset_commit, produce};

/// What a request waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    /// That its records are on all in-sync replicas.
    Produce(produce::Pending),
    /// That there are enough records.
    Fetch(fetch::Pending),
    /// That its offsets are on all in-sync replicas.
    OffsetCommit(offset_commit::Pending),
    /// That all replicas start where it wants.
    DeleteRecords(delete_records::Pending),
    /// That the members of its group have come as far. The group has its ticket, and answers it.
    Group,
    /// That the next state of its transaction is on all in-sync replicas. The coordinator has its ticket, and answers it.
    Transaction(Waiting),
}

#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) origin: Origin,
    pub(crate) header: RequestHeader,
    /// None if it is answered when others have done something, however long that takes.
    pub(crate) deadline: Option<Duration>,
    pub(crate) watched: Vec<PartitionId>,
    pub(crate) wait: Wait,
}

impl Parked {
    /// A request that no partition and no time brings on.
    pub(crate) fn until_answered(call: &Call<'_>, wait: Wait) -> Self {
        Self { origin: call.origin.clone(), header: call.header.clone(), deadline: None, watched: Vec::new(), wait }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ParkedRequests {
    by_ticket: BTreeMap<Ticket, Parked>,
    watch: BTreeMap<PartitionId, BTreeSet<Ticket>>,
    deadlines: BTreeSet<(Duration, Ticket)>,
}

impl ParkedRequests {
    pub(crate) fn park(&mut self, ticket: Ticket, parked: Parked) {
        for id in &parked.watched {
            self.watch.entry(*id).or_default().insert(ticket);
        }
        if let Some(deadline) = parked.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        self.by_ticket.insert(ticket, parked);
    }

    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Parked> {
        let parked = self.by_ticket.remove(&ticket)?;
        if let Some(deadline) = parked.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        for id in &parked.watched {
            if let Some(tickets) = self.watch.get_mut(id) {
                tickets.remove(&ticket);
                if tickets.is_empty() {
                    self.watch.remove(id);
                }
            }
        }
        Some(parked)
    }

    /// Those that wait for this partition, oldest first.
    pub(crate) fn watching(&self, id: PartitionId) -> Vec<Ticket> {
        self.watch.get(&id).map_or(Vec::new(), |tickets| tickets.iter().copied().collect())
    }

    /// The next one whose time has run out.
    pub(crate) fn expired(&self, now: Duration) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, ticket)| *ticket)
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Drops those of whom this is true: nobody waits for their answer.
    pub(crate) fn drop_where(&mut self, is_gone: impl Fn(&Origin) -> bool) {
        let gone = self.by_ticket.iter().filter(|(_, parked)| is_gone(&parked.origin)).map(|(ticket, _)| *ticket);
        for ticket in gone.collect::<Vec<_>>() {
            self.take(ticket);
        }
    }
}
