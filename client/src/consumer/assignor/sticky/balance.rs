//! Gives everything to somebody, evenly, and moves as little as possible. Pure.

/// By topic and partition the member that shall have it: nobody only where nobody is subscribed.
pub(super) fn balanced(
    subscribers: &[Vec<usize>],
    mut holders: Vec<Vec<Option<usize>>>,
    members: usize,
) -> Vec<Vec<Option<usize>>> {
    let mut loads = vec![0usize; members];
    holders.iter().flatten().flatten().for_each(|member| loads[*member] += 1);
    for (topic, holders) in holders.iter_mut().enumerate() {
        for holder in holders.iter_mut().filter(|holder| holder.is_none()) {
            *holder = subscribers[topic].iter().copied().min_by_key(|member| loads[*member]);
            holder.iter().for_each(|member| loads[*member] += 1);
        }
    }
    loop {
        let mut moved = false;
        for (topic, holders) in holders.iter_mut().enumerate() {
            for holder in holders.iter_mut() {
                let Some(least) = subscribers[topic].iter().copied().min_by_key(|member| loads[*member]) else {
                    continue;
                };
                if let Some(from) = holder.filter(|from| loads[*from] > loads[least] + 1) {
                    loads[from] -= 1;
                    loads[least] += 1;
                    *holder = Some(least);
                    moved = true;
                }
            }
        }
        if !moved {
            return holders;
        }
    }
}
