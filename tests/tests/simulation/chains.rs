//! Three groups in a chain: each reads a topic and writes the next one, while members join, leave and die. Every key arrives at
//! each level, in order but for what is read again.

use std::collections::BTreeMap;
use std::time::Duration;

use milena::{CommitPolicy, Record};
use milena_mock_broker::Topic;
use tokio::time::sleep;

use crate::members::{Log, Manner, Member};
use crate::trouble::Trouble;
use crate::world::{World, for_each_seed};

/// What each group is called, what it reads, and what it writes.
const LEVELS: [(&str, &str, Option<&str>); 3] =
    [("one", "a", Some("b")), ("two", "b", Some("c")), ("three", "c", None)];
const KEYS: usize = 20;
const OF_A_KEY: usize = 30;
const MOST_MEMBERS: usize = 3;
const STRATEGIES: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];

struct Level {
    log: Log,
    manner: Manner,
    members: Vec<Member>,
}

impl Level {
    async fn join(&mut self, world: &mut World, next: &mut usize) {
        self.members.push(Member::join(world, &self.log, *next, self.manner.clone()).await);
        *next += 1;
    }
}

/// How many records there were to read, and how many were read again, over all levels.
async fn chain(mut world: World) -> (usize, usize) {
    for topic in ["a", "b", "c"] {
        world.cluster.create_topic(Topic::new(topic).partitions(6));
    }
    let producer = world.client().await.producer().build().await.unwrap();
    let policies = [CommitPolicy::Acked, CommitPolicy::Returned, CommitPolicy::Manual];
    let policy = policies[world.seed() as usize % policies.len()];
    let strategy = STRATEGIES[world.random.below(4) as usize];
    let (mut levels, mut next) = (Vec::new(), 0);
    for (group, topic, to) in LEVELS {
        let manner = Manner { to, ..Manner::new(policy, strategy, Duration::from_millis(300)) };
        let mut level = Level { log: Log::of(&world, group, topic), manner, members: Vec::new() };
        level.join(&mut world, &mut next).await;
        levels.push(level);
    }
    let mut trouble = (world.random.below(2) == 0).then(Trouble::of_groups);
    for number in 0..KEYS * OF_A_KEY {
        let (key, value) = (format!("key-{}", number % KEYS), format!("{}", number / KEYS));
        let record = Record::to("a").key(&key).value(&value);
        producer.enqueue(record).await.unwrap().detach();
        sleep(Duration::from_millis(world.random.below(100))).await;
        if number % 20 == 0 {
            // Who leaves waits for brokers, and no record may grow too old meanwhile.
            if let Some(trouble) = &mut trouble {
                std::mem::replace(trouble, Trouble::of_groups()).end(&world);
            }
            let level = &mut levels[world.random.below(3) as usize];
            let count = level.members.len();
            match world.random.below(4) {
                0 if count > 1 => level.members.remove(world.random.below(count as u64) as usize).close().await,
                1 => {
                    let dies = level.members.remove(world.random.below(count as u64) as usize);
                    dies.die();
                    level.join(&mut world, &mut next).await;
                }
                _ if count < MOST_MEMBERS => level.join(&mut world, &mut next).await,
                _ => {}
            }
        }
        if let Some(trouble) = &mut trouble {
            trouble.next(&mut world);
        }
    }
    if let Some(trouble) = trouble {
        trouble.end(&world);
    }
    producer.flush().await.unwrap();
    let (mut delivered, mut repeated) = (0, 0);
    for level in &levels {
        level.log.done().await;
    }
    for level in levels {
        for member in level.members {
            member.close().await;
        }
        let figures = level.log.check();
        (delivered, repeated) = (delivered + figures.delivered, repeated + figures.repeated);
    }
    for topic in ["a", "b", "c"] {
        arrive_in_order(&world, topic);
    }
    (delivered, repeated)
}

/// Of each key there are all values, and the first time that each is there is after the first time of the one before.
fn arrive_in_order(world: &World, topic: &str) {
    let mut reached: BTreeMap<String, usize> = BTreeMap::new();
    for partition in 0..6 {
        for record in world.cluster.partition(topic, partition).records() {
            let text = |bytes: Option<bytes::Bytes>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
            let (key, value) = (text(record.key), text(record.value));
            let number: usize = value.parse().unwrap();
            let reached = reached.entry(key).or_default();
            assert!(number <= *reached, "{topic}-{partition}: {number} of a key comes before {reached}");
            *reached = (*reached).max(number + 1);
        }
    }
    assert_eq!(reached.len(), KEYS, "{topic}");
    assert!(reached.values().all(|reached| *reached == OF_A_KEY), "{topic}: {reached:?}");
}

#[test]
fn every_key_goes_through_a_chain_of_groups_in_order_whoever_comes_and_goes() {
    let (mut delivered, mut repeated) = (0, 0);
    for_each_seed(9, chain, |(of, again)| (delivered, repeated) = (delivered + of, repeated + again));
    eprintln!("three groups in a chain: {repeated} of {delivered} records were read again");
}
