//! The same groups, divided by Kafka's Java client (`tests/interop/assignors/Groups.java` tells the format). Pure.
//!
//! `range` and `roundrobin` must come to the same division. The sticky ones need not: nobody else depends on it. They must be as
//! even and move no more. Some groups Java's sticky assignors do not divide: they fail, give a partition twice, or leave
//! partitions with members that are not subscribed to them. And if two members claim a partition they drop both claims, even if
//! one is out of date. There is nothing to compare with then.

use super::*;

const SAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/groups.txt"));

struct Group {
    members: Vec<Joining>,
    topics: Topics,
    /// By the name of the strategy; nothing if Java failed.
    results: BTreeMap<String, Option<Shares>>,
}

fn letter(index: usize) -> String {
    char::from(b'a' + index as u8).to_string()
}

fn given(word: &str) -> Option<String> {
    (word != "-").then(|| word.to_owned())
}

impl Group {
    fn read(text: &str) -> Self {
        let (mut members, mut results) = (Vec::new(), Vec::new());
        let (mut sizes, mut racks) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["m", instance, rack, generation, topics, owned] => {
                    let owned = given(owned).unwrap_or_default();
                    let owned = owned.split(';').filter(|owned| !owned.is_empty()).flat_map(|owned| {
                        let (topic, numbers) = owned.split_at(1);
                        numbers.split(',').map(move |number| (topic, number.parse::<i32>().unwrap()).into())
                    });
                    members.push(Joining {
                        id: format!("m{}", letter(members.len())),
                        instance_id: given(instance),
                        rack: given(rack),
                        topics: given(topics).unwrap_or_default().chars().map(|t| t.to_string().into()).collect(),
                        owned: owned.collect(),
                        generation: given(generation).map(|generation| generation.parse().unwrap()),
                    });
                }
                ["t", partitions, replicas] => {
                    let replicas = given(replicas).unwrap_or_default();
                    racks.extend(replicas.split(',').zip(0..).map(|(racks, p)| (sizes.len(), p, racks.to_owned())));
                    sizes.push(partitions.parse::<i32>().unwrap());
                }
                [name, ref words @ ..] => {
                    results.push((name.to_owned(), (words != ["!"]).then(|| shares_of(words, members.len()))));
                }
                [] => {}
            }
        }
        let wanted = |topic: &usize| members.iter().any(|member| member.topics.contains(&letter(*topic).into()));
        let existing = (0..sizes.len()).filter(|topic| sizes[*topic] > 0 && wanted(topic));
        let mut topics = Topics::new(existing.map(|topic| (letter(topic), sizes[topic])));
        for (topic, partition, racks) in racks {
            topics = topics.with_racks(&(letter(topic), partition).into(), racks.chars().map(|rack| rack.to_string()));
        }
        Self { members, topics, results: results.into_iter().collect() }
    }

    /// What Java came to, if there is anything to compare with.
    fn java(&self, name: &str) -> Option<&Shares> {
        let mut claims: Vec<_> = self.members.iter().flat_map(|member| &member.owned).collect();
        claims.sort_unstable();
        let contested = claims.windows(2).any(|pair| pair[0] == pair[1]);
        self.results.get(name)?.as_ref().filter(|_| !contested && self.is_division(self.results["planned"].as_ref()))
    }

    fn is_division(&self, shares: Option<&Shares>) -> bool {
        let fits = |(member, share): (&Joining, &Vec<TopicPartition>)| {
            share.iter().all(|partition| member.topics.contains(partition.topic_name()))
        };
        shares.is_some_and(|shares| {
            let given: usize = shares.iter().map(Vec::len).sum();
            given == self.topics.all_partitions().count() && self.members.iter().zip(shares).all(fits)
        })
    }

    /// How many partitions went away from who had them, without need: from members that are subscribed, and in a rack with
    /// replicas. Java's members of `sticky` do not say what they had if they have no generation.
    fn moves(&self, shares: &Shares, eager: bool) -> usize {
        let moves = |(member, share): (&Joining, &Vec<TopicPartition>)| {
            let stays = |partition: &&TopicPartition| {
                let racks = self.topics.racks(partition);
                let near = |rack: &String| racks.iter().any(|replica| **replica == **rack);
                let exists =
                    self.topics.partitions(partition.topic()).is_some_and(|count| partition.partition() < count);
                exists
                    && member.topics.contains(partition.topic_name())
                    && (racks.is_empty() || member.rack.as_ref().is_none_or(near))
                    && !(eager && member.generation.is_none())
            };
            member.owned.iter().filter(stays).filter(|partition| share.binary_search(partition).is_err()).count()
        };
        self.members.iter().zip(shares).map(moves).sum()
    }
}

/// What one line says each member gets.
fn shares_of(words: &[&str], members: usize) -> Shares {
    let mut shares = vec![Vec::new(); members];
    for (topic, word) in words.iter().enumerate() {
        for (partition, member) in (0..).zip(word.bytes()).filter(|(_, member)| member.is_ascii_lowercase()) {
            shares[usize::from(member - b'a')].push((letter(topic), partition).into());
        }
    }
    shares
}

/// How uneven it is, in two measures: squares of the loads, and Java's own, the differences between any two.
fn unevenness(shares: &Shares) -> [usize; 2] {
    let loads: Vec<usize> = shares.iter().map(Vec::len).collect();
    let differences = loads.iter().flat_map(|load| loads.iter().map(|other| load.abs_diff(*other)));
    [loads.iter().map(|load| load * load).sum(), differences.sum()]
}

/// How many groups there are.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Java divides them.
    comparable: usize,
    /// By cooperative-sticky more moves than by Java's, and it is more even. Java's divisions of such groups are divided anew when
    /// the partitions have been given up, or ours would be.
    more_moves: usize,
}

fn compare(text: &str) -> Counts {
    let mut counts = Counts::default();
    for text in text.split("\n\n").filter(|text| !text.trim().is_empty()) {
        let group = Group::read(text);
        let no_worse =
            |ours: &Shares, java: &Shares| (0..2).all(|measure| unevenness(ours)[measure] <= unevenness(java)[measure]);
        for assignor in [&Range as &dyn Assignor, &RoundRobin] {
            let ours = shares(assignor, &group.members, &group.topics);
            assert_eq!(Some(&ours), group.results[assignor.name()].as_ref(), "{}\n{text}", assignor.name());
        }
        counts.all += 1;
        let ours = shares(&Sticky, &group.members, &group.topics);
        if let Some(java) = group.java("sticky") {
            assert!(no_worse(&ours, java), "{ours:?}\n{text}");
            assert!(group.moves(&ours, true) <= group.moves(java, true), "{ours:?}\n{text}");
        }
        let first = shares(&CooperativeSticky, &group.members, &group.topics);
        let settled = shares(&CooperativeSticky, &after(&group.members, &first), &group.topics);
        assert!(group.is_division(Some(&settled)), "{first:?} then {settled:?}\n{text}");
        if let (Some(planned), Some(java)) = (group.java("planned"), group.java("cooperative")) {
            counts.comparable += 1;
            assert!(no_worse(&settled, planned), "{settled:?}\n{text}");
            if group.moves(&first, false) > group.moves(java, false) {
                assert!(unevenness(&settled)[0] < unevenness(planned)[0], "{settled:?}\n{text}");
                counts.more_moves += 1;
            }
        }
    }
    counts
}

#[test]
#[allow(clippy::print_stdout, reason = "figures for those who run many groups")]
fn groups_are_divided_as_kafkas_java_client_divides_them() {
    let text = match std::env::var_os("MILENA_ASSIGNOR_GROUPS") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => SAMPLE.to_owned(),
    };
    let counts = compare(&text);

    println!("{counts:?}");
    assert!(counts.all >= 500 && counts.comparable * 10 >= counts.all * 8, "{counts:?}");
    assert!(counts.more_moves <= 1 + counts.comparable / 500, "{counts:?}");
}
