//! Decides from what the members of a group did, and from what the log holds in the end, whether the group kept its promises.
//! It knows nothing of where the events come from: a simulation, or a real Kafka. Pure.

mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use milena::TopicPartition;

/// Something that happened, in one group. Events stand in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counted from any beginning.
    pub at: Duration,
    /// Each consumer has a number of its own; a process that is started anew is another one.
    pub member: usize,
    /// What happened to it, or what it did.
    pub what: What,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The listener was told `assigned`. With each partition comes what the group had committed of it then; `None` says that it is
    /// read from the beginning of the log.
    Assigned(Vec<(TopicPartition, Option<i64>)>),
    /// The listener was told `revoked`. Need not be noted.
    Revoking(Vec<TopicPartition>),
    /// The listener returned from `revoked`.
    Revoked(Vec<TopicPartition>),
    /// The listener was told `lost`.
    Lost(Vec<TopicPartition>),
    /// The process was killed, or stands still: from here on its session may end, and others may have its partitions.
    SessionExpired,
    /// The process goes on after it stood still.
    Resumed,
    /// The application got a record, with this value.
    Delivered(TopicPartition, i64, String),
    /// The application has finished with a record. Noted before it lets go of it, or acknowledges it.
    Processed(TopicPartition, i64),
    /// The application commits. `moves_back` says that it may, as `Offsets::at` does.
    CommitStart {
        /// Which partition.
        partition: TopicPartition,
        /// The next offset to be read.
        offset: i64,
        /// Whether it may.
        moves_back: bool,
    },
    /// That was answered: it is stored.
    CommitOk(TopicPartition, i64),
    /// That was answered: it is not stored.
    CommitFailed(TopicPartition, i64),
    /// The group has this offset: seen from outside, whoever committed it. The number of the member means nothing.
    Committed(TopicPartition, i64),
    /// The application reads on from here, or was told that it does (a reset).
    Seek(TopicPartition, i64),
    /// The member is out for good.
    Fenced,
}

/// All visible records of a log: for each partition the value at each offset.
pub type Truth = BTreeMap<TopicPartition, BTreeMap<i64, String>>;

/// What a group promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// One value for each offset: what is delivered is what is in the log.
    I7,
    /// No skip and no step back within an assignment.
    I8,
    /// The first record of an assignment is the one that the group has committed, or that the reset policy names.
    I9,
    /// A commit never passes what is processed.
    I10,
    /// A commit never moves back by itself.
    I11,
    /// A partition has one owner at a time.
    I12,
    /// Nothing is delivered and nothing committed after the partition was revoked or lost.
    I13,
    /// Every visible record was processed by somebody.
    I14,
    /// Records are only read again from what was committed at the last hand-over on.
    I15,
}

/// A promise that was not kept.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Whose doing it was, if it was a member's.
    pub member: Option<usize>,
    /// Where.
    pub partition: TopicPartition,
    /// Which offsets it is about.
    pub offsets: Vec<i64>,
    /// What is wrong.
    pub text: String,
    /// The events around it: those of its partition or member, three before and three after.
    pub around: Vec<Event>,
}

/// What is not right or wrong, but worth knowing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records that were delivered.
    pub delivered: usize,
    /// Those of them that had been processed before.
    pub repeated: usize,
    /// Those of them that were delivered to a member that did not know yet that the group went on without it.
    pub by_zombies: usize,
    /// How often a partition came to another member than the one before.
    pub moved: usize,
    /// How often a revoked partition was given away while its last owner had not finished with what it got of it. So it may be
    /// once the revocation's time is over, or the group has gone on without that member; else it must not.
    pub unfinished: usize,
    /// The longest time without any record.
    pub longest_pause: Duration,
}

/// What a history shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was broken, in the order of the history.
    pub violations: Vec<Violation>,
    /// And what is worth knowing.
    pub figures: Figures,
}

/// Checks a history that is over: everything in `truth` should have been processed.
///
/// `grace` is for histories of several threads, where a record may be handed out before a revocation and noted behind it; zero is
/// for those of one thread.
pub fn check(events: &[Event], truth: &Truth, grace: Duration) -> Report {
    replay::Replay::new(events, truth, grace).run()
}

impl Report {
    /// The figures, if every promise was kept.
    ///
    /// # Panics
    /// If one was not, with all that was found.
    #[track_caller]
    pub fn expect_clean(&self) -> Figures {
        assert!(self.violations.is_empty(), "{self}");
        self.figures
    }
}

/// How many violations are shown: the first is what to look at.
const SHOWN: usize = 5;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} promises were not kept; {:?}", self.violations.len(), self.figures)?;
        self.violations.iter().take(SHOWN).try_for_each(|violation| writeln!(f, "{violation}"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.invariant, self.invariant.name())?;
        if let Some(member) = self.member {
            write!(f, ", member {member}")?;
        }
        writeln!(f, ", {}, offsets {:?}: {}", self.partition, self.offsets, self.text)?;
        self.around.iter().try_for_each(|event| writeln!(f, "    {event}"))
    }
}

impl Invariant {
    fn name(self) -> &'static str {
        match self {
            Self::I7 => "one value for each offset",
            Self::I8 => "no skip, no step back",
            Self::I9 => "an assignment begins at the commit",
            Self::I10 => "a commit never passes processing",
            Self::I11 => "a commit never moves back by itself",
            Self::I12 => "one owner",
            Self::I13 => "nothing after the revocation",
            Self::I14 => "all is processed",
            Self::I15 => "repeats begin at the commit",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.4} s  ", self.at.as_secs_f64())?;
        match &self.what {
            What::Committed(..) => write!(f, "the group  ")?,
            _ => write!(f, "member {:<3} ", self.member)?,
        }
        let names = |partitions: &[TopicPartition]| {
            partitions.iter().map(|partition| format!(" {partition}")).collect::<Vec<_>>().concat()
        };
        match &self.what {
            What::Assigned(partitions) => {
                write!(f, "assigned")?;
                partitions.iter().try_for_each(|(partition, committed)| match committed {
                    Some(offset) => write!(f, " {partition} at {offset}"),
                    None => write!(f, " {partition} from its beginning"),
                })
            }
            What::Revoking(partitions) => write!(f, "revoking{}", names(partitions)),
            What::Revoked(partitions) => write!(f, "revoked{}", names(partitions)),
            What::Lost(partitions) => write!(f, "lost{}", names(partitions)),
            What::SessionExpired => write!(f, "its session may end"),
            What::Resumed => write!(f, "goes on"),
            What::Delivered(partition, offset, value) => write!(f, "delivered {partition}@{offset} {value:?}"),
            What::Processed(partition, offset) => write!(f, "processed {partition}@{offset}"),
            What::CommitStart { partition, offset, moves_back } => {
                write!(f, "commits {partition} at {offset}{}", if *moves_back { ", back if need be" } else { "" })
            }
            What::CommitOk(partition, offset) => write!(f, "has committed {partition} at {offset}"),
            What::CommitFailed(partition, offset) => write!(f, "has not committed {partition} at {offset}"),
            What::Committed(partition, offset) => write!(f, "has {partition} at {offset}"),
            What::Seek(partition, offset) => write!(f, "reads {partition} on from {offset}"),
            What::Fenced => write!(f, "fenced"),
        }
    }
}

impl What {
    /// Whether it is about this partition.
    fn is_about(&self, name: &TopicPartition) -> bool {
        match self {
            Self::Assigned(partitions) => partitions.iter().any(|(partition, _)| partition == name),
            Self::Revoking(partitions) | Self::Revoked(partitions) | Self::Lost(partitions) => {
                partitions.contains(name)
            }
            Self::SessionExpired | Self::Resumed | Self::Fenced => false,
            Self::Delivered(partition, ..)
            | Self::Processed(partition, _)
            | Self::CommitStart { partition, .. }
            | Self::CommitOk(partition, _)
            | Self::CommitFailed(partition, _)
            | Self::Committed(partition, _)
            | Self::Seek(partition, _) => partition == name,
        }
    }
}
