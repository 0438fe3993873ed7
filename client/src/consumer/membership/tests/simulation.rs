//! Members and a group in virtual time, with lost requests, crashes and silence: what must hold whatever happens. Pure.

use std::collections::BTreeMap;

use proptest::arbitrary::any;
use proptest::{prop_assert_eq, proptest};

use super::group::{Answer, Group, Request};
use super::*;
use crate::consumer::assignor::Division;

/// How long things go wrong, and how long after it everything must be well.
const TROUBLE: Time = Duration::from_secs(60);
const CONVERGED: Time = Duration::from_secs(100);
const END: Time = Duration::from_secs(150);

const STRATEGIES: [&str; 2] = ["range", "cooperative-sticky"];

/// What happens to the member of one application, which is named by a number that is never used again.
enum Event {
    Arrives(Request, u64),
    Found(bool),
    Answered(u64, Option<Answer>),
    Divided(i32, Division),
    Revoked(u64, Vec<TopicPartition>),
    /// The application holds a record from now on and does not read, or reads again.
    Holds,
    Reads,
    /// Something that happens to the application.
    Crashes,
    Closes,
}

#[derive(Clone, Copy)]
enum Waits {
    Join(u64),
    Sync(u64),
    Beat(u64),
    Leave,
}

struct Client {
    member: Membership,
    application: Application,
    /// With the generation that gave them.
    owned: (i32, Vec<TopicPartition>),
    /// Counts revocations.
    revocations: u64,
    closing: bool,
}

struct World {
    now: Time,
    entropy: Entropy,
    group: Group,
    clients: BTreeMap<u64, Client>,
    events: BTreeMap<(Time, u64), (u64, Event)>,
    /// Who waits for an answer, and to what.
    tickets: BTreeMap<u64, (u64, Waits)>,
    numbers: u64,
    view: ClusterView,
    strategies: Vec<Strategy>,
}

impl World {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn in_trouble(&self) -> bool {
        self.now < TROUBLE
    }

    /// With a chance of one in `n`, while things go wrong.
    fn goes_wrong(&mut self, n: usize) -> bool {
        self.in_trouble() && self.entropy.below(n) == 0
    }

    fn within(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.entropy.fraction()) + MS
    }

    fn schedule(&mut self, after: Duration, who: u64, event: Event) {
        let number = self.number();
        self.events.insert((self.now + after, number), (who, event));
    }

    fn start_client(&mut self) {
        let who = self.number();
        let settings = MembershipSettings {
            session_timeout: 6000 * MS,
            rebalance_timeout: 10_000 * MS,
            heartbeat_interval: 1000 * MS,
            request_timeout: 5000 * MS,
            strategies: self.strategies.clone(),
            ..settings()
        };
        let member = Membership::new(settings, Some(topics(["t"])), self.entropy.fork());
        let application = Application { reads: 1, reading: true, holding: false, progress: self.now };
        let client = Client { member, application, owned: (-1, Vec::new()), revocations: 0, closing: false };
        self.clients.insert(who, client);
    }

    /// On its way to the group, or lost.
    fn send(&mut self, who: u64, waits: Waits, request: Request) {
        let ticket = self.number();
        self.tickets.insert(ticket, (who, waits));
        let delay = self.within(50 * MS);
        let event = match self.goes_wrong(10) {
            true => Event::Answered(ticket, None),
            false => Event::Arrives(request, ticket),
        };
        self.schedule(delay, who, event);
    }

    fn act(&mut self, who: u64, action: Action) {
        let now = self.now;
        match action {
            Action::FindCoordinator { .. } => {
                let (delay, found) = (self.within(50 * MS), !self.goes_wrong(5));
                self.schedule(delay, who, Event::Found(found));
            }
            Action::Join { request, attempt, .. } => self.send(who, Waits::Join(attempt), Request::Join(request)),
            Action::Sync { request, attempt, .. } => self.send(who, Waits::Sync(attempt), Request::Sync(request)),
            Action::Heartbeat { request, number, .. } => {
                self.send(who, Waits::Beat(number), Request::Heartbeat(request));
            }
            Action::Leave { request, .. } => self.send(who, Waits::Leave, Request::Leave(request)),
            Action::Divide { generation, division } => {
                let delay = self.within(if self.in_trouble() { 8000 * MS } else { 500 * MS });
                self.schedule(delay, who, Event::Divided(generation, division));
            }
            Action::Revoke { partitions, deadline, .. } => {
                let left = deadline.saturating_sub(now);
                let delay = if self.goes_wrong(3) { left } else { self.within(500 * MS).min(left) };
                let client = self.clients.get_mut(&who).unwrap();
                assert!(partitions.iter().all(|gone| client.owned.1.contains(gone)), "what is revoked is owned");
                client.revocations += 1;
                let revocation = client.revocations;
                self.schedule(delay, who, Event::Revoked(revocation, partitions));
            }
            Action::Assigned { generation, partitions, .. } => {
                for other in self.clients.values().filter(|other| other.owned.0 == generation) {
                    let twice = partitions.iter().find(|partition| other.owned.1.contains(partition));
                    assert_eq!(twice, None, "owned twice in generation {generation}");
                }
                let client = self.clients.get_mut(&who).unwrap();
                let twice = partitions.iter().find(|partition| client.owned.1.contains(partition));
                assert_eq!(twice, None, "still owned");
                client.owned.0 = generation;
                client.owned.1.extend(partitions);
                client.owned.1.sort();
                client.member.on_view(&self.view, now);
            }
            Action::Lost { partitions, .. } => {
                let client = self.clients.get_mut(&who).unwrap();
                assert_eq!(partitions, client.owned.1, "what is lost is what is owned");
                client.owned.1.clear();
                client.revocations += 1;
            }
            Action::Stalled { .. } => {
                let delay = self.within(5000 * MS);
                self.schedule(delay, who, Event::Reads);
            }
            Action::Report(error) => panic!("{error}"),
            Action::Fail(error) => panic!("{error}"),
        }
    }

    fn happen(&mut self, who: u64, event: Event) {
        let now = self.now;
        if let Event::Arrives(request, ticket) = event {
            // What is on its way arrives, even if its sender is dead by then.
            return self.group.submit(ticket, request, now);
        }
        let lost = self.goes_wrong(10);
        let Some(client) = self.clients.get_mut(&who) else { return };
        let broken = || Error::new(ErrorKind::Transport, "lost");
        match event {
            Event::Arrives(..) => {}
            Event::Found(found) => client.member.on_coordinator(if found { Ok(1) } else { Err(broken()) }, now),
            Event::Answered(ticket, answer) => {
                let (_, waits) = self.tickets.remove(&ticket).unwrap();
                match (waits, answer.filter(|_| !lost)) {
                    (Waits::Join(attempt), Some(Answer::Join(answer))) => {
                        client.member.on_join(attempt, Ok(answer), now);
                    }
                    (Waits::Sync(attempt), Some(Answer::Sync(answer))) => {
                        client.member.on_sync(attempt, Ok(answer), now);
                    }
                    (Waits::Beat(number), Some(Answer::Heartbeat(code))) => {
                        client.member.on_heartbeat(number, Ok(code), now);
                    }
                    (Waits::Join(attempt), _) => client.member.on_join(attempt, Err(broken()), now),
                    (Waits::Sync(attempt), _) => client.member.on_sync(attempt, Err(broken()), now),
                    (Waits::Beat(number), _) => client.member.on_heartbeat(number, Err(broken()), now),
                    (Waits::Leave, _) => {}
                }
            }
            Event::Divided(generation, division) => {
                let topics = Topics::of(&self.view, division.topics(), division.uses_racks());
                let outcome = division.run(&topics);
                client.member.on_divided(generation, topics, outcome, now);
            }
            Event::Revoked(revocation, partitions) => {
                if client.revocations == revocation {
                    client.owned.1.retain(|owned| !partitions.contains(owned));
                    client.member.on_revoked(now);
                }
            }
            Event::Holds => {
                client.application = Application { reading: false, holding: true, progress: now, ..client.application }
            }
            Event::Reads => {
                let reads = client.application.reads + 1;
                client.application = Application { reads, reading: true, holding: false, progress: now };
            }
            Event::Crashes => {
                self.clients.remove(&who);
            }
            Event::Closes => {
                client.closing = true;
                client.member.close(Departure::Usual, now + 3000 * MS);
            }
        }
    }

    /// Everybody does what there is to do.
    fn settle(&mut self) {
        for who in self.clients.keys().copied().collect::<Vec<_>>() {
            while let Some(client) = self.clients.get_mut(&who) {
                client.member.on_application(client.application, self.now);
                let Some(action) = client.member.next_action(self.now) else {
                    assert!(client.member.next_deadline().is_none_or(|at| at > self.now), "it would spin");
                    break;
                };
                self.act(who, action);
            }
        }
        self.clients.retain(|_, client| !client.closing || !client.member.is_over());
        self.group.poll(self.now);
        for (ticket, answer) in std::mem::take(&mut self.group.answers) {
            let (who, _) = self.tickets[&ticket];
            let delay = self.within(50 * MS);
            self.schedule(delay, who, Event::Answered(ticket, Some(answer)));
        }
    }

    fn run_until(&mut self, end: Time) {
        while self.now < end {
            self.settle();
            let events = self.events.keys().next().map(|(at, _)| *at);
            let deadlines = self.clients.values().filter_map(|client| client.member.next_deadline());
            let next = deadlines.chain(events).chain(self.group.next_deadline()).min().unwrap_or(end);
            self.now = next.max(self.now).min(end);
            while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (who, event) = entry.remove();
                self.happen(who, event);
            }
        }
        self.settle();
    }

    fn grow(&mut self, partitions: i32) {
        self.view = view("t", partitions);
        let (view, now) = (&self.view, self.now);
        self.clients.values_mut().for_each(|client| client.member.on_view(view, now));
    }

    /// Everything that is owned, and in which generations.
    fn owned(&self) -> (Vec<TopicPartition>, BTreeSet<i32>) {
        let mut all: Vec<_> = self.clients.values().flat_map(|client| client.owned.1.clone()).collect();
        all.sort();
        let identity = |client: &Client| client.member.identity().map(|identity| identity.generation);
        (all, self.clients.values().map(|client| identity(client).unwrap_or(-1)).collect())
    }
}

fn world(strategy: &str, seed: u64, clients: usize) -> World {
    let mut world = World {
        now: Time::ZERO,
        entropy: Entropy::from_seed(seed),
        group: Group::new(),
        clients: BTreeMap::new(),
        events: BTreeMap::new(),
        tickets: BTreeMap::new(),
        numbers: 0,
        view: view("t", 4),
        strategies: choose(&[strategy], &[]).unwrap(),
    };
    (0..clients).for_each(|_| world.start_client());
    world
}

proptest! {
    /// No two live owners of a partition in one generation; nothing is owned twice in a row without an end in between; and when
    /// nothing goes wrong any more, one generation stands and everything is owned once.
    #[test]
    fn members_agree_whatever_happens(seed in any::<u64>(), clients in 1usize..=5, strategy in 0usize..2) {
        let mut world = world(STRATEGIES[strategy], seed, clients);
        while world.in_trouble() {
            let step = world.within(4000 * MS);
            world.run_until((world.now + step).min(TROUBLE));
            let victims: Vec<_> = world.clients.keys().copied().collect();
            let victim = victims[world.entropy.below(victims.len())];
            let event = match world.entropy.below(6) {
                0 => Event::Crashes,
                1 => Event::Closes,
                2 => Event::Holds,
                3 => Event::Reads,
                4 => { let partitions = 2 + world.entropy.below(6) as i32; world.grow(partitions.max(4)); continue }
                _ => continue,
            };
            if matches!(event, Event::Crashes | Event::Closes) {
                world.start_client();
            }
            world.happen(victim, event);
        }
        world.clients.keys().copied().collect::<Vec<_>>().into_iter().for_each(|who| world.happen(who, Event::Reads));
        world.grow(5);
        world.run_until(CONVERGED);
        let (owned, generations) = world.owned();
        prop_assert_eq!(&owned, &t(&[0, 1, 2, 3, 4]));
        prop_assert_eq!(generations, BTreeSet::from([world.group.generation]));
        let before = world.group.generation;
        world.run_until(END);
        prop_assert_eq!(world.owned(), (owned, BTreeSet::from([before])));
    }

    /// One seed, one history.
    #[test]
    fn the_same_seed_gives_the_same_history(seed in any::<u64>()) {
        let [mut first, mut second] = [world("cooperative-sticky", seed, 3), world("cooperative-sticky", seed, 3)];
        first.run_until(TROUBLE);
        second.run_until(TROUBLE);
        prop_assert_eq!((first.numbers, first.owned()), (second.numbers, second.owned()));
    }
}

#[test]
fn a_quiet_group_forms_one_generation_per_change() {
    let mut world = world("range", 1, 3);
    world.now = TROUBLE;
    world.run_until(TROUBLE + 5000 * MS);
    let formed = world.group.generation;
    assert!(formed <= 3, "{formed}");
    assert_eq!(world.owned(), (t(&[0, 1, 2, 3]), BTreeSet::from([formed])));

    let who = *world.clients.keys().next().unwrap();
    world.happen(who, Event::Closes);
    world.run_until(TROUBLE + 10_000 * MS);
    assert_eq!(world.owned(), (t(&[0, 1, 2, 3]), BTreeSet::from([formed + 1])));

    let who = *world.clients.keys().next().unwrap();
    world.happen(who, Event::Crashes);
    world.run_until(TROUBLE + 20_000 * MS);
    assert_eq!(world.owned(), (t(&[0, 1, 2, 3]), BTreeSet::from([formed + 2])));
}

#[test]
fn cooperative_members_that_stay_keep_what_stays_with_them() {
    let mut world = world("cooperative-sticky", 1, 2);
    world.now = TROUBLE;
    world.run_until(TROUBLE + 5000 * MS);
    let kept: BTreeMap<u64, Vec<TopicPartition>> =
        world.clients.iter().map(|(who, client)| (*who, client.owned.1.clone())).collect();
    let formed = world.group.generation;
    let revocations = |world: &World| world.clients.values().map(|client| client.revocations).sum::<u64>();
    let before = revocations(&world);

    world.start_client();
    world.run_until(TROUBLE + 10_000 * MS);
    let moved: usize = kept
        .iter()
        .map(|(who, kept)| kept.iter().filter(|partition| !world.clients[who].owned.1.contains(partition)).count())
        .sum();
    assert_eq!((moved, revocations(&world) - before), (1, 1), "four partitions, three members");
    assert_eq!(world.owned(), (t(&[0, 1, 2, 3]), BTreeSet::from([formed + 2])), "one generation to ask, one to give");
}
