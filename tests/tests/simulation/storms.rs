//! A member joins, leaves or dies every two seconds, for two minutes: the group keeps its promises whatever the strategy, and what
//! that costs is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use milena::{CommitPolicy, Record};
use milena_mock_broker::GroupState;
use milena_tests::checker::Figures;
use tokio::time::sleep;

use crate::members::{GROUP, Log, Manner, Member};
use crate::world::{World, for_each_seed};

const EVERY: Duration = Duration::from_secs(2);
const STEPS: usize = 60;
const RECORDS_A_STEP: usize = 40;
const MOST_MEMBERS: usize = 5;

/// Who has which partition, whenever the group has come to rest.
#[derive(Default)]
struct Divisions {
    last: Option<BTreeMap<i32, String>>,
    /// How many partitions have changed hands from one rest to the next, and how many had to, if all were to have about as many.
    moved: usize,
    least: usize,
}

impl Divisions {
    fn look(&mut self, world: &World) {
        let group = world.cluster.group(GROUP);
        let (mut members, mut now) = (BTreeSet::new(), BTreeMap::new());
        for member in group.members() {
            // A static member is who it was, however often it is started.
            let name = member.instance_id.unwrap_or(member.id);
            now.extend(member.assignment.iter().map(|(_, partition)| (*partition, name.clone())));
            members.insert(name);
        }
        if group.state() != GroupState::Stable || now.len() < 6 {
            return;
        }
        if let Some(before) = self.last.replace(now.clone()) {
            self.moved += before.iter().filter(|(partition, owner)| now.get(partition) != Some(owner)).count();
            self.least += least(&before, &members);
        }
    }
}

/// How many partitions must change hands so that all members have about as many.
fn least(before: &BTreeMap<i32, String>, members: &BTreeSet<String>) -> usize {
    let count = |member| before.values().filter(|owner| *owner == member).count();
    let mut kept: Vec<usize> = members.iter().map(count).collect();
    kept.sort_unstable_by(|one, other| other.cmp(one));
    let (share, more) = (before.len() / members.len(), before.len() % members.len());
    let orphans = before.len() - kept.iter().sum::<usize>();
    let quota = |place: usize| share + usize::from(place < more);
    orphans + kept.iter().zip(0..).map(|(kept, place)| kept.saturating_sub(quota(place))).sum::<usize>()
}

async fn storm(mut world: World, manner: Manner, are_static: bool) -> (Figures, Divisions) {
    let (log, mut divisions) = (Log::new(&world), Divisions::default());
    let client = world.client().await;
    let producer = client.producer().build().await.unwrap();
    let (mut next, mut written) = (0, 0);
    // Static members have places that they come back to.
    let mut places: Vec<Option<Member>> = (0..MOST_MEMBERS).map(|_| None).collect();
    for step in 0..STEPS {
        let place = match step {
            0..2 => step,
            _ => world.random.below(MOST_MEMBERS as u64) as usize,
        };
        let others = places.iter().flatten().count() - usize::from(places[place].is_some());
        match places[place].take() {
            None => {
                let instance = are_static.then(|| format!("place-{place}"));
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
            log.look();
        }
        divisions.look(&world);
    }
    producer.flush().await.unwrap();
    log.done().await;
    for member in places.into_iter().flatten() {
        member.close().await;
    }
    (log.check(), divisions)
}

const POLICIES: [CommitPolicy; 3] = [CommitPolicy::Acked, CommitPolicy::Returned, CommitPolicy::Manual];

/// As many storms of a strategy, with a commit policy each: the first one is `first`, the others follow in turn.
fn storms(count: u64, strategy: &'static str, are_static: bool, first: usize) {
    let kind = if are_static { "static" } else { "dynamic" };
    let policy_of = |seed: u64| POLICIES[(first + seed as usize) % POLICIES.len()];
    let scenario = async |world: World| {
        let policy = policy_of(world.seed());
        let (figures, divisions) =
            storm(world, Manner::new(policy, strategy, Duration::from_millis(50)), are_static).await;
        (policy, figures, divisions)
    };
    for_each_seed(count, scenario, |(policy, figures, Divisions { moved, least, .. })| {
        let Figures { delivered, repeated, longest_pause, .. } = figures;
        assert_eq!(figures.unfinished, 0, "a revocation waits for the application");
        eprintln!(
            "{strategy}, {kind} members, {policy:?}: {repeated} of {delivered} records read again, at most {longest_pause:?} \
             without a record, {moved} partitions moved where {least} had to"
        );
    });
}

#[test]
fn a_group_in_a_storm_of_rebalances_keeps_its_promises_by_range() {
    storms(3, "range", false, 0);
}

#[test]
fn a_group_in_a_storm_of_rebalances_keeps_its_promises_by_round_robin() {
    storms(3, "roundrobin", false, 0);
}

#[test]
fn a_group_in_a_storm_of_rebalances_keeps_its_promises_by_sticky() {
    storms(3, "sticky", false, 0);
}

#[test]
fn a_group_in_a_storm_of_rebalances_keeps_its_promises_by_cooperative_sticky() {
    storms(3, "cooperative-sticky", false, 0);
}

#[test]
fn static_members_in_a_storm_of_rebalances_keep_their_promises_by_each_strategy() {
    for (first, strategy) in ["range", "roundrobin", "sticky", "cooperative-sticky"].into_iter().enumerate() {
        storms(1, strategy, true, first);
    }
}
