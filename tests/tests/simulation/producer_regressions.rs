//! What a review of the producer and its connections found: each once lost, doubled or hung something.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use milena::{
    Acks, ApiKey, Client, Compression, ConnectFn, Delivery, ErrorKind, Position, Record, Runtime, Task, Written,
};
use milena_mock_broker::Pipe;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::world::{World, run};

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Runs something while a batch is compressed, as another thread would.
struct Hooked(Hook);

impl Runtime for Hooked {
    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        let hook = self.0.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        work();
    }
}

async fn a_batch_that_is_filled_while_another_is_collected(world: World, idempotent: bool) {
    let hook: Hook = Arc::default();
    let client = world.client_on(Hooked(hook.clone())).await;
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let builder = client.producer().compression(Compression::Zstd).linger(Duration::from_secs(60));
    let builder = builder.on_event(move |event| seen.lock().unwrap().push(event.clone()));
    let builder = if idempotent { builder } else { builder.idempotence(false).acks(Acks::None) };
    let producer = builder.build().await.unwrap();
    let leader = |partition| world.cluster.partition("orders", partition).leader();
    let other = (1..6).find(|partition| leader(*partition) == leader(0)).unwrap();
    for partition in [0, other] {
        let first = producer.enqueue(Record::to("orders").partition(partition).value("established")).await.unwrap();
        producer.flush().await.unwrap();
        first.await.unwrap();
    }

    let second: Arc<Mutex<Option<Delivery>>> = Arc::default();
    let (cloned, slot) = (producer.clone(), second.clone());
    *hook.lock().unwrap() = Some(Box::new(move || {
        let value = [b'2'; 20_000];
        *slot.lock().unwrap() = cloned.try_enqueue(&Record::to("orders").partition(0).value(&value)).ok();
    }));
    let first = producer.try_enqueue(&Record::to("orders").partition(0).value(&[b'1'; 20_000])).unwrap();
    let large = producer.try_enqueue(&Record::to("orders").partition(other).value(&[b'x'; 100_000])).unwrap();
    first.await.unwrap();
    large.await.unwrap();
    let second = second.lock().unwrap().take().expect("the hook ran");
    second.await.unwrap();

    world.cluster.until("three records", |snapshot| snapshot.high_watermark("orders", 0) == 3).await;
    let log: Vec<String> = world.values(0).iter().map(|value| value[..1].to_owned()).collect();
    assert_eq!(log, ["e", "1", "2"]);
    assert!(events.lock().unwrap().is_empty(), "an epoch was raised without any fault");
}

#[test]
fn a_partition_is_named_once_in_a_request_whatever_other_threads_do() {
    for idempotent in [false, true] {
        run(1, async |world| a_batch_that_is_filled_while_another_is_collected(world, idempotent).await);
    }
}

#[test]
fn a_topic_handle_of_another_producer_is_as_good_as_the_name() {
    run(1, async |world| {
        let client = world.client().await;
        let one = client.producer().build().await.unwrap();
        let two = client.producer().build().await.unwrap();
        let topic = one.topic("orders").await.unwrap();
        two.send(Record::to(&topic).partition(0).value("two")).await.unwrap();
        one.send(Record::to(&topic).partition(0).value("one")).await.unwrap();

        let started = Instant::now();
        let reports = [one.close(Duration::from_secs(60)).await, two.close(Duration::from_secs(60)).await];
        assert_eq!(reports.map(|report| report.acked), [1, 1]);
        assert!(started.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn max_block_may_be_for_ever() {
    run(1, async |world| {
        let builder = world.client().await.producer().max_block(Duration::MAX);
        let producer = builder.buffer_memory(1 << 20).max_request_size(1 << 20).build().await.unwrap();
        let value = vec![0; 600_000];
        let record = || Record::to("orders").partition(0).value(&value);
        let deliveries = [producer.enqueue(record()).await.unwrap(), producer.enqueue(record()).await.unwrap()];
        for delivery in deliveries {
            delivery.await.unwrap();
        }
    });
}

/// A stream that keeps what is written until it is flushed, and takes its time for that, as TLS may.
struct Buffered {
    pipe: Pipe,
    answered: bool,
    waiting: Vec<u8>,
    until: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Buffered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.pipe).poll_read(cx, buffer);
        self.answered |= buffer.filled().len() > before;
        read
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.waiting.extend_from_slice(bytes);
        if self.answered && self.until.is_none() {
            self.until = Some(Box::pin(sleep(Duration::from_millis(5))));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(until) = &mut self.until {
            ready!(until.as_mut().poll(cx));
            self.until = None;
        }
        let Self { pipe, waiting, .. } = &mut *self;
        while !waiting.is_empty() {
            let written = ready!(Pin::new(&mut *pipe).poll_write(cx, waiting))?;
            waiting.drain(..written);
        }
        Pin::new(pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[test]
fn a_stream_that_has_to_be_flushed_is() {
    run(1, async |world| {
        let cluster = world.cluster.clone();
        let connector = ConnectFn(move |host: String, port| {
            let pipe = cluster.pipe(&host, port);
            async move { Ok(Buffered { pipe: pipe.await?, answered: false, waiting: Vec::new(), until: None }) }
        });
        let client = Client::builder().bootstrap(["b1:9092"]).connector(connector).connect().await.unwrap();
        let producer = client.producer().build().await.unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600); // the cluster's
        producer.send(Record::to("orders").partition(0).value("flushed").timestamp(now)).await.unwrap();
        assert_eq!(world.values(0), ["flushed"]);
    });
}

/// A stream that takes nothing while the flag is set, as that of a peer that has stopped reading.
struct Stuck {
    pipe: Pipe,
    is_stuck: Arc<AtomicBool>,
}

impl AsyncRead for Stuck {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_stuck.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

#[test]
fn without_acks_a_broker_that_reads_nothing_is_left_after_the_request_timeout() {
    run(1, async |world| {
        let (cluster, is_stuck) = (world.cluster.clone(), Arc::new(AtomicBool::new(false)));
        let flag = is_stuck.clone();
        let connector = ConnectFn(move |host: String, port| {
            let (pipe, is_stuck) = (cluster.pipe(&host, port), flag.clone());
            async move { Ok(Stuck { pipe: pipe.await?, is_stuck }) }
        });
        let client = Client::builder().bootstrap(["b1:9092"]).connector(connector).connect().await.unwrap();
        let producer = client.producer().acks(Acks::None).idempotence(false).build().await.unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600); // the cluster's
        let record = |value| Record::to("orders").partition(0).value(value).timestamp(now);
        producer.send(record("a")).await.unwrap();
        is_stuck.store(true, Ordering::Release);
        producer.send(record("in vain")).await.unwrap();
        // Longer than connections.max.idle.ms.
        sleep(Duration::from_secs(600)).await;
        is_stuck.store(false, Ordering::Release);
        producer.send(record("b")).await.unwrap();
        world.cluster.until("the next record", |now| now.log_end("orders", 0) == 2).await;
        assert_eq!(world.values(0), ["a", "b"]);
    });
}

#[test]
fn a_listener_that_panics_stops_nothing() {
    run(1, async |world| {
        let builder = world.client().await.producer().on_event(|event| panic!("{event:?}"));
        let producer = builder.build().await.unwrap();
        producer.send(Record::to("orders").partition(0).value("a")).await.unwrap();
        world.cluster.recreate_topic("orders");
        sleep(Duration::from_secs(301)).await; // metadata.max.age.ms: TopicRecreated is told
        world.cluster.broker(world.cluster.partition("orders", 1).leader().unwrap()).crash();

        let sent = producer.send(Record::to("orders").partition(1).value("b"));
        timeout(Duration::from_secs(130), sent).await.expect("within delivery.timeout.ms").unwrap();
    });
}

#[test]
fn a_topic_that_is_not_there_costs_no_storm_of_requests() {
    run(1, async |world| {
        let producer = world.client().await.producer().build().await.unwrap();
        producer.send(Record::to("orders").value("a")).await.unwrap();
        producer.send(Record::to("typo").value("a")).await.unwrap_err();
        let asked = || world.cluster.journal().requests(ApiKey::METADATA).len();
        let before = asked();
        sleep(Duration::from_secs(600)).await;

        assert!(asked() - before <= 5, "{} requests in 10 minutes", asked() - before);
    });
}

#[test]
fn a_frozen_leader_is_suspected_within_seconds() {
    run(1, async |world| {
        let client = world.client().await;
        let producer = client.producer().build().await.unwrap();
        producer.send(Record::to("orders").partition(0).value("a")).await.unwrap();
        let mut reader = client.reader().assign([(("orders", 0), Position::Beginning)]).build().await.unwrap();
        drop(reader.next().await.unwrap());
        let partition = world.cluster.partition("orders", 0);
        let leader = partition.leader().unwrap();
        let next = partition.in_sync_replicas().into_iter().find(|broker| *broker != leader).unwrap();
        sleep(Duration::from_secs(5)).await;
        world.cluster.broker(leader).freeze();
        partition.elect(next);
        partition.shrink_isr(leader);

        let started = Instant::now();
        producer.send(Record::to("orders").partition(0).value("b")).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(7), "produced after {:?}", started.elapsed());
        reader.next().await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(7), "consumed after {:?}", started.elapsed());
    });
}

#[test]
fn a_record_that_was_never_sent_says_what_kept_it() {
    run(7, async |world| {
        let client = world.client().await;
        let producer = client.producer().delivery_timeout(Duration::from_secs(40)).build().await.unwrap();
        producer.send(Record::to("orders").partition(0).value("established")).await.unwrap();
        for broker in 1..=3 {
            world.cluster.broker(broker).crash();
        }
        let error = producer.send(Record::to("orders").partition(0).value("kept")).await.unwrap_err();
        assert_eq!((error.kind(), error.written()), (ErrorKind::TimedOut, Written::No), "{error}");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains("cannot connect to"), "{cause}");
    });
}

#[test]
fn a_busy_partition_does_not_starve_the_others_of_its_broker() {
    run(1, async |world| {
        let leader = |partition| world.cluster.partition("orders", partition).leader();
        let other = (1..6).find(|partition| leader(*partition) == leader(0)).unwrap();
        let builder = world.client().await.producer().max_request_size(10_000).buffer_memory(300_000);
        let producer = builder.build().await.unwrap();
        for partition in [0, other] {
            producer.send(Record::to("orders").partition(partition).value("established")).await.unwrap();
        }
        let feeder = producer.clone();
        let feeding = tokio::spawn(async move {
            while let Ok(delivery) = feeder.enqueue(Record::to("orders").partition(0).value(&[b'x'; 5_500])).await {
                delivery.detach();
            }
        });
        sleep(Duration::from_millis(100)).await;

        let sent = producer.send(Record::to("orders").partition(other).value(&[b'y'; 5_500]));
        timeout(Duration::from_secs(5), sent).await.expect("its turn comes").unwrap();
        producer.close(Duration::from_secs(60)).await;
        feeding.await.unwrap();
    });
}

#[test]
fn a_record_that_finds_no_room_ends_a_long_linger() {
    run(1, async |world| {
        let builder = world.client().await.producer().linger(Duration::from_secs(60)).batch_size(4_096);
        let producer = builder.max_request_size(4_096).buffer_memory(24 * 1024).build().await.unwrap();
        producer.topic("orders").await.unwrap();
        for partition in 0..6 {
            producer.try_enqueue(&Record::to("orders").partition(partition).value(&[b'x'; 2_000])).unwrap().detach();
        }
        let record = Record::to("orders").partition(0).value(&[b'y'; 3_000]);
        let until_there_is_room = async {
            while producer.try_enqueue(&record).is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(1), until_there_is_room).await.expect("the open batches are sent");
    });
}
