//! Settings and addresses that are wrong.

use std::time::Duration;

use futures_util::StreamExt;
use milena::{Acks, Client, Config, ErrorKind, Position, Record, Result, TryEnqueueError};
use milena_tests::cluster::TestCluster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::{client, soon};

#[tokio::test]
async fn a_property_nobody_knows_is_refused_with_a_suggestion_and_a_known_one_works() -> Result<()> {
    for (wrong, right) in [("compression.typ", "compression.type"), ("bootstrap.server", "bootstrap.servers")] {
        let error = Config::default().set(wrong, "x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("\"{wrong}\"")) && error.to_string().contains(right), "{error}");
    }

    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("properties", 1).await;
    let bootstrap = cluster.bootstrap();
    let properties =
        [("bootstrap.servers", bootstrap.as_str()), ("compression.type", "zstd"), ("linger.ms", "0"), ("acks", "all")];
    let client = Client::builder().config(Config::from_properties(properties)?).connect().await?;
    client.producer().build().await?.send(Record::to(&topic).value(&"compresses".repeat(100))).await?;
    assert_eq!(cluster.log(&topic, 0).await[0].codec, 4, "zstd, by the property");
    Ok(())
}

#[tokio::test]
async fn contradictions_are_told_all_at_once_with_both_names() {
    let cluster = TestCluster::shared().await;
    let builder = client(&cluster).await.producer().acks(Acks::Leader).max_in_flight(6);
    let error = builder.delivery_timeout(Duration::from_secs(1)).build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    for name in ["acks", "enable.idempotence", "max.in.flight.requests.per.connection", "delivery.timeout.ms"] {
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[tokio::test]
async fn subscribing_without_a_group_or_assigning_nothing_is_refused() {
    let cluster = TestCluster::shared().await;
    let client = client(&cluster).await;
    let nothing: [((&str, i32), Position); 0] = [];
    for error in [
        client.reader().build().await.map(drop).unwrap_err(),
        client.reader().assign(nothing).build().await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Usage | ErrorKind::Config), "{error}");
    }
}

/// Two addresses where nobody listens.
async fn dead_ends() -> [String; 2] {
    let (first, second) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    [first, second].map(|listener| listener.local_addr().unwrap().to_string())
}

#[tokio::test]
async fn unreachable_bootstrap_addresses_are_each_named() -> Result<()> {
    let dead = dead_ends().await;
    let timeout = Duration::from_millis(300);
    let connected = Client::builder().bootstrap(dead.clone()).bootstrap_timeout(timeout).connect();
    let error = soon("connect to give up", connected).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
    for part in [&dead[0], &dead[1], "bootstrap.timeout.ms"] {
        assert!(error.to_string().contains(part), "{error}");
    }

    // One that answers is enough.
    let cluster = TestCluster::shared().await;
    let mut addresses = dead.to_vec();
    addresses.extend(cluster.bootstrap().split(',').map(str::to_owned));
    Client::builder().bootstrap(addresses).connect().await?;
    Ok(())
}

#[tokio::test]
async fn a_web_server_is_not_taken_for_a_broker() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
            });
        }
    });
    let timeout = Duration::from_millis(300);
    let connected = Client::builder().bootstrap([address.clone()]).bootstrap_timeout(timeout).connect();
    let error = soon("connect to give up", connected).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains(&address), "{error}");
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    assert!(text.contains("looks like HTTP") && text.contains("no address of bootstrap.servers"), "{text}");
}

#[tokio::test]
async fn a_name_that_no_topic_can_have_is_refused_at_once_and_spoils_nothing() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("good-name", 2).await;
    let client = client(&cluster).await;
    let producer = client.producer().build().await?;
    for name in ["", "a/b", "..", &"x".repeat(40_000)] {
        let error = soon("a refusal", producer.topic(name)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(matches!(producer.try_enqueue(&Record::to(name)), Err(TryEnqueueError::Rejected(_))), "{name:.10}");
        assert_eq!(client.partitions(name).await.unwrap_err().kind(), ErrorKind::Usage);
        let subscribed = client.consumer("names").subscribe([name]).build().await;
        assert_eq!(subscribed.map(drop).unwrap_err().kind(), ErrorKind::Usage);
    }
    assert_eq!(client.partitions(&topic).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn an_address_that_accepts_and_says_nothing_is_named_with_the_others() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_address = silent.local_addr().unwrap().to_string();
    let [refused, _] = dead_ends().await;
    let builder = Client::builder().bootstrap([silent_address.as_str(), refused.as_str()]);
    let connect = builder.bootstrap_timeout(Duration::from_millis(1_500)).connect();
    let error = soon("giving up", connect).await.unwrap_err();

    assert!(error.to_string().contains(&silent_address) && error.to_string().contains(&refused), "{error}");
    drop(silent);
}

#[tokio::test]
async fn the_stream_of_a_closed_client_ends_after_one_error() -> Result<()> {
    let cluster = TestCluster::shared().await;
    let topic = cluster.topic("stream-end", 1).await;
    let client = client(&cluster).await;
    let reader = client.reader().assign([((topic.as_str(), 0), Position::Beginning)]).build().await?;
    let stream = reader.into_stream();
    client.close(Duration::from_secs(1)).await;

    let items: Vec<_> = soon("the end of the stream", stream.collect()).await;
    assert_eq!(items.len(), 1);
    assert_eq!(items.into_iter().next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    Ok(())
}
