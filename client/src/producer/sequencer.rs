//! Sequence numbers of one partition, for the idempotent producer. Pure.
//!
//! Identity and numbers are per partition: each goes through its own epochs of the producer id, and a gap in one partition costs
//! the others nothing. All arithmetic is modulo 2^31, as the broker's is.

use std::time::Duration;

use crate::clock::Time;

/// Who stamped a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// What is stamped onto a batch: never changed while its outcome is unknown, never used for other bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) identity: Identity,
    pub(crate) base_sequence: i32,
}

/// The next numbers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Sequencer {
    identity: Option<Identity>,
    next_sequence: i32,
    /// A stamped batch was given up: numbers are missing, and the broker will refuse what comes after them.
    gap: bool,
    /// When a batch of this identity was last known to be written.
    established: Option<Time>,
}

/// How long a broker is trusted to remember the numbers of an idle producer: well below its `producer.id.expiration.ms`, which is a
/// day unless somebody has changed it.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// What [`Sequencer::begin_anew`] needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anew {
    /// Numbers start at 0 in a new epoch.
    Ready,
    /// The epochs of this producer id are used up.
    NeedsProducerId,
}

impl Sequencer {
    #[cfg(test)]
    pub(crate) fn starting_at(next_sequence: i32) -> Self {
        Self { next_sequence, ..Self::default() }
    }

    /// For another topic of the same name. A broker that goes by names may have written there what was `stamped` here, so that
    /// needs a new epoch: or the broker would take what comes next for what it has.
    pub(crate) fn successor(&self, stamped: bool) -> Self {
        Self { identity: self.identity, gap: self.gap || stamped, ..Self::default() }
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// Whether the broker is known to have numbers of this identity. One that has none accepts any number, so that the second
    /// batch would be written if the first one was refused.
    pub(crate) fn is_established(&self) -> bool {
        self.established.is_some()
    }

    /// A batch with this stamp was written.
    pub(crate) fn on_written(&mut self, now: Time, stamp: Stamp) {
        if self.identity == Some(stamp.identity) {
            self.established = Some(now);
        }
    }

    /// After a long pause the broker may have forgotten the numbers.
    pub(crate) fn on_time(&mut self, now: Time) {
        self.established = self.established.filter(|written| now < written.saturating_add(REMEMBERED));
    }

    /// A producer id was given. One that is in use stays.
    pub(crate) fn on_producer_id(&mut self, identity: Identity) {
        self.identity.get_or_insert(identity);
    }

    /// Numbers for the next `records` records, or `None` without a producer id or while there is a gap.
    pub(crate) fn stamp(&mut self, records: i32) -> Option<Stamp> {
        let identity = self.identity.filter(|_| !self.gap)?;
        let base_sequence = self.next_sequence;
        self.next_sequence = add(base_sequence, records);
        Some(Stamp { identity, base_sequence })
    }

    /// A stamped batch is given up, or the broker has lost what came before.
    pub(crate) fn on_gap(&mut self) {
        self.gap = true;
    }

    pub(crate) fn has_gap(&self) -> bool {
        self.gap
    }

    /// Closes the gap with a new epoch. Only when no batch of the old one has an unknown outcome.
    pub(crate) fn begin_anew(&mut self) -> Anew {
        self.next_sequence = 0;
        self.established = None;
        match self.identity.take() {
            Some(Identity { producer_id, epoch }) if epoch < i16::MAX => {
                self.identity = Some(Identity { producer_id, epoch: epoch + 1 });
                self.gap = false;
                Anew::Ready
            }
            Some(_) | None => {
                self.gap = false;
                Anew::NeedsProducerId
            }
        }
    }
}

/// `sequence` + `records`, modulo 2^31: after 2147483647 comes 0.
fn add(sequence: i32, records: i32) -> i32 {
    sequence.wrapping_add(records) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Identity = Identity { producer_id: 9, epoch: 0 };

    #[test]
    fn sequences_wrap_to_zero() {
        let mut sequencer = Sequencer::starting_at(i32::MAX - 7);
        sequencer.on_producer_id(FIRST);

        assert_eq!(sequencer.stamp(20).unwrap().base_sequence, 2_147_483_640);
        assert_eq!(sequencer.stamp(1).unwrap().base_sequence, 12);
        assert_eq!(add(i32::MAX, 1), 0);
    }

    #[test]
    fn nothing_is_stamped_without_an_identity_or_behind_a_gap() {
        let mut sequencer = Sequencer::default();
        assert_eq!(sequencer.stamp(1), None);
        sequencer.on_producer_id(FIRST);
        sequencer.stamp(3);
        sequencer.on_gap();
        assert_eq!(sequencer.stamp(1), None);

        assert_eq!(sequencer.begin_anew(), Anew::Ready);
        let stamp = sequencer.stamp(1).unwrap();
        assert_eq!(stamp, Stamp { identity: Identity { producer_id: 9, epoch: 1 }, base_sequence: 0 });
    }

    #[test]
    fn another_topic_of_the_name_begins_with_another_epoch() {
        let mut sequencer = Sequencer::default();
        sequencer.on_producer_id(FIRST);
        let before = sequencer.stamp(3).unwrap();
        let mut successor = sequencer.successor(true);
        assert_eq!((successor.stamp(1), successor.begin_anew()), (None, Anew::Ready));
        let after = successor.stamp(3).unwrap();
        assert_eq!((after.base_sequence, after.identity.epoch), (0, before.identity.epoch + 1));
    }

    #[test]
    fn when_the_epochs_are_used_up_a_new_producer_id_is_needed() {
        let mut sequencer = Sequencer::default();
        sequencer.on_producer_id(Identity { producer_id: 9, epoch: i16::MAX });
        sequencer.on_gap();

        assert_eq!(sequencer.begin_anew(), Anew::NeedsProducerId);
        assert_eq!(sequencer.stamp(1), None);
        sequencer.on_producer_id(Identity { producer_id: 10, epoch: 0 });
        assert_eq!(sequencer.stamp(1).unwrap().identity.producer_id, 10);
    }
}
