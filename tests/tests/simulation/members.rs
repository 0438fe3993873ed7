//! Members of a group that note what they read, and can die; and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{CommitPolicy, Consumer, ConsumerControl, Error, ErrorKind, Rebalance, RebalanceListener};
use milena_mock_broker::MockCluster;
use tokio::task::JoinHandle;

use crate::process::Process;
use crate::world::World;

pub(crate) const GROUP: &str = "group";
pub(crate) const SESSION: Duration = Duration::from_secs(6);

/// How a member of a scenario behaves.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) policy: CommitPolicy,
    pub(crate) strategy: &'static str,
    /// How long it works on a record at most.
    pub(crate) hold: Duration,
    /// The name of a static member.
    pub(crate) instance: Option<String>,
}

impl Manner {
    pub(crate) fn new(policy: CommitPolicy, strategy: &'static str, hold: Duration) -> Self {
        Self { policy, strategy, hold, instance: None }
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
    /// Members that stand still. What they have may be taken from them: they hear of it when they go on.
    stopped: Arc<Mutex<BTreeSet<usize>>>,
    /// What was taken, from whom, and not heard of yet.
    taken: Arc<Mutex<BTreeSet<(i32, usize)>>>,
    read: Arc<Mutex<BTreeMap<i32, Read>>>,
}

impl Log {
    pub(crate) fn new(world: &World) -> Self {
        let (cluster, leases) = (world.cluster.clone(), Arc::default());
        let (stopped, taken) = (Arc::default(), Arc::default());
        Self { cluster, leases, owners: Arc::default(), stopped, taken, read: Arc::default() }
    }

    fn begin(&self, member: usize, partition: i32) {
        let other = self.owners.lock().unwrap().insert(partition, member);
        if let Some(other) = other.filter(|other| self.stopped.lock().unwrap().contains(other)) {
            self.taken.lock().unwrap().insert((partition, other));
        } else {
            assert_eq!(other, None, "partition {partition} is given to member {member}");
        }
        let floor = self.cluster.group(GROUP).committed("orders", partition).unwrap_or(0);
        let mut leases = self.leases.lock().unwrap();
        let last = leases.iter().rev().find(|lease| lease.partition == partition);
        assert!(last.is_none_or(|last| last.floor <= floor), "{last:?}: the commit went back to {floor}");
        leases.push(LeaseLog { member, partition, floor, offsets: Vec::new() });
    }

    fn end(&self, member: usize, partition: i32) {
        if self.taken.lock().unwrap().remove(&(partition, member)) {
            return;
        }
        let owner = self.owners.lock().unwrap().remove(&partition);
        assert_eq!(owner, Some(member), "partition {partition} is taken from member {member}");
    }

    /// Whether everything before what the group has committed was read.
    pub(crate) fn covers(&self, partition: i32, committed: i64) -> bool {
        self.read.lock().unwrap().get(&partition).map_or(0, |read| read.prefix) >= committed
    }

    fn bury(&self, member: usize) {
        self.owners.lock().unwrap().retain(|_, owner| *owner != member);
        self.taken.lock().unwrap().retain(|(_, owner)| *owner != member);
    }

    fn note(&self, member: usize, partition: i32, offset: i64) {
        // One that went on may read what it has before it hears that it is another's.
        let is_taken = self.taken.lock().unwrap().contains(&(partition, member));
        let owner = self.owners.lock().unwrap().get(&partition).copied();
        assert!(is_taken || owner == Some(member), "member {member} reads partition {partition} of {owner:?}");
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
    process: Process,
    pub(crate) instance: Option<String>,
    task: JoinHandle<Result<Consumer, Error>>,
}

impl Member {
    pub(crate) async fn join(world: &mut World, log: &Log, number: usize, manner: Manner) -> Self {
        let Manner { policy, strategy, hold, instance } = manner;
        let process = Process::default();
        let client = world.client_on(process.clone()).await;
        let builder = client.consumer(GROUP).subscribe(["orders"]).commit_policy(policy);
        let builder = builder.assignors([strategy]).session_timeout(SESSION).heartbeat_interval(Duration::from_secs(1));
        let builder = builder.auto_commit_interval(Duration::from_millis(500));
        let builder = match &instance {
            Some(instance) => builder.group_instance_id(instance.clone()),
            None => builder,
        };
        let noting = Noting { log: log.clone(), member: number };
        let mut consumer = builder.on_rebalance(noting).build().await.unwrap();
        let control = consumer.control().clone();
        let member_log = log.clone();
        let (log, mut works) = (log.clone(), world.random.below(u64::MAX));
        let task = process.run(async move {
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
        Self { number, log: member_log, control, process, instance, task }
    }

    /// Ends as if the process had been killed: no LeaveGroup, no commit.
    pub(crate) fn die(self) {
        self.process.kill();
        self.log.bury(self.number);
    }

    /// It stands still, and the group may go on without it.
    pub(crate) fn stop(&self) {
        self.log.stopped.lock().unwrap().insert(self.number);
        self.process.stop();
    }

    pub(crate) fn go_on(&self) {
        self.log.stopped.lock().unwrap().remove(&self.number);
        self.process.go_on();
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
