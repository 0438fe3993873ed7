//! Static members: who comes back in time finds everything as it was.

use std::time::Duration;

use milena::{CommitPolicy, ConsumerBuilder, ErrorCode, ErrorKind, Result};
use milena_tests::eventually::eventually;

use super::{Group, Reading, Told, until_read};
use crate::{GENEROUS, read, soon};

/// A static member that nobody would miss for five minutes.
fn named(group: &Group, name: &str) -> ConsumerBuilder {
    group.member().group_instance_id(name).session_timeout(Duration::from_secs(300))
}

#[tokio::test]
async fn a_static_member_that_restarts_in_time_moves_nothing() -> Result<()> {
    let group = Group::new(4).await;
    group.write(5).await;
    let told = Told::default();
    let mut member = Reading::start(named(&group, "a").build().await?);
    let other = Reading::start(named(&group, "b").on_rebalance(told.clone()).build().await?);
    group.until_shared(&[&member.control, &other.control], &[2, 2]).await;
    until_read(&[&member, &other], 20).await;
    let (before, assigned) = (told.all(), member.control.assignment());

    for is_dropped in [false, true] {
        let consumer = member.stop().await;
        match is_dropped {
            true => drop(consumer),
            false => soon("closing", consumer.close(GENEROUS)).await?,
        }
        group.write(1).await;
        member = Reading::start(named(&group, "a").build().await?);
        until_read(&[&member], 2).await;
        assert_eq!(member.control.assignment(), assigned);
    }

    assert_eq!(told.all(), before, "nobody else heard of it");
    member.close().await;
    other.close().await;
    Ok(())
}

#[tokio::test]
async fn of_two_static_members_with_one_name_the_older_is_fenced() -> Result<()> {
    let group = Group::new(2).await;
    group.write(1).await;
    let told = Told::default();
    let builder = named(&group, "a").commit_policy(CommitPolicy::Manual).on_rebalance(told.clone());
    let mut older = builder.build().await?;
    let held = read(&mut older, 2).await;
    let younger = Reading::start(named(&group, "a").build().await?);
    until_read(&[&younger], 2).await;

    let error = soon("the error", older.next()).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some(ErrorCode::FENCED_INSTANCE_ID)));
    assert!(error.is_fatal() && error.to_string().contains("group.instance.id \"a\""), "{error}");
    told.until("lost 2 Fenced").await;
    let refused = soon("the refusal", older.commit(&held[0])).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PartitionLost, "{refused}");
    drop(held);
    assert_eq!(soon("closing", older.close(GENEROUS)).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(told.all().len(), 2, "{told:?}");
    group.write(1).await;
    until_read(&[&younger], 4).await;
    younger.close().await;
    Ok(())
}

#[tokio::test]
async fn a_static_member_leaves_its_group_if_it_is_asked_to() -> Result<()> {
    let group = Group::new(2).await;
    let leaver = Reading::start(named(&group, "a").build().await?);
    let other = Reading::start(named(&group, "b").build().await?);
    group.until_shared(&[&leaver.control, &other.control], &[1, 1]).await;

    soon("closing", leaver.stop().await.close_and_leave(GENEROUS)).await?;
    group.until_shared(&[&other.control], &[2]).await;
    other.close().await;
    Ok(())
}

#[tokio::test]
async fn a_static_member_that_comes_back_with_fewer_topics_gets_a_share_of_those() -> Result<()> {
    let group = Group::new(4).await;
    let other = group.cluster.topic("other", 4).await;
    let counts =
        |members: &[&Reading]| members.iter().map(|member| member.control.assignment().len()).collect::<Vec<_>>();
    // The first leads.
    let leader = Reading::start(named(&group, "a").subscribe([&other]).build().await?);
    eventually("all of it", async || (counts(&[&leader]) == [8]).then_some(())).await;
    let follower = Reading::start(named(&group, "b").subscribe([&other]).build().await?);
    eventually("a half each", async || (counts(&[&leader, &follower]) == [4, 4]).then_some(())).await;
    drop(follower.stop().await);

    // The coordinator gives it what it had before, and asks nobody.
    let told = Told::default();
    let follower = Reading::start(named(&group, "b").on_rebalance(told.clone()).build().await?);
    let of_one_topic = || {
        let assigned = follower.control.assignment();
        !assigned.is_empty() && assigned.iter().all(|partition| partition.topic() == group.topic)
    };
    let shared = async || (of_one_topic() && counts(&[&leader, &follower]) == [4, 4]).then_some(());
    eventually("the one topic", shared).await;
    assert!(told.all().iter().all(|told| told.starts_with("assigned")), "{told:?}");
    follower.close().await;
    leader.close().await;
    Ok(())
}
