//! Reading partitions: records, batches, streams; pausing, seeking, stopping.

use std::collections::BTreeMap;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use milena::{ErrorKind, Position, Record, Result, TopicPartition};
use milena_tests::cluster::TestCluster;
use milena_tests::eventually::eventually;

use crate::{GENEROUS, client, poll_once, producer, read, soon, texts, write};

#[tokio::test]
async fn every_partition_is_read_in_order_and_each_record_once() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("read", 6).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    let mut receipts = BTreeMap::new();
    for number in 0..600 {
        let (key, value) = (format!("key-{}", number % 50), format!("{number}"));
        let receipt = producer.enqueue(Record::to(&topic).key(&key).value(&value).header("n", &value)).await?;
        receipts.insert(value, receipt);
    }
    producer.flush().await?;

    let all = (0..6).map(|partition| ((topic.as_str(), partition), Position::Beginning));
    let mut reader = client.reader().assign(all).build().await?;
    let mut next = [0; 6];
    for record in read(&mut reader, 600).await {
        assert_eq!(record.offset(), next[record.partition() as usize], "partition {}", record.partition());
        next[record.partition() as usize] += 1;
        let value = String::from_utf8(record.value().unwrap().to_vec()).unwrap();
        let receipt = receipts.remove(&value).expect("each record once").await?;
        assert_eq!((record.topic(), record.partition()), (topic.as_str(), receipt.partition.partition()));
        assert_eq!((Some(record.offset()), record.timestamp()), (receipt.offset, receipt.timestamp));
        assert_eq!(record.headers().collect::<Vec<_>>(), [("n", Some(value.as_bytes()))]);
        assert_eq!(record.key().map(<[u8]>::len), Some(if value.parse::<u32>().unwrap() % 50 < 10 { 5 } else { 6 }));
        assert_eq!(record.value_bytes().as_deref(), Some(value.as_bytes()));
        let detached = record.detach();
        assert_eq!(detached.value(), Some(value.as_bytes()));
    }
    assert!(receipts.is_empty());
    Ok(())
}

#[tokio::test]
async fn null_and_empty_are_read_as_they_were_written() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("read-nulls", 1).await;
    let producer = producer(&cluster).await;
    producer.send(Record::to(&topic)).await?;
    producer.send(Record::to(&topic).key("").value("").header_null("h").header("h", "")).await?;
    let mut reader = client(&cluster).await.reader().assign([((topic, 0), Position::Beginning)]).build().await?;
    let records = read(&mut reader, 2).await;
    assert_eq!((records[0].key(), records[0].value(), records[0].headers().count()), (None, None, 0));
    assert_eq!((records[1].key(), records[1].value()), (Some(&b""[..]), Some(&b""[..])));
    assert_eq!(records[1].headers().collect::<Vec<_>>(), [("h", None), ("h", Some(&b""[..]))]);
    Ok(())
}

#[tokio::test]
async fn a_batch_has_what_there_is_up_to_its_limit_and_comes_apart_by_partition() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("batches", 2).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    for partition in 0..2 {
        write(&producer, &topic, partition, &["a"; 25]).await?;
    }
    let both = || (0..2).map(|partition| ((topic.as_str(), partition), Position::Beginning));

    let mut reader = client.reader().assign(both()).build().await?;
    let mut seen = BTreeMap::new();
    while seen.values().map(Vec::len).sum::<usize>() < 50 {
        let batch = soon("a batch", reader.next_batch(20)).await?.expect("nobody stops it");
        assert!((1..=20).contains(&batch.len()));
        assert_eq!(batch.iter().count(), batch.len());
        let count = batch.len();
        let mut parts = 0;
        for (partition, part) in batch.by_partition() {
            parts += part.len();
            for record in &part {
                assert_eq!(record.partition(), partition.partition());
                assert_eq!((record.topic(), record.value), (topic.as_str(), Some(&b"a"[..])));
                seen.entry(record.partition()).or_insert_with(Vec::new).push(record.offset);
            }
        }
        assert_eq!(parts, count);
    }
    for partition in 0..2 {
        assert_eq!(seen[&partition], (0..25).collect::<Vec<_>>());
    }

    // The setting limits what is asked for, and one record is asked for with `next`.
    let mut reader = client.reader().max_poll_records(7).assign(both()).build().await?;
    let batch = soon("a batch", reader.next_batch(1000)).await?.expect("nobody stops it");
    assert!((1..=7).contains(&batch.len()));
    let view = batch.iter().last().expect("a record");
    let kept = view.to_owned();
    let (partition, offset) = (view.partition(), view.offset);
    drop(batch);
    assert_eq!((kept.partition(), kept.offset(), kept.value()), (partition, offset, Some(&b"a"[..])));
    Ok(())
}

#[tokio::test]
async fn a_stream_gives_records_until_it_is_stopped() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("stream", 1).await;
    let client = client(&cluster).await;
    write(&client.producer().build().await?, &topic, 0, &["a", "b", "c"]).await?;
    let reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    let mut stream = reader.into_stream();
    for expected in ["a", "b", "c"] {
        let record = soon("a record", stream.next()).await.expect("nobody stopped it")?;
        assert_eq!(record.value(), Some(expected.as_bytes()));
    }
    stream.control().stop();
    assert!(soon("the end", stream.next()).await.is_none());
    Ok(())
}

#[tokio::test]
async fn a_stopped_reader_ends_and_a_closed_one_is_gone() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("stop", 1).await;
    let client = client(&cluster).await;
    let mut reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    let control = reader.control().clone();
    let (ended, ()) = tokio::join!(soon("the end", reader.next()), async {
        tokio::task::yield_now().await;
        control.stop();
    });
    assert!(ended?.is_none());
    assert!(soon("the end, again", reader.next_batch(10)).await?.is_none());
    soon("close", reader.close(GENEROUS)).await?;

    let mut reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    client.close(GENEROUS).await;
    let error = soon("an error", reader.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    Ok(())
}

#[tokio::test]
async fn a_paused_partition_waits_while_the_others_flow() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("pause", 2).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    let both = (0..2).map(|partition| ((topic.as_str(), partition), Position::Beginning));
    let mut reader = client.reader().assign(both).build().await?;
    let control = reader.control().clone();
    let paused = TopicPartition::new(topic.as_str(), 0);

    control.pause([&paused])?;
    assert_eq!(control.paused(), std::slice::from_ref(&paused));
    write(&producer, &topic, 0, &["paused 1", "paused 2"]).await?;
    write(&producer, &topic, 1, &["flows 1", "flows 2"]).await?;
    assert_eq!(texts(&read(&mut reader, 2).await), ["flows 1", "flows 2"]);
    write(&producer, &topic, 1, &["flows 3"]).await?;
    assert_eq!(texts(&read(&mut reader, 1).await), ["flows 3"]);
    assert_eq!(control.position(&paused), Some(0));

    control.resume([&paused])?;
    assert!(control.paused().is_empty());
    assert_eq!(texts(&read(&mut reader, 2).await), ["paused 1", "paused 2"]);

    // Also for what was fetched already: of ten records in one batch, the second comes after the pause.
    write(&producer, &topic, 0, &["x"; 10]).await?;
    assert_eq!(read(&mut reader, 1).await.len(), 1);
    control.pause([&paused])?;
    write(&producer, &topic, 1, &["flows 4"]).await?;
    assert_eq!(texts(&read(&mut reader, 1).await), ["flows 4"]);
    control.resume([&paused])?;
    assert_eq!(texts(&read(&mut reader, 9).await), ["x"; 9]);

    let unknown = TopicPartition::new(topic.as_str(), 7);
    assert_eq!(control.pause([&unknown]).unwrap_err().kind(), ErrorKind::PartitionLost);
    Ok(())
}

#[tokio::test]
async fn seek_goes_anywhere_and_the_next_record_is_from_there() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("seek", 1).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    write(&producer, &topic, 0, &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]).await?;
    let mut reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let control = reader.control().clone();

    assert_eq!(texts(&read(&mut reader, 3).await), ["0", "1", "2"]);
    control.seek(&partition, Position::Offset(7))?;
    assert_eq!(texts(&read(&mut reader, 1).await), ["7"]);
    control.seek(&partition, Position::Offset(1))?;
    assert_eq!(control.position(&partition), Some(1));
    assert_eq!(texts(&read(&mut reader, 2).await), ["1", "2"]);
    control.seek(&partition, Position::Beginning)?;
    assert_eq!(texts(&read(&mut reader, 1).await), ["0"]);
    control.seek(&partition, Position::End)?;
    // The end is that of the moment when it is looked up, which a read begins.
    let (next, written) = tokio::join!(read(&mut reader, 1), async {
        eventually("a position at the end", async || control.position(&partition).filter(|position| *position == 10))
            .await;
        write(&producer, &topic, 0, &["10"]).await
    });
    written?;
    assert_eq!(texts(&next), ["10"]);

    let batch = {
        control.seek(&partition, Position::Offset(4))?;
        soon("a batch", reader.next_batch(3)).await?.expect("nobody stops it")
    };
    let first = batch.iter().next().expect("a record").offset;
    control.rewind(&batch)?;
    drop(batch);
    assert_eq!((first, texts(&read(&mut reader, 1).await)), (4, vec!["4"]));
    let error = control.seek(&TopicPartition::new("other", 0), Position::End).unwrap_err();
    assert!(error.kind() == ErrorKind::PartitionLost && error.to_string().contains("other-0"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_read_that_is_dropped_loses_no_record() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("dropped-reads", 1).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    let mut reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    let writing = async {
        for number in 0..200 {
            producer.send(Record::to(&topic).value(&number.to_string())).await?;
        }
        Result::Ok(())
    };
    let reading = async {
        let mut found = Vec::new();
        while found.len() < 200 {
            // Each read gets one poll, or a few, and is dropped in between.
            let polls = found.len() % 3 + 1;
            let mut read = Box::pin(reader.next());
            for _ in 0..polls {
                if let Poll::Ready(record) = poll_once(read.as_mut()) {
                    let record = record?.expect("nobody stops it");
                    found.push(record.offset());
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        Result::Ok(found)
    };
    let (written, found) = soon("both", async { tokio::join!(writing, reading) }).await;
    written?;
    assert_eq!(found?, (0..200).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn readers_of_the_same_partitions_are_independent() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("independent", 1).await;
    let client = client(&cluster).await;
    write(&client.producer().build().await?, &topic, 0, &["a", "b", "c", "d"]).await?;
    let group = cluster.unique("independent");
    let from = |offset| [((topic.as_str(), 0), Position::Offset(offset))];
    let mut first = client.consumer(&group).assign(from(0)).build().await?;
    let mut second = client.consumer(&group).assign(from(2)).build().await?;
    let mut third = client.reader().assign(from(3)).build().await?;
    assert_eq!(texts(&read(&mut first, 4).await), ["a", "b", "c", "d"]);
    assert_eq!(texts(&read(&mut third, 1).await), ["d"]);
    assert_eq!(texts(&read(&mut second, 2).await), ["c", "d"]);
    first.close(GENEROUS).await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    second.control().seek(&partition, Position::Offset(1))?;
    assert_eq!(texts(&read(&mut second, 1).await), ["b"]);
    Ok(())
}

#[tokio::test]
async fn a_record_larger_than_every_fetch_limit_comes_whole() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("large-record", 1).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    let large = "x".repeat(300_000);
    write(&producer, &topic, 0, &["before", &large, "after"]).await?;
    let builder = client.reader().max_partition_fetch_bytes(1000).fetch_max_bytes(1000).fetch_buffer_bytes(10_000);
    let mut reader = builder.assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    for expected in ["before", &large, "after"] {
        assert_eq!(texts(&read(&mut reader, 1).await), [expected]);
    }
    Ok(())
}

#[tokio::test]
async fn position_and_lag_follow_what_was_read() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("lag", 1).await;
    let client = client(&cluster).await;
    write(&client.producer().build().await?, &topic, 0, &["v"; 10]).await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let mut reader = client.reader().assign([(&partition, Position::Beginning)]).build().await?;
    assert_eq!(reader.control().assignment(), std::slice::from_ref(&partition));
    drop(read(&mut reader, 4).await);
    assert_eq!(reader.control().position(&partition), Some(4));
    assert_eq!(reader.control().lag(&partition), Some(6));
    drop(read(&mut reader, 6).await);
    assert_eq!((reader.control().position(&partition), reader.control().lag(&partition)), (Some(10), Some(0)));
    Ok(())
}

#[tokio::test]
async fn a_record_comes_as_soon_as_it_is_written() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("long-poll", 1).await;
    let client = client(&cluster).await;
    let producer = client.producer().linger(Duration::ZERO).build().await?;
    // The broker holds a fetch for longer than the test may take, unless there is something.
    let builder = client.reader().fetch_max_wait(Duration::from_secs(25));
    let mut reader = builder.assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    for value in ["a", "b", "c", "d", "e", "f"] {
        let (records, sent) = tokio::join!(read(&mut reader, 1), producer.send(Record::to(&topic).value(value)));
        sent?;
        assert_eq!(texts(&records), [value]);
    }
    Ok(())
}
