//! Large groups: the same rules, and soon enough. Pure.

use std::time::{Duration, Instant};

use super::*;

/// Partitions and members; `MILENA_ASSIGNOR_SCALE=100000x500 cargo test --release -p milena --lib scale -- --nocapture` shows how
/// long those take.
fn size() -> (usize, usize) {
    let given = std::env::var("MILENA_ASSIGNOR_SCALE").unwrap_or_else(|_| "6000x60".to_owned());
    let (partitions, members) = given.split_once('x').unwrap();
    (partitions.parse().unwrap(), members.parse().unwrap())
}

#[allow(clippy::disallowed_methods, reason = "a figure for a person; what is asserted is far above it")]
fn now() -> Instant {
    Instant::now()
}

/// A release build divides a hundred thousand partitions in a tenth of a second; this is for the slowest of machines.
const ENOUGH: Duration = Duration::from_secs(60);

/// Two hundred topics. Everybody comes; then nine of ten leave; then those come back, and know nothing.
#[allow(clippy::print_stdout, reason = "figures for a person")]
fn run(what: &str, wants: impl Fn(usize, usize) -> bool) {
    let (partitions, members) = size();
    let topics: Vec<String> = (0..200).map(|topic| format!("t{topic:03}")).collect();
    let all = Topics::new(topics.iter().map(|topic| (topic.as_str(), (partitions / 200) as i32)));
    for assignor in STICKY {
        let mut group = Run::new(assignor, all.clone());
        let join = |group: &mut Run, member: usize| {
            let some: Vec<&str> = (0..200).filter(|t| wants(member, *t)).map(|topic| topics[topic].as_str()).collect();
            group.own(&format!("c{member:04}"), &some.join(" "), -1, "");
        };
        (0..members).for_each(|member| join(&mut group, member));
        let divide = |group: &mut Run, step: &str| {
            let before = group.holders();
            let begun = now();
            let shares = shares(assignor, &group.members, &group.topics);
            let took = begun.elapsed();
            group.members = after(&group.members, &shares);
            let moved = group.lost(&before);
            println!("{} {what}, {step}: {took:?}, {moved} moved", assignor.name());
            assert!(took < ENOUGH, "{took:?}");
        };
        divide(&mut group, "all come");
        let some = || (0..members).filter(|member| member % 10 > 0);
        some().for_each(|member| drop(group.take(&format!("c{member:04}"))));
        divide(&mut group, "most leave");
        some().for_each(|member| join(&mut group, member));
        divide(&mut group, "they come back");
        divide(&mut group, "again");
        assert!(is_even(&group.members));
    }
}

#[test]
fn large_groups_with_equal_subscriptions_are_divided_soon() {
    run("uniform", |_, _| true);
}

#[test]
fn large_groups_with_differing_subscriptions_are_divided_soon() {
    run("differing", |member, topic| (member * 31 + topic * 17 + member * topic) % 3 > 0);
}

#[test]
fn large_groups_of_teams_with_a_few_topics_each_are_divided_soon() {
    run("teams", |member, topic| topic / 5 == member % 40 || topic == member % 200);
}
