//! A member whose process is stopped past its session, and goes on later as if nothing had been; and a coordinator that dies.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use milena::{ApiKey, CommitPolicy, Consumer, ErrorKind, Rebalance, RebalanceListener, Record, Runtime, Task};
use tokio::time::sleep;

use crate::members::{GROUP, SESSION};
use crate::world::{World, run};

/// Runs tasks that can all be stopped, as SIGSTOP stops a process, and go on later.
#[derive(Clone, Default)]
struct Stoppable(Arc<(AtomicBool, Mutex<Vec<Waker>>)>);

impl Stoppable {
    fn stop(&self) {
        self.0.0.store(true, Ordering::SeqCst);
    }

    fn go_on(&self) {
        self.0.0.store(false, Ordering::SeqCst);
        self.0.1.lock().unwrap().drain(..).for_each(Waker::wake);
    }

    fn wrap<F: Future + Send + 'static>(&self, task: F) -> impl Future<Output = F::Output> + Send + use<F> {
        let (process, mut task) = (self.0.clone(), Box::pin(task));
        poll_fn(move |context| {
            if process.0.load(Ordering::SeqCst) {
                process.1.lock().unwrap().push(context.waker().clone());
                return Poll::Pending;
            }
            Pin::new(&mut task).poll(context)
        })
    }
}

impl Runtime for Stoppable {
    fn spawn(&self, task: Task) {
        tokio::spawn(self.wrap(task));
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// What the listener was told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<&'static str>>>);

#[async_trait::async_trait]
impl RebalanceListener for Told {
    async fn assigned(&self, _: &Rebalance<'_>) {
        self.0.lock().unwrap().push("assigned");
    }

    async fn revoked(&self, _: &Rebalance<'_>) {
        self.0.lock().unwrap().push("revoked");
    }

    async fn lost(&self, _: &Rebalance<'_>) {
        self.0.lock().unwrap().push("lost");
    }
}

async fn member(world: &World, runtime: impl Runtime, told: Told) -> Consumer {
    let builder = world.client_on(runtime).await.consumer(GROUP).subscribe(["orders"]);
    let builder = builder.session_timeout(SESSION).heartbeat_interval(Duration::from_secs(1));
    builder.commit_policy(CommitPolicy::Manual).on_rebalance(told).build().await.unwrap()
}

async fn write(world: &World, count: usize) {
    let producer = world.client().await.producer().build().await.unwrap();
    for partition in 0..6 {
        for _ in 0..count {
            producer.send(Record::to("orders").partition(partition).value("v")).await.unwrap();
        }
    }
}

#[test]
fn a_member_that_was_stopped_past_its_session_hears_of_it_once_and_commits_nothing() {
    run(1, async |world| {
        write(&world, 2).await;
        let (process, told) = (Stoppable::default(), Told::default());
        let mut zombie = member(&world, process.clone(), told.clone()).await;
        let mut held = Vec::new();
        while held.len() < 6 {
            held.extend(zombie.next().await.unwrap());
        }
        process.stop();
        let mut heir = member(&world, Stoppable::default(), Told::default()).await;
        while heir.control().assignment().len() < 6 {
            sleep(Duration::from_millis(100)).await;
        }
        let mut read = BTreeSet::new();
        while read.len() < 12 {
            let record = heir.next().await.unwrap().unwrap();
            heir.commit(&record).await.unwrap();
            read.insert((record.partition(), record.offset()));
        }

        // It does not know yet, and commits what it has.
        let control = zombie.control().clone();
        let held_by_zombie = held;
        let committing = tokio::spawn(process.wrap(async move {
            let mut refused = Vec::new();
            for record in &held_by_zombie {
                refused.push(control.commit(record).await.unwrap_err().kind());
            }
            refused
        }));
        process.go_on();
        assert_eq!(committing.await.unwrap(), [ErrorKind::PartitionLost; 6]);
        let reading = tokio::spawn(process.wrap(async move {
            let _ = zombie.next().await;
        }));
        sleep(3 * SESSION).await;
        assert_eq!(told.0.lock().unwrap().iter().filter(|word| **word == "lost").count(), 1, "{:?}", told.0);
        assert!(!told.0.lock().unwrap().contains(&"revoked") || told.0.lock().unwrap()[..2] == ["assigned", "lost"]);
        for partition in 0..6 {
            assert_eq!(world.cluster.group(GROUP).committed("orders", partition), Some(2), "the heir's");
        }
        reading.abort();
    });
}

#[test]
fn while_the_coordinator_is_gone_reading_goes_on_and_heartbeats_resume_within_a_second_of_the_new_one() {
    run(1, async |world| {
        write(&world, 1).await;
        let mut consumer = member(&world, Stoppable::default(), Told::default()).await;
        for _ in 0..6 {
            drop(consumer.next().await.unwrap().unwrap());
        }
        sleep(Duration::from_secs(5)).await;
        let beats = || world.cluster.journal().requests(ApiKey::HEARTBEAT);
        let coordinator = beats().last().expect("a heartbeat").broker;
        world.cluster.broker(coordinator).crash();
        let crashed = beats().last().map(|beat| beat.at).unwrap();

        // The others lead everything by now.
        write(&world, 1).await;
        for _ in 0..6 {
            drop(consumer.next().await.unwrap().unwrap());
        }
        sleep(SESSION).await;
        let found = world.cluster.journal().requests(ApiKey::FIND_COORDINATOR);
        let found = found
            .iter()
            .rfind(|request| request.at > crashed && request.broker != coordinator)
            .expect("it was looked for");
        let first =
            beats().into_iter().find(|beat| beat.broker != coordinator && beat.at >= found.at).expect("a heartbeat");
        let gap = first.at - found.at;
        eprintln!("the first heartbeat comes {gap:?} after the new coordinator was asked for");
        assert!(gap <= Duration::from_secs(1), "{gap:?}");
        assert_eq!(consumer.control().assignment().len(), 6, "and nothing moved");
    });
}
