//! What happens in one group, as the checker wants to know it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use milena::{Client, CommitPolicy, Position, TopicPartition};
use milena_tests::checker::{Event, Truth, What};
use milena_tests::cluster::TestCluster;
use tokio::sync::watch;

use crate::Error;

const LOOKS_EVERY: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub(crate) struct History(Arc<Shared>);

struct Shared {
    partitions: Vec<TopicPartition>,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    /// What a process does while it is killed is not its doing.
    dead: BTreeSet<usize>,
    processed: BTreeSet<(i32, i64)>,
    committed: BTreeMap<TopicPartition, i64>,
    /// Errors that the application got. None should be.
    shown: Vec<String>,
}

/// The process was killed, and does nothing any more.
pub(crate) struct Killed;

impl History {
    pub(crate) fn new(topic: &str, partitions: i32) -> Self {
        let partitions = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        Self(Arc::new(Shared { partitions, began: Instant::now(), state: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, member: usize, what: What) -> Result<(), Killed> {
        let mut state = self.lock();
        if state.dead.contains(&member) {
            return Err(Killed);
        }
        match &what {
            What::Processed(partition, offset) => drop(state.processed.insert((partition.partition(), *offset))),
            What::SessionExpired => drop(state.dead.insert(member)),
            _ => {}
        }
        let at = self.0.began.elapsed();
        state.events.push(Event { at, member, what });
        Ok(())
    }

    /// An error that the application got.
    pub(crate) fn show(&self, member: usize, what: &str, error: &milena::Error) {
        let mut state = self.lock();
        if !state.dead.contains(&member) {
            state.shown.push(format!("member {member}, {what}: {error} ({:?})", error.kind()));
        }
    }

    /// How many different records were processed.
    pub(crate) fn processed(&self) -> usize {
        self.lock().processed.len()
    }

    /// The events, and the errors that were shown.
    pub(crate) fn take(&self) -> (Vec<Event>, Vec<String>) {
        let mut state = self.lock();
        (std::mem::take(&mut state.events), std::mem::take(&mut state.shown))
    }

    /// Notes what the group has committed, until all members are gone; gives what it has then.
    pub(crate) async fn look_at(
        self,
        client: Client,
        group: String,
        mut stopped: watch::Receiver<bool>,
    ) -> Result<Vec<i64>, Error> {
        let all = &self.0.partitions;
        let at_the_end = all.iter().map(|partition| (partition.clone(), Position::End));
        let builder = client.consumer(&group).assign(at_the_end).commit_policy(CommitPolicy::Manual);
        let consumer = builder.build().await?;
        consumer.control().pause(all)?;
        let mut ticks = tokio::time::interval(LOOKS_EVERY);
        while !*stopped.borrow_and_update() {
            ticks.tick().await;
            let before = self.lock().events.len();
            let offsets = consumer.control().committed(all).await?;
            self.note_committed(before, offsets);
        }
        let offsets = consumer.control().committed(all).await?;
        self.note_committed(usize::MAX, offsets.clone());
        consumer.close(Duration::from_secs(10)).await?;
        Ok(offsets.into_iter().map(|offset| offset.unwrap_or(0)).collect())
    }

    /// What a new owner has heard since the question may be newer than the answer.
    fn note_committed(&self, asked_after: usize, offsets: Vec<Option<i64>>) {
        let mut state = self.lock();
        let heard: BTreeSet<TopicPartition> = state
            .events
            .iter()
            .skip(asked_after)
            .filter_map(|event| match &event.what {
                What::Assigned(partitions) => Some(partitions.iter().map(|(partition, _)| partition.clone())),
                _ => None,
            })
            .flatten()
            .collect();
        let at = self.0.began.elapsed();
        for (partition, offset) in self.0.partitions.iter().zip(offsets) {
            let Some(offset) = offset.filter(|_| !heard.contains(partition)) else { continue };
            if state.committed.insert(partition.clone(), offset) != Some(offset) {
                state.events.push(Event { at, member: 0, what: What::Committed(partition.clone(), offset) });
            }
        }
    }

    /// What is in the log.
    pub(crate) async fn truth(&self, cluster: &TestCluster) -> Truth {
        let mut truth = Truth::new();
        for partition in &self.0.partitions {
            let log = cluster.log(partition.topic(), partition.partition()).await;
            let records = log.iter().map(|record| (record.offset, record.text().to_owned()));
            truth.insert(partition.clone(), records.collect());
        }
        truth
    }
}
