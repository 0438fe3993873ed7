//! An application that takes longer than `max.poll.interval.ms` over a record, and a member that stands still for longer than its
//! session: each hears once that it has lost its partitions, changes nothing any more, and comes back.

use std::time::Duration;

use milena::{CommitPolicy, Consumer, ErrorKind, Producer, Record};
use milena_tests::checker::{Event, Figures, What};
use tokio::time::{Instant, sleep};

use crate::members::{GROUP, HEARTBEAT, Log, Manner, Member, SESSION};
use crate::process::Process;
use crate::world::{World, for_each_seed};

const POLICIES: [CommitPolicy; 3] = [CommitPolicy::Acked, CommitPolicy::Returned, CommitPolicy::Manual];
const STRATEGIES: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];
const ROUNDS: usize = 3;

/// A group of three under a steady stream of records.
struct Group {
    log: Log,
    members: Vec<Member>,
    producer: Producer,
    written: usize,
}

impl Group {
    async fn start(world: &mut World, max_poll_interval: Duration) -> Self {
        let log = Log::new(world);
        let policy = POLICIES[world.seed() as usize % POLICIES.len()];
        let strategy = STRATEGIES[world.random.below(4) as usize];
        let are_static = world.random.below(3) == 0;
        let mut members = Vec::new();
        for number in 0..3 {
            let instance = are_static.then(|| format!("instance-{number}"));
            let manner = Manner { instance, max_poll_interval, ..Manner::new(policy, strategy, SESSION / 100) };
            members.push(Member::join(world, &log, number, manner).await);
        }
        let producer = world.client().await.producer().build().await.unwrap();
        Self { log, members, producer, written: 0 }
    }

    /// Time passes, and records come.
    async fn go_on_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let (key, value) = (format!("key-{}", self.written % 20), format!("{}", self.written));
            self.producer.enqueue(Record::to("orders").key(&key).value(&value)).await.unwrap().detach();
            self.written += 1;
            sleep(Duration::from_millis(100)).await;
            self.log.look();
        }
    }

    async fn end(self) -> Figures {
        self.producer.flush().await.unwrap();
        self.log.done().await;
        for member in self.members {
            member.close().await;
        }
        self.log.check()
    }
}

/// When a member was told that it has lost partitions, and when after it that it has some again; `from` a place in the history.
fn lost_and_back(events: &[Event], from: usize, member: usize) -> (Vec<Duration>, Option<Duration>) {
    let of_member = || events[from..].iter().filter(|event| event.member == member);
    let lost: Vec<_> = of_member().filter(|event| matches!(event.what, What::Lost(_))).map(|event| event.at).collect();
    let is_back = |event: &&Event| {
        matches!(&event.what, What::Assigned(partitions) if !partitions.is_empty())
            && lost.first().is_some_and(|lost| *lost <= event.at)
    };
    let back = of_member().find(is_back).map(|event| event.at);
    (lost, back)
}

async fn slow_application(mut world: World) -> Figures {
    let interval = Duration::from_secs(10);
    let mut group = Group::start(&mut world, interval).await;
    group.go_on_for(3 * SESSION).await;
    for _ in 0..ROUNDS {
        let slow = world.random.below(3) as usize;
        let before = group.log.events().len();
        let takes = interval + Duration::from_millis(1000 + world.random.below(20_000));
        group.members[slow].be_slow(takes);
        group.go_on_for(takes + 3 * SESSION).await;

        let events = group.log.events();
        let (lost, back) = lost_and_back(&events, before, slow);
        assert_eq!(lost.len(), 1, "it is told once: {lost:?}");
        let began = group.members[slow].slow_since().expect("it had a record");
        assert!(lost[0] >= began + interval, "not before its time: {began:?}, {lost:?}");
        assert!(back.is_some_and(|back| back >= began + takes), "it is back with its next read: {began:?}, {back:?}");
    }
    group.end().await
}

#[test]
fn a_slow_application_loses_its_partitions_once_and_comes_back_with_its_next_read() {
    let mut repeated = 0;
    for_each_seed(6, slow_application, |figures| repeated += figures.repeated);
    assert!(repeated > 0, "what it was slow with is read by another");
    eprintln!("slow applications: {repeated} records were read again");
}

async fn frozen_member(mut world: World) -> Figures {
    let mut group = Group::start(&mut world, Duration::from_secs(300)).await;
    group.go_on_for(3 * SESSION).await;
    for _ in 0..ROUNDS {
        let frozen = world.random.below(3) as usize;
        let before = group.log.events().len();
        group.members[frozen].stop();
        group.go_on_for(SESSION + Duration::from_millis(500 + world.random.below(10_000))).await;
        group.members[frozen].go_on();
        group.go_on_for(3 * SESSION).await;

        let (lost, back) = lost_and_back(&group.log.events(), before, frozen);
        assert_eq!(lost.len(), 1, "it is told once: {lost:?}");
        assert!(back.is_some(), "it is back");
    }
    group.end().await
}

#[test]
fn a_member_that_stood_still_past_its_session_loses_its_partitions_once_and_comes_back() {
    let (mut repeated, mut by_zombies) = (0, 0);
    for_each_seed(6, frozen_member, |figures| {
        (repeated, by_zombies) = (repeated + figures.repeated, by_zombies + figures.by_zombies);
    });
    eprintln!("frozen members: {repeated} records were read again, {by_zombies} by the members that did not know yet");
}

async fn bare_member(world: &World, process: &Process) -> Consumer {
    let builder = world.client_on(process.clone()).await.consumer(GROUP).subscribe(["orders"]);
    let builder = builder.session_timeout(SESSION).heartbeat_interval(HEARTBEAT);
    builder.commit_policy(CommitPolicy::Manual).build().await.unwrap()
}

#[test]
fn what_a_member_commits_that_stood_still_past_its_session_is_refused_and_changes_nothing() {
    let scenario = async |mut world: World| {
        let producer = world.client().await.producer().build().await.unwrap();
        for number in 0..12 {
            producer.send(Record::to("orders").partition(number % 6).value("v")).await.unwrap();
        }
        let process = Process::default();
        let mut zombie = bare_member(&world, &process).await;
        let reading = process.run(async move {
            let held = zombie.next().await.unwrap().unwrap();
            (zombie, held)
        });
        let (zombie, held) = reading.await.unwrap();
        process.stop();
        sleep(SESSION + Duration::from_millis(world.random.below(10_000))).await;

        // Another one takes over, reads all of it and commits.
        let mut other = bare_member(&world, &Process::default()).await;
        for _ in 0..12 {
            let record = other.next().await.unwrap().unwrap();
            other.commit(&record).await.unwrap();
        }
        let committed = || (0..6).map(|partition| world.cluster.group(GROUP).committed("orders", partition)).collect();
        let before: Vec<Option<i64>> = committed();
        assert_eq!(before, [Some(2); 6]);

        process.go_on();
        let awake = process.run(async move {
            let refused = zombie.commit(&held).await.unwrap_err();
            drop(held);
            (zombie, refused)
        });
        let (zombie, refused) = awake.await.unwrap();
        assert_eq!(refused.kind(), ErrorKind::PartitionLost, "{refused}");
        sleep(3 * SESSION).await;
        assert_eq!(zombie.control().assignment().len() + other.control().assignment().len(), 6, "it is back");
        let closing = process.run(async move { zombie.close(SESSION).await });
        closing.await.unwrap().unwrap();
        other.close(SESSION).await.unwrap();
        assert_eq!(committed(), before);
    };
    for_each_seed(10, scenario, |()| {});
}
