//! Where reading starts.

use std::time::{Duration, SystemTime};

use milena::{AutoOffsetReset, Client, ErrorKind, Offsets, Position, Record, Result, TopicPartition};
use milena_tests::cluster::TestCluster;

use crate::{client, read, soon, texts, write};

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

/// A topic whose record `n` of ten has the time `n * 10`.
async fn ten_records(cluster: &TestCluster, client: &Client) -> Result<String> {
    // Its records are old: they must not be deleted.
    let topic = cluster.topic_with("positions", 1, &[("retention.ms", "-1")]).await;
    let producer = client.producer().build().await?;
    for number in 0..10 {
        let record = Record::to(&topic).timestamp(time(number * 10));
        producer.send(record.value(&number.to_string())).await?;
    }
    Ok(topic)
}

#[tokio::test]
async fn reading_starts_at_an_offset_a_time_the_beginning_the_end_or_what_is_committed() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    let topic = ten_records(&cluster, &client).await?;
    let producer = client.producer().build().await?;
    let group = cluster.unique("positions");
    let mut committing = client.consumer(&group).assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    drop(read(&mut committing, 10).await);
    committing.commit(Offsets::at((topic.as_str(), 0), 6)).await?;

    for (position, first) in [
        (Position::Beginning, Some("0")),
        (Position::Offset(3), Some("3")),
        (Position::Committed, Some("6")),
        (Position::Timestamp(time(40)), Some("4")),
        (Position::Timestamp(time(41)), Some("5")),
        (Position::Timestamp(SystemTime::UNIX_EPOCH), Some("0")),
        // After the last record, and at the end: what comes next.
        (Position::Timestamp(time(91)), None),
        (Position::End, None),
    ] {
        let builder = client.consumer(&group).enable_auto_commit(false);
        let mut consumer = builder.assign([((topic.as_str(), 0), position)]).build().await?;
        let partition = TopicPartition::new(topic.as_str(), 0);
        match first {
            Some(first) => assert_eq!(texts(&read(&mut consumer, 1).await), [first], "{position:?}"),
            None => {
                let control = consumer.control().clone();
                let next = async {
                    let records = read(&mut consumer, 1).await;
                    records[0].offset()
                };
                let (next, end) = tokio::join!(next, async {
                    let what = "the position to be known";
                    let end = milena_tests::eventually::eventually(what, async || control.position(&partition)).await;
                    write(&producer, &topic, 0, &["late"]).await.map(|()| end)
                });
                assert_eq!(end?, next, "{position:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn auto_offset_reset_decides_when_there_is_no_position() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    let topic = ten_records(&cluster, &client).await?;
    let producer = client.producer().build().await?;
    // Out of range, and never committed.
    for position in [Position::Offset(1_000_000), Position::Committed] {
        let consumer = |reset| {
            let builder = client.consumer(cluster.unique("reset")).auto_offset_reset(reset);
            builder.assign([((topic.as_str(), 0), position)]).build()
        };
        let mut earliest = consumer(AutoOffsetReset::Earliest).await?;
        assert_eq!(texts(&read(&mut earliest, 1).await), ["0"], "{position:?}");

        let mut latest = consumer(AutoOffsetReset::Latest).await?;
        let (control, partition) = (latest.control().clone(), TopicPartition::new(topic.as_str(), 0));
        let end = cluster.end(&topic, 0).await;
        let (records, written) = tokio::join!(read(&mut latest, 1), async {
            let what = "a position at the end";
            let at_end = async || control.position(&partition).filter(|position| *position == end);
            milena_tests::eventually::eventually(what, at_end).await;
            write(&producer, &topic, 0, &["late"]).await
        });
        written?;
        assert_eq!((texts(&records), records[0].offset()), (vec!["late"], end), "{position:?}");

        let mut none = consumer(AutoOffsetReset::None).await?;
        let error = soon("an error", none.next()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OffsetReset, "{position:?}: {error}");
        assert!(error.to_string().contains(&topic), "{error}");
        none.control().seek(&TopicPartition::new(topic.as_str(), 0), Position::Offset(5))?;
        assert_eq!(texts(&read(&mut none, 1).await), ["5"], "and a way on");
    }
    Ok(())
}
