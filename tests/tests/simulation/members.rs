//! Members of a group that note what they read, and can die; and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{CommitPolicy, Consumer, ConsumerControl, Error, ErrorKind, Rebalance, RebalanceListener, Runtime, Task};
use milena_mock_broker::MockCluster;
use tokio::task::{AbortHandle, JoinHandle};

use crate::world::World;

pub(crate) const GROUP: &str = "group";
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// Runs the tasks of one client, until all of them are gone at once: a process that was killed.
#[derive(Clone, Default)]
pub(crate) struct Mortal(Arc<Mutex<Vec<AbortHandle>>>);

impl Mortal {
    fn kill(&self) {
        self.0.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

impl Runtime for Mortal {
    fn spawn(&self, task: Task) {
        self.0.lock().unwrap().push(tokio::spawn(task).abort_handle());
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// All that was read of a partition under one lease.
#[derive(Debug)]
pub(crate) struct LeaseLog {
    pub(crate) member: usize,
    pub(crate) partition: i32,
    /// What the group had committed when the lease began.
    pub(crate) floor: i64,
    pub(crate) offsets: Vec<i64>,
}

/// What was read of a partition by anyone.
#[derive(Default)]
struct Read {
    offsets: BTreeSet<i64>,
    /// All before this were.
    prefix: i64,
}

/// What all members have read, lease after lease.
#[derive(Clone)]
pub(crate) struct Log {
    cluster: MockCluster,
    leases: Arc<Mutex<Vec<LeaseLog>>>,
    /// Who has each partition, from `assigned` until `revoked` or `lost` was called.
    owners: Arc<Mutex<BTreeMap<i32, usize>>>,
    read: Arc<Mutex<BTreeMap<i32, Read>>>,
}

impl Log {
    pub(crate) fn new(world: &World) -> Self {
        let (cluster, leases) = (world.cluster.clone(), Arc::default());
        Self { cluster, leases, owners: Arc::default(), read: Arc::default() }
    }

    fn begin(&self, member: usize, partition: i32) {
        let other = self.owners.lock().unwrap().insert(partition, member);
        assert_eq!(other, None, "partition {partition} is given to member {member}");
        let floor = self.cluster.group(GROUP).committed("orders", partition).unwrap_or(0);
        self.leases.lock().unwrap().push(LeaseLog { member, partition, floor, offsets: Vec::new() });
    }

    fn end(&self, member: usize, partition: i32) {
        let owner = self.owners.lock().unwrap().remove(&partition);
        assert_eq!(owner, Some(member), "partition {partition} is taken from member {member}");
    }

    /// Whether everything before what the group has committed was read.
    pub(crate) fn covers(&self, partition: i32, committed: i64) -> bool {
        self.read.lock().unwrap().get(&partition).map_or(0, |read| read.prefix) >= committed
    }

    fn bury(&self, member: usize) {
        self.owners.lock().unwrap().retain(|_, owner| *owner != member);
    }

    fn note(&self, member: usize, partition: i32, offset: i64) {
        let owner = self.owners.lock().unwrap().get(&partition).copied();
        assert_eq!(owner, Some(member), "member {member} reads partition {partition}");
        let mut leases = self.leases.lock().unwrap();
        let lease = leases.iter_mut().rev().find(|lease| lease.member == member && lease.partition == partition);
        let lease = lease.unwrap_or_else(|| panic!("member {member} reads partition {partition} without a lease"));
        lease.offsets.push(offset);
        let mut read = self.read.lock().unwrap();
        let read = read.entry(partition).or_default();
        read.offsets.insert(offset);
        while read.offsets.contains(&read.prefix) {
            read.prefix += 1;
        }
    }

    /// How many different records of a partition were read.
    pub(crate) fn read(&self, partition: i32) -> usize {
        self.read.lock().unwrap().get(&partition).map_or(0, |read| read.offsets.len())
    }

    /// Whether every lease began where the group had committed and read on without a gap; and how many records were read more
    /// than once.
    pub(crate) fn check(&self) -> usize {
        let leases = self.leases.lock().unwrap();
        let mut times: BTreeMap<(i32, i64), usize> = BTreeMap::new();
        for lease in leases.iter() {
            let expected: Vec<i64> = (lease.floor..).take(lease.offsets.len()).collect();
            assert_eq!(lease.offsets, expected, "{lease:?}");
            for offset in &lease.offsets {
                *times.entry((lease.partition, *offset)).or_default() += 1;
            }
        }
        times.values().filter(|times| **times > 1).count()
    }
}

struct Noting {
    log: Log,
    member: usize,
}

#[async_trait::async_trait]
impl RebalanceListener for Noting {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        for partition in rebalance.partitions {
            self.log.begin(self.member, partition.partition());
        }
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        for partition in rebalance.partitions {
            self.log.end(self.member, partition.partition());
        }
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.revoked(rebalance).await;
    }
}

/// A member that reads in a task.
pub(crate) struct Member {
    number: usize,
    log: Log,
    control: ConsumerControl,
    runtime: Mortal,
    task: JoinHandle<Result<Consumer, Error>>,
}

impl Member {
    /// `hold`: how long it works on a record at most.
    pub(crate) async fn join(
        world: &mut World,
        log: &Log,
        number: usize,
        manner: (CommitPolicy, &str),
        hold: Duration,
    ) -> Self {
        Self::join_as(world, log, number, manner, hold, None).await
    }

    /// `instance`: its `group.instance.id`.
    pub(crate) async fn join_as(
        world: &mut World,
        log: &Log,
        number: usize,
        (policy, strategy): (CommitPolicy, &str),
        hold: Duration,
        instance: Option<&str>,
    ) -> Self {
        let runtime = Mortal::default();
        let client = world.client_on(runtime.clone()).await;
        let builder = client.consumer(GROUP).subscribe(["orders"]).commit_policy(policy);
        let builder = builder.assignors([strategy]).session_timeout(SESSION).heartbeat_interval(Duration::from_secs(1));
        let builder = builder.auto_commit_interval(Duration::from_millis(500));
        let builder = match instance {
            Some(instance) => builder.group_instance_id(instance),
            None => builder,
        };
        let noting = Noting { log: log.clone(), member: number };
        let mut consumer = builder.on_rebalance(noting).build().await.unwrap();
        let control = consumer.control().clone();
        let member_log = log.clone();
        let (log, mut works) = (log.clone(), world.random.below(u64::MAX));
        let task = tokio::spawn(async move {
            loop {
                match consumer.next().await {
                    Ok(Some(record)) => {
                        log.note(number, record.partition(), record.offset());
                        works = works.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        if works >> 60 == 0 {
                            tokio::time::sleep(hold.mul_f64((works >> 32 & 0xff) as f64 / 256.0)).await;
                        }
                        record.ack();
                    }
                    Ok(None) => return Ok(consumer),
                    Err(error) if error.is_retriable() => {}
                    Err(error) => return Err(error),
                }
            }
        });
        Self { number, log: member_log, control, runtime, task }
    }

    /// Ends as if the process had been killed: no LeaveGroup, no commit.
    pub(crate) fn die(self) {
        self.task.abort();
        self.runtime.kill();
        self.log.bury(self.number);
    }

    pub(crate) async fn close(self) {
        self.control.stop();
        let consumer = self.task.await.unwrap().unwrap();
        match consumer.close(Duration::from_secs(30)).await {
            // A coordinator that is frozen or gone cannot be told.
            Err(error) if error.is_retriable() || error.kind() == ErrorKind::PartitionLost => {}
            closed => closed.unwrap(),
        }
    }
}
