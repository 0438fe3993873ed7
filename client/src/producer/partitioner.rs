//! Which partition a record goes to. Pure.

use crate::entropy::Entropy;

use super::record::Record;

/// Chooses partitions by a rule of the application.
pub trait Partitioner: Send + Sync + 'static {
    /// The partition, from 0 up to and without `partitions`, or `None` for the default: by hash of the key, and without a key
    /// one partition for a while and then another.
    fn partition(&self, record: &Record<'_>, partitions: i32) -> Option<i32>;
}

/// Kafka's partition for a key: murmur2, without its sign, modulo the number of partitions. All partitions count, also those
/// without a leader, or a key would move while a broker is down.
pub(crate) fn partition_for_key(key: &[u8], partitions: usize) -> usize {
    let hash = murmur2::murmur2(key, murmur2::KAFKA_SEED);
    (hash & 0x7fff_ffff) as usize % partitions.max(1)
}

/// Where records without a key go: to one partition until `batch.size` bytes went there, then to another (KIP-794). Switching on
/// bytes and not when a batch closes keeps a slow partition, whose batches are large, from getting more than its share.
#[derive(Debug)]
pub(crate) struct Sticky {
    entropy: Entropy,
    current: Option<usize>,
    bytes: usize,
}

impl Sticky {
    pub(crate) fn new(entropy: Entropy) -> Self {
        Self { entropy, current: None, bytes: 0 }
    }

    /// The partition for the next record. `available` lists those that have a leader; if none has, all count.
    pub(crate) fn partition(&mut self, partitions: usize, available: impl Fn(usize) -> bool) -> usize {
        match self.current {
            Some(current) if current < partitions => current,
            Some(_) | None => self.switch(partitions, available),
        }
    }

    /// `bytes` were appended to the current partition; after `batch_size` of them the next record goes elsewhere.
    pub(crate) fn on_appended(&mut self, bytes: usize, batch_size: usize) {
        self.bytes += bytes;
        if self.bytes >= batch_size {
            self.current = None;
        }
    }

    fn switch(&mut self, partitions: usize, available: impl Fn(usize) -> bool) -> usize {
        self.bytes = 0;
        let count = (0..partitions).filter(|partition| available(*partition)).count();
        let chosen = match count {
            0 => self.entropy.below(partitions),
            _ => {
                let nth = self.entropy.below(count);
                (0..partitions).filter(|partition| available(*partition)).nth(nth).unwrap_or(0)
            }
        };
        self.current = Some(chosen);
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_hash_as_in_java() {
        // From Kafka's UtilsTest.testMurmur2.
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in vectors {
            assert_eq!(murmur2::murmur2(key, murmur2::KAFKA_SEED) as i32, hash);
        }
        let twelfths: Vec<usize> = vectors.iter().map(|(key, _)| partition_for_key(key, 12)).collect();
        assert_eq!(twelfths, [0, 6, 8, 11, 5, 3]);
        assert_eq!(partition_for_key(b"", 12), 9);
    }

    #[test]
    fn without_a_key_the_partition_changes_after_batch_size_bytes() {
        let mut sticky = Sticky::new(Entropy::from_seed(3));
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let partition = sticky.partition(4, |_| true);
            assert_eq!(sticky.partition(4, |_| true), partition);
            for _ in 0..10 {
                sticky.on_appended(10, 100);
            }
            counts[partition] += 1;
        }

        assert!(counts.iter().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_partition_without_a_leader_is_avoided_while_another_has_one() {
        let mut sticky = Sticky::new(Entropy::from_seed(3));
        for _ in 0..100 {
            assert_eq!(sticky.partition(3, |partition| partition == 1), 1);
            sticky.on_appended(100, 100);
        }
        assert!(sticky.partition(3, |_| false) < 3);
    }
}
