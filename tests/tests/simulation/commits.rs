//! Commits at a coordinator that refuses, delays and forgets them: what is committed grows, nothing is in it that is not done, and
//! the application hears of nothing that passes.

use std::time::Duration;

use milena::{ApiKey, CommitPolicy, ErrorCode, Record};
use milena_mock_broker::Fault;
use milena_tests::checker::Figures;
use tokio::time::sleep;

use crate::members::{Log, Manner, Member, SESSION};
use crate::world::{World, for_each_seed, run};

const RECORDS: usize = 200;
const POLICIES: [CommitPolicy; 3] = [CommitPolicy::Acked, CommitPolicy::Returned, CommitPolicy::Manual];

/// Codes that pass by themselves: the application must not hear of them.
const PASSING: [ErrorCode; 6] = [
    ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ErrorCode::COORDINATOR_NOT_AVAILABLE,
    ErrorCode::NOT_COORDINATOR,
    ErrorCode::REQUEST_TIMED_OUT,
    ErrorCode::REBALANCE_IN_PROGRESS,
    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
];
/// Codes after which the partitions are another's, as far as the member knows.
const FATAL: [ErrorCode; 2] = [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID];

async fn write(world: &mut World, count: usize) {
    let producer = world.client().await.producer().build().await.unwrap();
    for number in 0..count {
        let (key, value) = (format!("key-{}", number % 20), format!("{number}"));
        producer.enqueue(Record::to("orders").key(&key).value(&value)).await.unwrap().detach();
        sleep(Duration::from_millis(world.random.below(40))).await;
    }
    producer.flush().await.unwrap();
}

/// Two members read while commits go wrong in ways that pass, or `fatal` ones too. How often partitions were lost.
async fn scenario(mut world: World, fatal: bool) -> (usize, Figures) {
    let log = Log::new(&world);
    let policy = POLICIES[world.seed() as usize % POLICIES.len()];
    let mut codes = PASSING.to_vec();
    codes.extend(FATAL.iter().filter(|_| fatal));
    let on_commit = |probability| Fault::on(ApiKey::OFFSET_COMMIT).probability(probability);
    let mut faults: Vec<_> =
        codes.iter().map(|code| world.cluster.fault(on_commit(0.06).error(*code)).optional()).collect();
    // Shorter than a request may take: the broker has forgotten none of them when the client tries again.
    let late = Duration::from_millis(500 + world.random.below(20_000));
    let others = [
        on_commit(0.05).apply_then_disconnect(),
        on_commit(0.05).apply_then_error(ErrorCode::REQUEST_TIMED_OUT),
        on_commit(0.05).apply_then_delay(late),
        on_commit(0.05).delay(late),
        on_commit(0.05).disconnect(),
        on_commit(0.02).never_answer(),
    ];
    faults.extend(others.map(|fault| world.cluster.fault(fault).optional()));
    let mut members = Vec::new();
    for number in 0..2 {
        let manner = Manner::new(policy, "cooperative-sticky", Duration::from_millis(300));
        members.push(Member::join(&mut world, &log, number, manner).await);
    }
    write(&mut world, RECORDS).await;
    log.done().await;
    drop(faults);
    for member in members {
        member.close().await;
    }
    (log.lost(), log.check())
}

#[test]
fn whatever_a_coordinator_answers_passes_the_application_by_and_what_is_committed_is_done() {
    for_each_seed(15, async |world| scenario(world, false).await, |(lost, _)| assert_eq!(lost, 0));
}

#[test]
fn a_member_that_is_refused_loses_its_partitions_and_what_is_committed_still_grows() {
    let (mut lost, mut repeated) = (0, 0);
    let look = |(times, figures): (usize, Figures)| (lost, repeated) = (lost + times, repeated + figures.repeated);
    for_each_seed(15, async |world| scenario(world, true).await, look);
    assert!(lost > 0, "some commit met an error that takes the partitions");
    eprintln!("partitions were lost {lost} times, and {repeated} records read again");
}

#[test]
fn a_commit_that_arrives_when_its_member_is_dead_and_replaced_changes_nothing() {
    for instance in [None, Some("twin".to_owned())] {
        for policy in POLICIES {
            run(1, async |mut world| {
                let log = Log::new(&world);
                let manner = Manner { instance: instance.clone(), ..Manner::new(policy, "range", Duration::ZERO) };
                // A static member is replaced at once, another one when its session has ended.
                let arrives = if instance.is_some() { SESSION / 2 } else { 3 * SESSION };
                let late = world.cluster.fault(Fault::on(ApiKey::OFFSET_COMMIT).delay(arrives));
                let member = Member::join(&mut world, &log, 0, manner.clone()).await;
                write(&mut world, 20).await;
                late.hit().await;
                member.die();

                let heir = Member::join(&mut world, &log, 1, manner).await;
                write(&mut world, 20).await;
                log.done().await;
                for _ in 0..100 {
                    sleep(arrives / 50).await;
                    log.look();
                }
                heir.close().await;
                log.check();
                assert!(log.is_done(), "nothing went back");
            });
        }
    }
}
