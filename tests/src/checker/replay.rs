//! Goes through a history, event by event, with a cursor into the log for each assignment. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use milena::TopicPartition;

use super::{Event, Figures, Invariant, Report, Truth, Violation, What};

/// How many events around a violation are shown, before and after it.
const AROUND: usize = 3;

pub(super) struct Replay<'a> {
    events: &'a [Event],
    truth: &'a Truth,
    grace: Duration,
    partitions: BTreeMap<&'a TopicPartition, Partition>,
    /// The event that is looked at.
    now: usize,
    last_delivery: Option<Duration>,
    report: Report,
}

#[derive(Default)]
struct Partition {
    /// The last assignment of each member that has had one.
    leases: BTreeMap<usize, Lease>,
    last_owner: Option<usize>,
    processed: BTreeSet<i64>,
    /// Everything visible before this is processed, or was reported.
    covered: i64,
    /// What the group had when it was looked at last.
    committed: i64,
    /// The highest of it and of what members were told to be stored.
    acknowledged: i64,
    /// What was acknowledged at the last hand-over: nothing before is read again.
    floor: i64,
    /// Commits may go back as far as this: the application wants it.
    may_go_back_to: Option<i64>,
    commits: Vec<Commit>,
}

/// One uninterrupted ownership of a partition by a member.
struct Lease {
    state: State,
    /// Where its next record is looked for.
    next: i64,
    is_first: bool,
    /// What was delivered and is not processed.
    held: BTreeSet<i64>,
    /// Since when the application is not to get anything.
    closed_at: Option<Duration>,
    /// When it went on after it had stood still.
    resumed_at: Option<Duration>,
    began: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Owned,
    /// The member may not know yet that it is another's.
    Expired,
    Revoked,
    Lost,
}

/// A commit that is not answered.
struct Commit {
    member: usize,
    offset: i64,
    missing: Option<i64>,
    /// Why it must not succeed.
    trespass: Option<(Invariant, String)>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(events: &'a [Event], truth: &'a Truth, grace: Duration) -> Self {
        let report = Report { violations: Vec::new(), figures: Figures::default() };
        Self { events, truth, grace, partitions: BTreeMap::new(), now: 0, last_delivery: None, report }
    }

    pub(super) fn run(mut self) -> Report {
        for (number, event) in self.events.iter().enumerate() {
            self.now = number;
            self.on_event(event);
        }
        for (name, records) in self.truth {
            let processed = self.partitions.get(name).map(|partition| &partition.processed);
            let is_missing = |offset: &&i64| !processed.is_some_and(|processed| processed.contains(*offset));
            let missing: Vec<i64> = records.keys().filter(is_missing).copied().collect();
            if !missing.is_empty() {
                self.violate(Invariant::I14, None, name, missing, "nobody has processed them".to_owned());
            }
        }
        self.report
    }

    fn on_event(&mut self, event: &'a Event) {
        let member = event.member;
        match &event.what {
            What::Assigned(partitions) => {
                partitions.iter().for_each(|(name, committed)| self.assigned(member, name, *committed));
            }
            What::Revoking(partitions) => {
                for name in partitions {
                    if let Some(lease) = self.partition(name).leases.get_mut(&member) {
                        lease.closed_at.get_or_insert(event.at);
                    }
                }
            }
            What::Revoked(partitions) => partitions.iter().for_each(|name| self.ended(member, name, State::Revoked)),
            What::Lost(partitions) => partitions.iter().for_each(|name| self.ended(member, name, State::Lost)),
            What::SessionExpired => self.each_lease(member, |lease| match lease.state {
                State::Owned => lease.state = State::Expired,
                State::Expired | State::Revoked | State::Lost => lease.held.clear(),
            }),
            What::Resumed => self.resumed(member, event.at),
            What::Fenced => self.each_lease(member, |lease| {
                lease.state = State::Lost;
                lease.closed_at.get_or_insert(event.at);
            }),
            What::Delivered(name, offset, value) => self.delivered(member, name, *offset, value),
            What::Processed(name, offset) => {
                let partition = self.partition(name);
                partition.processed.insert(*offset);
                if let Some(lease) = partition.leases.get_mut(&member) {
                    lease.held.remove(offset);
                }
            }
            What::CommitStart { partition, offset, moves_back } => {
                self.commit_started(member, partition, *offset, *moves_back);
            }
            What::CommitOk(name, offset) => self.commit_answered(member, name, *offset, true),
            What::CommitFailed(name, offset) => self.commit_answered(member, name, *offset, false),
            What::Committed(name, offset) => self.committed(None, name, *offset),
            What::Seek(name, offset) => {
                let partition = self.partition(name);
                partition.floor = partition.floor.min(*offset);
                partition.may_go_back_to = Some(partition.may_go_back_to.map_or(*offset, |to| to.min(*offset)));
                if let Some(lease) = partition.leases.get_mut(&member) {
                    (lease.next, lease.is_first) = (*offset, false);
                }
            }
        }
    }

    fn assigned(&mut self, member: usize, name: &'a TopicPartition, committed: Option<i64>) {
        if let Some(committed) = committed {
            self.committed(Some(member), name, committed);
        }
        let (now, at, grace) = (self.now, self.events[self.now].at, self.grace);
        let partition = self.partition(name);
        let (mut claims, mut unfinished) = (Vec::new(), 0);
        for (&other, lease) in &partition.leases {
            // One that has just gone on may not have heard of it yet.
            let is_news = lease.resumed_at.is_some_and(|resumed| at <= resumed + grace);
            match lease.state {
                State::Owned if !is_news => claims.push(other),
                State::Revoked if other != member && !lease.held.is_empty() => unfinished += 1,
                State::Owned | State::Expired | State::Revoked | State::Lost => {}
            }
        }
        partition.floor = partition.acknowledged;
        let has_moved = partition.last_owner.replace(member).is_some_and(|last| last != member);
        let lease = Lease {
            state: State::Owned,
            next: committed.unwrap_or(i64::MIN),
            is_first: true,
            held: BTreeSet::new(),
            closed_at: None,
            resumed_at: None,
            began: now,
        };
        partition.leases.insert(member, lease);
        self.report.figures.moved += usize::from(has_moved);
        self.report.figures.unfinished += unfinished;
        for other in claims {
            let text = format!("it is given away while member {other} has it");
            self.violate(Invariant::I12, Some(member), name, vec![], text);
        }
    }

    fn ended(&mut self, member: usize, name: &'a TopicPartition, state: State) {
        let at = self.events[self.now].at;
        match self.partition(name).leases.get_mut(&member) {
            Some(lease) if matches!(lease.state, State::Owned | State::Expired) => {
                lease.state = state;
                lease.closed_at.get_or_insert(at);
            }
            _ => {
                let text = "it is taken from a member that does not have it".to_owned();
                self.violate(Invariant::I12, Some(member), name, vec![], text);
            }
        }
    }

    fn resumed(&mut self, member: usize, at: Duration) {
        for partition in self.partitions.values_mut() {
            let is_taken =
                partition.leases.iter().any(|(other, lease)| *other != member && lease.state == State::Owned);
            if let Some(lease) = partition.leases.get_mut(&member).filter(|lease| lease.state == State::Expired)
                && !is_taken
            {
                (lease.state, lease.resumed_at) = (State::Owned, Some(at));
            }
        }
    }

    fn delivered(&mut self, member: usize, name: &'a TopicPartition, offset: i64, value: &str) {
        let (at, grace, truth) = (self.events[self.now].at, self.grace, self.truth.get(name));
        self.report.figures.delivered += 1;
        let pause = at.saturating_sub(self.last_delivery.replace(at).unwrap_or(at));
        self.report.figures.longest_pause = self.report.figures.longest_pause.max(pause);
        let written = truth.and_then(|records| records.get(&offset));
        if written.is_none_or(|written| written != value) {
            let text = format!("{value:?} was delivered, and the log has {written:?}");
            self.violate(Invariant::I7, Some(member), name, vec![offset], text);
        }
        let partition = self.partition(name);
        let is_anothers = partition.leases.iter().any(|(other, lease)| *other != member && lease.state == State::Owned);
        let (is_processed, floor) = (partition.processed.contains(&offset), partition.floor);
        let Some(lease) = partition.leases.get_mut(&member) else {
            let text = "it was never assigned to the member".to_owned();
            return self.violate(Invariant::I13, Some(member), name, vec![offset], text);
        };
        if let Some(closed) = lease.closed_at.filter(|closed| at > *closed + grace || grace.is_zero()) {
            let text = format!("it was revoked or lost {:?} before", at - closed);
            return self.violate(Invariant::I13, Some(member), name, vec![offset], text);
        }
        let expected = truth.and_then(|records| records.range(lease.next..).next()).map(|(expected, _)| *expected);
        let was_first = std::mem::replace(&mut lease.is_first, false);
        lease.next = offset + 1;
        lease.held.insert(offset);
        self.report.figures.by_zombies += usize::from(lease.state == State::Expired && is_anothers);
        if expected != Some(offset) {
            let expected = expected.map_or("nothing".to_owned(), |expected| format!("offset {expected}"));
            let invariant = if was_first { Invariant::I9 } else { Invariant::I8 };
            self.violate(invariant, Some(member), name, vec![offset], format!("{expected} comes next"));
        } else if is_processed {
            self.report.figures.repeated += 1;
            if offset < floor {
                let text = format!("it was processed, and {floor} was committed when the partition was handed over");
                self.violate(Invariant::I15, Some(member), name, vec![offset], text);
            }
        }
    }

    fn commit_started(&mut self, member: usize, name: &'a TopicPartition, offset: i64, moves_back: bool) {
        let missing = self.first_missing(name, offset);
        let partition = self.partition(name);
        if moves_back {
            partition.may_go_back_to = Some(partition.may_go_back_to.map_or(offset, |to| to.min(offset)));
        }
        let mine = partition.leases.get(&member);
        let since = mine.map_or(0, |lease| lease.began);
        let heir = partition.leases.iter().find(|(other, lease)| {
            **other != member && lease.began > since && matches!(lease.state, State::Owned | State::Expired)
        });
        let trespass = match (mine.map(|lease| lease.state), heir) {
            (Some(State::Lost), _) => Some((Invariant::I13, "it was lost before".to_owned())),
            (_, Some((heir, _))) => Some((Invariant::I12, format!("it is member {heir}'s meanwhile"))),
            (_, None) => None,
        };
        partition.commits.push(Commit { member, offset, missing, trespass });
    }

    fn commit_answered(&mut self, member: usize, name: &'a TopicPartition, offset: i64, is_stored: bool) {
        let partition = self.partition(name);
        let is_it = |commit: &Commit| commit.member == member && commit.offset == offset;
        let Some(index) = partition.commits.iter().position(is_it) else {
            panic!("member {member} is answered a commit of {name} at {offset} that it has not begun");
        };
        let commit = partition.commits.remove(index);
        if !is_stored {
            return;
        }
        partition.acknowledged = partition.acknowledged.max(offset);
        if let Some(missing) = commit.missing {
            self.passes_processing(Some(member), name, missing, offset);
        }
        if let Some((invariant, text)) = commit.trespass {
            self.violate(invariant, Some(member), name, vec![offset], format!("the commit is stored, but {text}"));
        }
    }

    /// The group has this offset.
    fn committed(&mut self, member: Option<usize>, name: &'a TopicPartition, offset: i64) {
        if let Some(missing) = self.first_missing(name, offset) {
            self.passes_processing(member, name, missing, offset);
        }
        let partition = self.partition(name);
        let before = std::mem::replace(&mut partition.committed, offset);
        if offset >= before {
            partition.acknowledged = partition.acknowledged.max(offset);
            return;
        }
        partition.acknowledged = offset;
        if partition.may_go_back_to.take().is_none_or(|to| offset < to) {
            let text = format!("{before} was committed before");
            self.violate(Invariant::I11, member, name, vec![before, offset], text);
        }
    }

    fn passes_processing(&mut self, member: Option<usize>, name: &'a TopicPartition, missing: i64, offset: i64) {
        let partition = self.partition(name);
        if partition.covered < offset {
            partition.covered = offset;
            let text = format!("{offset} is committed, and {missing} is not processed");
            self.violate(Invariant::I10, member, name, vec![missing, offset], text);
        }
    }

    /// The first visible record before an offset that nobody has processed.
    fn first_missing(&mut self, name: &'a TopicPartition, offset: i64) -> Option<i64> {
        let truth = self.truth.get(name);
        let partition = self.partition(name);
        if offset <= partition.covered {
            return None;
        }
        let mut visible = truth.into_iter().flat_map(|records| records.range(partition.covered..offset));
        let missing = visible.find(|(visible, _)| !partition.processed.contains(visible)).map(|(missing, _)| *missing);
        partition.covered = missing.unwrap_or(offset);
        missing
    }

    fn partition(&mut self, name: &'a TopicPartition) -> &mut Partition {
        self.partitions.entry(name).or_default()
    }

    fn each_lease(&mut self, member: usize, change: impl Fn(&mut Lease)) {
        self.partitions.values_mut().filter_map(|partition| partition.leases.get_mut(&member)).for_each(change);
    }

    fn violate(
        &mut self,
        invariant: Invariant,
        member: Option<usize>,
        name: &TopicPartition,
        offsets: Vec<i64>,
        text: String,
    ) {
        let is_near = |event: &&Event| {
            let is_members = member == Some(event.member) && event.what.is_about(name);
            is_members || event.what.is_about(name) || matches!(event.what, What::SessionExpired | What::Resumed)
        };
        let (before, after) = self.events.split_at((self.now + 1).min(self.events.len()));
        let mut around: Vec<Event> = before.iter().rev().filter(is_near).take(AROUND + 1).cloned().collect();
        around.reverse();
        around.extend(after.iter().filter(is_near).take(AROUND).cloned());
        let partition = name.clone();
        self.report.violations.push(Violation { invariant, member, partition, offsets, text, around });
    }
}
