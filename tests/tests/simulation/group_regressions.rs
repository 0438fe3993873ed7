//! What once went wrong with the members of a group, each as the shortest way there.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milena::{ApiKey, CommitPolicy, Consumer, ConsumerBuilder, ErrorCode, Rebalance, RebalanceListener, Record};
use milena_mock_broker::Fault;
use tokio::time::{sleep, timeout};

use crate::members::GROUP;
use crate::process::Process;
use crate::world::{World, dropped_after, run};

const SOON: Duration = Duration::from_secs(60);

/// What the listener was told, and how long it takes for that.
#[derive(Clone, Default)]
struct Told {
    said: Arc<Mutex<Vec<String>>>,
    never_takes_over: bool,
    gives_up_in: Duration,
}

impl Told {
    fn note(&self, what: &str, rebalance: &Rebalance<'_>) {
        self.said.lock().unwrap().push(format!("{what} {} {:?}", rebalance.partitions.len(), rebalance.reason));
    }

    fn all(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }
}

#[async_trait::async_trait]
impl RebalanceListener for Told {
    async fn assigned(&self, rebalance: &Rebalance<'_>) {
        self.note("assigned", rebalance);
        if self.never_takes_over {
            pending().await
        }
    }

    async fn revoked(&self, rebalance: &Rebalance<'_>) {
        self.note("revoked", rebalance);
        if !self.gives_up_in.is_zero() {
            sleep(self.gives_up_in).await;
        }
    }

    async fn lost(&self, rebalance: &Rebalance<'_>) {
        self.note("lost", rebalance);
    }
}

async fn member(world: &World) -> ConsumerBuilder {
    world.client().await.consumer(GROUP).subscribe(["orders"]).commit_policy(CommitPolicy::Manual)
}

/// So many records into each partition.
async fn write(world: &World, count: usize) {
    let producer = world.client().await.producer().build().await.unwrap();
    for number in 0..6 * count {
        producer.send(Record::to("orders").partition((number % 6) as i32).value("v")).await.unwrap();
    }
}

async fn until_owned(consumer: &Consumer, count: usize) {
    let owned = async {
        while consumer.control().assignment().len() != count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, owned).await.unwrap_or_else(|_| panic!("{count} partitions, not {:?}", consumer.control()));
}

#[test]
fn the_time_that_a_read_waited_for_its_record_is_not_held_against_the_application() {
    run(1, async |world| {
        let told = Told::default();
        let builder = member(&world).await.max_poll_interval(Duration::from_secs(10)).on_rebalance(told.clone());
        let mut consumer = builder.build().await.unwrap();
        let (record, ()) = tokio::join!(consumer.next(), async {
            sleep(Duration::from_secs(60)).await;
            write(&world, 1).await;
        });
        let record = record.unwrap().unwrap();
        sleep(Duration::from_secs(9)).await;
        consumer.commit(&record).await.unwrap();
        assert_eq!(consumer.control().assignment().len(), 6, "it is still a member");
        assert_eq!(told.all(), ["assigned 6 Joined"]);
        // From there on it is.
        sleep(Duration::from_secs(10)).await;
        assert_eq!(told.all(), ["assigned 6 Joined", "lost 6 Stalled"]);
    });
}

#[test]
fn who_was_refused_joins_again_at_the_read_after() {
    run(1, async |world| {
        let first = member(&world).await.assignors(["range"]).build().await.unwrap();
        until_owned(&first, 6).await;
        let mut other = member(&world).await.assignors(["roundrobin"]).build().await.unwrap();
        let refused = other.next().await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL), "{refused}");
        first.close(SOON).await.unwrap();
        write(&world, 1).await;
        let record = timeout(Duration::from_secs(5), other.next()).await.expect("it joins when it reads");
        assert!(record.unwrap().is_some());
    });
}

#[test]
fn a_static_member_that_stalled_joins_again_at_the_next_read() {
    run(1, async |world| {
        write(&world, 2).await;
        let builder = member(&world).await.group_instance_id("i").max_poll_interval(Duration::from_secs(10));
        let mut consumer = builder.build().await.unwrap();
        let held = consumer.next().await.unwrap().unwrap();
        sleep(Duration::from_secs(20)).await;
        assert!(consumer.control().assignment().is_empty(), "it stalled");
        drop(held);
        let record = timeout(Duration::from_secs(5), consumer.next()).await.expect("it joins when it reads");
        assert!(record.unwrap().is_some());
    });
}

/// Three members; the eldest of them leads. One that stands still keeps the JoinGroup of the others waiting, until it goes on in the
/// middle of the closing of one of them.
async fn closed_while_join_group_waits(world: World, leads: bool) {
    write(&world, 2).await;
    let (process, told) = (Process::default(), Told { gives_up_in: Duration::from_secs(2), ..Told::default() });
    let sharing = |builder: ConsumerBuilder| {
        let builder = builder.session_timeout(Duration::from_secs(30)).heartbeat_interval(Duration::from_secs(1));
        builder.commit_policy(CommitPolicy::Acked).auto_commit_interval(Duration::from_secs(3600))
    };
    let still = || async {
        let client = world.client_on(process.clone()).await;
        process.run(sharing(client.consumer(GROUP).subscribe(["orders"])).build()).await.unwrap().unwrap()
    };
    let closing = || async { sharing(member(&world).await).on_rebalance(told.clone()).build().await.unwrap() };
    let (mut closing, still) = match leads {
        true => {
            let closing = closing().await;
            until_owned(&closing, 6).await;
            (closing, still().await)
        }
        false => {
            let still = still().await;
            until_owned(&still, 6).await;
            (closing().await, still)
        }
    };
    until_owned(&closing, 3).await;
    until_owned(&still, 3).await;
    let owned = closing.control().assignment();
    for _ in 0..6 {
        closing.next().await.unwrap().unwrap().ack();
    }
    process.stop();
    let third = sharing(member(&world).await).build().await.unwrap();
    sleep(Duration::from_secs(5)).await;

    let go_on = async {
        sleep(Duration::from_secs(1)).await;
        process.go_on();
    };
    let (closed, ()) = tokio::join!(closing.close(SOON), go_on);
    closed.unwrap();
    assert_eq!(told.all().last().unwrap(), "revoked 3 Closing");
    for partition in owned {
        let committed = world.cluster.group(GROUP).committed("orders", partition.partition());
        assert_eq!(committed, Some(2), "{partition}");
    }
    until_owned(&third, 3).await;
    until_owned(&still, 3).await;
}

#[test]
fn closing_while_join_group_waits_commits_also_in_the_generation_after() {
    for leads in [false, true] {
        run(1, async |world| closed_while_join_group_waits(world, leads).await);
    }
}

#[test]
fn a_last_commit_that_is_not_answered_leaves_time_for_join_group() {
    run(1, async |world| {
        write(&world, 1).await;
        let eager = |builder: ConsumerBuilder| {
            let builder = builder.assignors(["range"]).heartbeat_interval(Duration::from_secs(1));
            builder.commit_policy(CommitPolicy::Returned).max_poll_interval(Duration::from_secs(30))
        };
        let told = Told::default();
        let builder = eager(member(&world).await).auto_commit_interval(Duration::from_secs(3600));
        let mut first = builder.on_rebalance(told.clone()).build().await.unwrap();
        let mut held = Vec::new();
        while held.len() < 6 {
            held.extend(first.next().await.unwrap());
        }
        // All but one are done. A read waits all the time, so that nobody can call the application idle.
        held.truncate(1);
        let reading = tokio::spawn(async move { first.next().await.map(drop) });
        let silent = world.cluster.fault(Fault::on(ApiKey::OFFSET_COMMIT).always().delay(Duration::from_secs(20)));
        let second = eager(member(&world).await).build().await.unwrap();
        let told_so = ["assigned 6 Joined", "revoked 6 MemberChange", "assigned 3 MemberChange"];
        let again = async {
            while told.all().len() < 3 {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(SOON, again).await.expect("an assignment");
        assert_eq!(told.all(), told_so);
        until_owned(&second, 3).await;
        assert!(silent.hits() > 0);
        drop(held);
        reading.abort();
    });
}

#[test]
fn the_last_commit_is_queued_however_many_wait() {
    run(1, async |world| {
        write(&world, 1).await;
        let builder = member(&world).await.commit_policy(CommitPolicy::Acked);
        let mut consumer = builder.auto_commit_interval(Duration::from_secs(3600)).build().await.unwrap();
        let slow = world.cluster.fault(Fault::on(ApiKey::OFFSET_COMMIT).delay(Duration::from_secs(20)));
        let record = consumer.next().await.unwrap().unwrap();
        for _ in 0..2 {
            let refused = loop {
                if let Some(outcome) = dropped_after(1, consumer.commit(&record)).await {
                    break outcome.unwrap_err();
                }
            };
            assert!(refused.to_string().contains("wait already"), "{refused}");
            // The first of them begins.
            sleep(Duration::from_secs(1)).await;
        }
        record.ack();
        for _ in 1..6 {
            consumer.next().await.unwrap().unwrap().ack();
        }
        consumer.close(SOON).await.unwrap();
        for partition in 0..6 {
            assert_eq!(world.cluster.group(GROUP).committed("orders", partition), Some(1));
        }
        drop(slow);
    });
}

#[test]
fn what_is_taken_away_is_told_even_if_the_listener_has_not_taken_it_over_yet() {
    run(1, async |world| {
        let eager = |builder: ConsumerBuilder| builder.assignors(["range"]).max_poll_interval(Duration::from_secs(30));
        let told = Told { never_takes_over: true, ..Told::default() };
        let first = eager(member(&world).await).on_rebalance(told.clone()).build().await.unwrap();
        until_owned(&first, 6).await;
        let second = eager(member(&world).await).build().await.unwrap();
        until_owned(&second, 3).await;
        let told = told.all();
        assert_eq!(told[..2], ["assigned 6 Joined", "revoked 6 MemberChange"], "{told:?}");
    });
}
