//! Coordinators that die and move, and brokers that name a wrong one: reading goes on, nobody loses a partition, and heartbeats
//! resume at once.

use std::time::Duration;

use milena::{ApiKey, CommitPolicy, ErrorCode, Record};
use milena_mock_broker::{Fault, FaultHandle, Seen};
use milena_tests::checker::Figures;
use tokio::time::{Instant, sleep};

use crate::members::{GROUP, HEARTBEAT, Log, Manner, Member, SESSION};
use crate::world::{World, for_each_seed};

const MEMBERS: usize = 3;
const ROUNDS: usize = 4;
const AT_ONCE: Duration = Duration::from_secs(1);
/// The bits of an answer to FindCoordinator that are the lowest two of the broker's id, for a group of this name: behind the
/// correlation id, no tags, the throttle time, the number of coordinators, and the name.
const LOW_BITS_OF_ID: [usize; 2] =
    [8 * (4 + 1 + 4 + 1 + 1 + GROUP.len() + 3) + 6, 8 * (4 + 1 + 4 + 1 + 1 + GROUP.len() + 3) + 7];

/// Another coordinator, and the faults on the way to it.
type Upset = (i32, Vec<FaultHandle>);

/// Three members under a steady stream of records, while `upset` makes another broker the coordinator and says which. For each
/// round, when it did and which; what was seen of searches and heartbeats; and what the checker says.
async fn scenario(
    mut world: World,
    mut upset: impl AsyncFnMut(&mut World) -> Upset,
) -> (Vec<(Duration, i32)>, Vec<Seen>, Figures) {
    let began = Instant::now();
    let log = Log::new(&world);
    let policies = [CommitPolicy::Acked, CommitPolicy::Returned, CommitPolicy::Manual];
    let policy = policies[world.seed() as usize % policies.len()];
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        let manner = Manner::new(policy, "cooperative-sticky", Duration::from_millis(50));
        members.push(Member::join(&mut world, &log, number, manner).await);
    }
    let producer = world.client().await.producer().build().await.unwrap();
    let (mut upsets, mut faults) = (Vec::new(), Vec::new());
    for number in 0..ROUNDS * 160 {
        if number % 160 == 80 {
            drop(faults);
            let at = began.elapsed();
            let next;
            (next, faults) = upset(&mut world).await;
            upsets.push((at, next));
        }
        let (key, value) = (format!("key-{}", number % 20), format!("{number}"));
        producer.enqueue(Record::to("orders").key(&key).value(&value)).await.unwrap().detach();
        sleep(Duration::from_millis(50)).await;
        log.look();
    }
    producer.flush().await.unwrap();
    log.done().await;
    assert_eq!(log.lost(), 0, "nobody has lost anything");
    let journal = world.cluster.journal();
    let mut seen = journal.answers(ApiKey::FIND_COORDINATOR);
    seen.extend(journal.requests(ApiKey::HEARTBEAT));
    for member in members {
        member.close().await;
    }
    (upsets, seen, log.check())
}

/// For each member the time from when it was told of the new coordinator to its first heartbeat there, and from the upset to it.
fn resumed(upsets: &[(Duration, i32)], seen: &[Seen]) -> (Duration, Duration) {
    let (mut from_answer, mut from_upset) = (Duration::ZERO, Duration::ZERO);
    for &(at, coordinator) in upsets {
        for member in 0..MEMBERS {
            let name = format!("member-{member}");
            let of_member = |seen: &&Seen| seen.client_id.as_deref() == Some(name.as_str()) && seen.at >= at;
            let told = seen.iter().filter(of_member).find(|seen| seen.is_answer && named_by(seen) == Some(coordinator));
            let told = told.unwrap_or_else(|| panic!("{name} is not told of broker {coordinator} after {at:?}"));
            let is_beat = |seen: &&Seen| !seen.is_answer && seen.broker == coordinator && seen.at >= told.at;
            let beat = seen.iter().filter(of_member).find(is_beat);
            let beat = beat.unwrap_or_else(|| panic!("{name} sends no heartbeat to broker {coordinator} after {at:?}"));
            from_answer = from_answer.max(beat.at - told.at);
            from_upset = from_upset.max(beat.at - at);
        }
    }
    (from_answer, from_upset)
}

/// The broker that an answer to FindCoordinator names.
fn named_by(answer: &Seen) -> Option<i32> {
    let id = 4 + 1 + 1 + GROUP.len();
    let bytes = answer.body.get(id..id + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().unwrap()))
}

fn look(what: &str, within: Duration, upset: impl AsyncFn(&mut World) -> Upset) {
    let (mut from_answer, mut from_upset, mut pause) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for_each_seed(
        9,
        async |world| scenario(world, async |world| upset(world).await).await,
        |(upsets, seen, figures)| {
            let (answer, all) = resumed(&upsets, &seen);
            (from_answer, from_upset) = (from_answer.max(answer), from_upset.max(all));
            pause = pause.max(figures.longest_pause);
        },
    );
    eprintln!(
        "{what}: the first heartbeat comes at most {from_answer:?} after the new coordinator is named, {from_upset:?} after the old \
         one is gone; at most {pause:?} without a record"
    );
    assert!(from_answer <= within, "{from_answer:?}");
    assert!(pause < SESSION, "reading goes on: {pause:?}");
}

#[test]
fn when_the_coordinator_dies_reading_goes_on_and_heartbeats_resume_within_a_second_of_the_next_one() {
    look("a coordinator dies", AT_ONCE, async |world| {
        for broker in world.cluster.brokers() {
            if !broker.is_up() {
                broker.restart();
            }
        }
        let old = world.cluster.group(GROUP).coordinator().expect("it has one");
        world.cluster.broker(old).crash();
        (world.cluster.group(GROUP).coordinator().expect("another one, at once"), vec![])
    });
}

#[test]
fn when_brokers_name_a_wrong_coordinator_the_right_one_is_found() {
    // Who learns of it by a commit sends the next heartbeat when it is due.
    look("a coordinator moves, and wrong ones are named", HEARTBEAT + AT_ONCE, async |world| {
        let old = world.cluster.group(GROUP).coordinator().expect("it has one");
        let next = 1 + (old - 1 + 1 + world.random.below(2) as i32) % 3;
        let find = || Fault::on(ApiKey::FIND_COORDINATOR).group(GROUP).probability(0.5).times(2);
        let faults = [
            find().flip_bit(LOW_BITS_OF_ID[0]),
            find().flip_bit(LOW_BITS_OF_ID[1]),
            find().error(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            find().disconnect(),
            find().delay(HEARTBEAT / 4),
        ];
        let faults = faults.map(|fault| world.cluster.fault(fault).optional()).into();
        let loading = Duration::from_millis(world.random.below(500));
        world.cluster.group(GROUP).move_coordinator(next, loading);
        (next, faults)
    });
}
