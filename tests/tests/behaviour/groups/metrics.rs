//! What a member counts: its rebalances, its commits, how far it is behind.

use milena::{CommitPolicy, RebalanceReason, Result};
use milena_tests::eventually::eventually;

use super::{Group, Reading};
use crate::soon;

#[tokio::test]
async fn rebalances_and_commits_are_counted_and_the_lag_is_what_is_left() -> Result<()> {
    let group = Group::new(2).await;
    group.write(5).await;
    let mut consumer = group.member().commit_policy(CommitPolicy::Manual).build().await?;
    let control = consumer.control().clone();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.extend(soon("a record", consumer.next()).await?);
    }
    eventually("both partitions", async || (control.metrics().lag.len() == 2).then_some(())).await;
    let metrics = control.metrics();
    assert_eq!(metrics.lag.values().sum::<u64>(), 10 - 4, "{metrics:?}");
    for (partition, lag) in &metrics.lag {
        assert_eq!(i64::try_from(*lag).ok(), control.lag(partition));
    }
    assert_eq!((metrics.records, metrics.held_records, metrics.assigned_partitions), (4, 4, 2));
    assert_eq!(metrics.rebalances, [(RebalanceReason::Joined, 1)].into());
    assert_eq!(metrics.commits.count, 0);

    let first = held.swap_remove(0);
    soon("a commit", consumer.commit(&first)).await?;
    let metrics = control.metrics();
    assert_eq!((metrics.commits.count, metrics.failed_commits), (1, 0));
    assert!(metrics.commits.last > std::time::Duration::ZERO);

    drop((first, held));
    let (one, other) = (Reading::start(consumer), Reading::start(group.member().build().await?));
    group.until_shared(&[&one.control, &other.control], &[1, 1]).await;
    let metrics = control.metrics();
    assert!(metrics.rebalances[&RebalanceReason::MemberChange] >= 1, "{metrics:?}");
    assert_eq!(metrics.rebalance_time.count, metrics.rebalances.values().sum::<u64>());
    assert_eq!((metrics.assigned_partitions, metrics.losses.len()), (1, 0));
    one.close().await;
    other.close().await;
    Ok(())
}
