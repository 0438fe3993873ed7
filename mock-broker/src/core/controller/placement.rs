//! Where the replicas of a new topic go: spread over the brokers, and over their racks. Pure.

use std::collections::{BTreeMap, BTreeSet};

use milena_protocol::ErrorCode;

use super::{Controller, MAX_PARTITIONS, Refusal};

impl Controller {
    /// Leaders take turns over the racks and the active brokers in them, from a start of the topic's own; the other replicas go
    /// to the racks behind, one each until every rack has one. Brokers without a rack count as one rack.
    pub(super) fn spread(&mut self, partitions: i32, replication_factor: i16) -> Result<Vec<Vec<i32>>, Refusal> {
        if partitions < 1 {
            let message = format_args!("number of partitions was set to {partitions}, which is not larger than 0");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        if partitions > MAX_PARTITIONS {
            let message = format_args!("{partitions} partitions at once are too many, {MAX_PARTITIONS} are allowed");
            return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, message));
        }
        if replication_factor < 1 {
            let message = format_args!("replication factor {replication_factor} is not larger than 0");
            return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        let wanted = usize::try_from(replication_factor).unwrap_or(usize::MAX);
        let mut racks: BTreeMap<Option<&str>, Vec<i32>> = BTreeMap::new();
        for address in self.live_brokers() {
            racks.entry(address.rack.as_deref()).or_default().push(address.id);
        }
        let racks: Vec<Vec<i32>> = racks.into_values().collect();
        let live: BTreeSet<i32> = racks.iter().flatten().copied().collect();
        let fenced: Vec<i32> = self.brokers.keys().copied().filter(|broker| !live.contains(broker)).collect();
        if wanted > self.brokers.len() || live.is_empty() {
            let message = format_args!(
                "unable to replicate a partition {replication_factor} times: {} brokers are registered, {} of them up",
                self.brokers.len(),
                live.len()
            );
            return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        let start = self.random.below(live.len() as u64) as usize;
        let count = usize::try_from(partitions).unwrap_or(0);
        let replicas = |partition| preference(&racks, start + partition, partition / live.len());
        Ok((0..count)
            .map(|partition| replicas(partition).chain(fenced.iter().copied()).take(wanted).collect())
            .collect())
    }

    pub(super) fn check_manual(&self, partitions: &[Vec<i32>]) -> Result<(), Refusal> {
        let refuse = |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        let width = partitions.first().map_or(0, Vec::len);
        for replicas in partitions {
            if replicas.is_empty() {
                return refuse("the manual partition assignment includes an empty replica list".to_owned());
            }
            if replicas.len() != width {
                return refuse("the manual partition assignment has replica lists of different lengths".to_owned());
            }
            if replicas.iter().collect::<BTreeSet<_>>().len() != replicas.len() {
                return refuse(format!("the manual partition assignment {replicas:?} names a broker twice"));
            }
            if let Some(unknown) = replicas.iter().find(|replica| !self.brokers.contains_key(replica)) {
                return refuse(format!(
                    "the manual partition assignment includes broker {unknown}, which is not registered"
                ));
            }
        }
        Ok(())
    }
}

/// All brokers in the order in which a partition takes them. `shift` puts those behind the first one of a rack that much
/// further, so that a broker's load falls on several others.
fn preference(racks: &[Vec<i32>], turn: usize, shift: usize) -> impl Iterator<Item = i32> {
    let rack_count = racks.len();
    let order_in = move |rack: usize| {
        let members: &[i32] = racks.get((turn + rack) % rack_count).map_or(&[], Vec::as_slice);
        let first = turn / rack_count;
        let others = members.len().saturating_sub(1);
        let behind = (0..others).map(move |index| first + 1 + (shift + index) % others);
        std::iter::once(first).chain(behind).filter_map(|place| members.get(place % members.len().max(1)).copied())
    };
    let orders: Vec<Vec<i32>> = (0..rack_count).map(|rack| order_in(rack).collect()).collect();
    let rounds = orders.iter().map(Vec::len).max().unwrap_or(0);
    (0..rounds).flat_map(move |round| orders.iter().filter_map(|order| order.get(round).copied()).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rack_has_a_replica_before_one_has_two_and_leaders_take_turns() {
        let racks = [vec![1, 4], vec![2, 5], vec![3, 6]];
        let rack_of = |broker: i32| (broker - 1) % 3;
        let mut leaders = BTreeMap::new();
        for partition in 0..12 {
            let order: Vec<i32> = preference(&racks, 5 + partition, partition / 6).collect();
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 6);
            for half in order.chunks(3) {
                assert_eq!(half.iter().map(|broker| rack_of(*broker)).collect::<BTreeSet<_>>().len(), 3, "{order:?}");
            }
            *leaders.entry(order[0]).or_insert(0) += 1;
        }
        assert_eq!(leaders.into_values().collect::<Vec<_>>(), [2; 6]);
    }

    #[test]
    fn racks_of_different_sizes_are_used_up() {
        let racks = [vec![1, 2, 3], vec![4]];
        for turn in 0..8 {
            let order: Vec<i32> = preference(&racks, turn, 0).collect();
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 4, "{order:?}");
            assert!(order[..2].contains(&4), "{order:?}");
        }
    }
}
