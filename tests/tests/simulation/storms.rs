//! A member joins, leaves or dies every two seconds, for two minutes: one owner of a partition at a time, nothing skipped, nothing
//! delivered after its revocation, commits that never go back and never pass what was read, and all read in the end.

use std::time::Duration;

use milena::{CommitPolicy, Record};
use tokio::time::{Instant, sleep};

use crate::members::{GROUP, Log, Manner, Member, SESSION};
use crate::world::{World, run};

const EVERY: Duration = Duration::from_secs(2);
const STEPS: usize = 60;
const RECORDS_A_STEP: usize = 40;
const MOST_MEMBERS: usize = 5;

/// How many records were read more than once, and the longest time in which nobody got a record.
async fn storm(mut world: World, strategy: &'static str, is_static: bool) -> (usize, Duration) {
    let log = Log::new(&world);
    let client = world.client().await;
    let producer = client.producer().build().await.unwrap();
    let manner = Manner::new(CommitPolicy::Acked, strategy, Duration::from_millis(50));
    let (mut next, mut written) = (0, 0);
    let mut committed = [0; 6];
    let mut look = |log: &Log, world: &World| {
        for (partition, before) in (0..).zip(&mut committed) {
            let now = world.cluster.group(GROUP).committed("orders", partition).unwrap_or(0);
            assert!(now >= *before, "the offset of partition {partition} went back from {before} to {now}");
            assert!(log.covers(partition, now), "offset {now} of partition {partition} is committed, and not all read");
            *before = now;
        }
    };
    // Static members have places that they come back to.
    let mut places: Vec<Option<Member>> = (0..MOST_MEMBERS).map(|_| None).collect();
    let (mut progress, mut stopped) = ((0, Instant::now()), Duration::ZERO);
    for step in 0..STEPS {
        let place = match step {
            0..2 => step,
            _ => world.random.below(MOST_MEMBERS as u64) as usize,
        };
        let others = places.iter().flatten().count() - usize::from(places[place].is_some());
        match places[place].take() {
            None => {
                let instance = is_static.then(|| format!("place-{place}"));
                places[place] = Some(Member::join(&mut world, &log, next, Manner { instance, ..manner.clone() }).await);
                next += 1;
            }
            Some(member) if others == 0 => places[place] = Some(member),
            Some(member) if world.random.below(4) == 0 => member.die(),
            Some(member) => member.close().await,
        }
        for _ in 0..RECORDS_A_STEP {
            let (key, value) = (format!("key-{}", written % 20), format!("{written}"));
            producer.enqueue(Record::to("orders").key(&key).value(&value)).await.unwrap().detach();
            written += 1;
            sleep(EVERY / RECORDS_A_STEP as u32).await;
            if written % 5 == 0 {
                look(&log, &world);
            }
            let read = (0..6).map(|partition| log.read(partition)).sum::<usize>();
            if read > progress.0 {
                progress = (read, Instant::now());
            }
            stopped = stopped.max(progress.1.elapsed());
        }
    }
    producer.flush().await.unwrap();
    let calm = Instant::now();
    let done = |log: &Log| (0..6).all(|partition| log.read(partition) == world.values(partition).len());
    while !done(&log) {
        assert!(calm.elapsed() < 20 * SESSION, "not all was read");
        sleep(Duration::from_millis(100)).await;
        look(&log, &world);
    }
    for member in places.into_iter().flatten() {
        member.close().await;
    }
    look(&log, &world);
    (log.check(), stopped)
}

#[test]
fn a_group_in_a_storm_of_rebalances_keeps_its_promises_by_each_strategy() {
    for strategy in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        for is_static in [false, true] {
            let (repeats, stopped) = run(7, async |world| storm(world, strategy, is_static).await);
            let kind = if is_static { "static" } else { "dynamic" };
            eprintln!(
                "{strategy}, {kind} members: {repeats} of {} records read again, at most {stopped:?} without a record",
                { STEPS * RECORDS_A_STEP }
            );
        }
    }
}
