//! Each codec, by what the log has and by what is read back.

use milena::{Compression, Position, Record, Result};
use milena_tests::cluster::TestCluster;

use crate::{client, read};

#[tokio::test]
async fn each_codec_is_read_back_from_small_and_large_batches() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    for (codec, number) in [
        (Compression::None, 0),
        (Compression::Gzip, 1),
        (Compression::Snappy, 2),
        (Compression::Lz4, 3),
        (Compression::Zstd, 4),
    ] {
        let topic = cluster.topic("codec", 1).await;
        let producer = client.producer().compression(codec).build().await?;
        // Small; well above 64 KiB in one record that compresses; the same in many; one that does not compress.
        let large = "what compresses well ".repeat(10_000);
        let noise: Vec<u8> = noise(150_000);
        let mut values: Vec<&[u8]> = vec![b"small", large.as_bytes(), &noise];
        let medium: Vec<String> = (0..300).map(|number| format!("{number} {}", "medium ".repeat(100))).collect();
        values.extend(medium.iter().map(String::as_bytes));
        producer.send(Record::to(&topic).key("k").value(values[0]).header("h", "v")).await?;
        for value in &values[1..] {
            producer.enqueue(Record::to(&topic).value(*value)).await?.detach();
        }
        producer.flush().await?;

        let log = cluster.log(&topic, 0).await;
        // What does not become smaller goes as it is.
        let codecs: Vec<i16> = log.iter().map(|record| record.codec).collect();
        assert!(codecs.iter().all(|codec| [0, number].contains(codec)), "{codec:?}: {codecs:?}");
        assert!(codecs.ends_with(&[number]), "{codec:?}: {codecs:?}");
        assert!(log.iter().map(|record| record.value.as_deref()).eq(values.iter().copied().map(Some)), "{codec:?}");
        let stored: usize = log.iter().map(|record| record.batch.1 / record.batch.0 as usize).sum();
        let sent: usize = values.iter().map(|value| value.len()).sum();
        assert_eq!(stored < sent / 2, number != 0, "{codec:?} stores {stored} bytes of {sent}");

        let mut reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
        let records = read(&mut reader, values.len()).await;
        assert!(records.iter().map(|record| record.value()).eq(values.iter().copied().map(Some)), "{codec:?}");
        assert_eq!(records[0].key(), Some(&b"k"[..]));
        assert_eq!(records[0].headers().collect::<Vec<_>>(), [("h", Some(&b"v"[..]))]);
    }
    Ok(())
}

/// Bytes without any pattern that a codec could use.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
