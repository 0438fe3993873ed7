//! Which partitions a member gets, when it is known how many of each kind. Pure.

use super::kinds::Group;

/// By topic and partition the member that has it: nobody only where nobody is subscribed.
pub(super) fn holders(group: &Group) -> Vec<Vec<Option<usize>>> {
    let mut holders: Vec<Vec<Option<usize>>> = group.owners.iter().map(|all| vec![None; all.len()]).collect();
    for kind in &group.kinds {
        let cells = &group.cells[kind.cells.clone()];
        let mut left: Vec<(usize, usize)> = cells.iter().map(|cell| (cell.member, cell.count)).collect();
        // Members keep the partitions with the least numbers, so that topics stay alike.
        let mut by_number = kind.partitions.clone();
        by_number.sort_unstable_by_key(|(topic, partition)| (*partition, *topic));
        for (topic, partition) in by_number {
            let Some(owner) = group.owners[topic][partition] else { continue };
            if let Ok(at) = left.binary_search_by_key(&owner, |(member, _)| *member)
                && left[at].1 > 0
            {
                left[at].1 -= 1;
                holders[topic][partition] = Some(owner);
            }
        }
        // The others are dealt out in turn.
        left.retain(|(_, count)| *count > 0);
        let mut turn = 0;
        for (topic, partition) in &kind.partitions {
            if left.is_empty() {
                break;
            }
            if holders[*topic][*partition].is_none() {
                turn %= left.len();
                holders[*topic][*partition] = Some(left[turn].0);
                left[turn].1 -= 1;
                if left[turn].1 == 0 {
                    left.remove(turn);
                } else {
                    turn += 1;
                }
            }
        }
    }
    holders
}
