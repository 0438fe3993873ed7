//! Static members: who comes back in time finds everything as it was.

use std::time::Duration;

use milena::{CommitPolicy, ConsumerBuilder, ErrorCode, ErrorKind, Result};

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
