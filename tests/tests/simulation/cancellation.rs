//! A future of the producer dropped at every one of its polls leaves what its documentation says.

use std::time::Duration;

use milena::{ApiKey, CloseReport, ErrorCode, ErrorKind, Producer, Record, TryEnqueueError, Written};
use milena_mock_broker::Fault;

use crate::world::{World, dropped_after, run};

const SOON: Duration = Duration::from_secs(60);

/// Runs a case for 1, 2, 3 … polls until the future in it is done before it is dropped. The case says whether it was.
pub(crate) fn at_every_poll(case: impl AsyncFn(World, usize) -> bool) {
    const MOST: usize = 200;
    for polls in 1..=MOST {
        if run(polls as u64, async |world| case(world, polls).await) {
            assert!(polls > 1, "it is done at once: there is nothing to drop");
            return;
        }
    }
    panic!("it is not done after {MOST} polls");
}

async fn close(producer: &Producer) -> CloseReport {
    producer.close(SOON).await
}

fn record(value: &str) -> Record<'_> {
    Record::to("orders").partition(0).value(value)
}

#[test]
fn enqueue_dropped_while_it_waits_for_the_topic_has_enqueued_nothing() {
    at_every_poll(async |world, polls| {
        let producer = world.client().await.producer().build().await.unwrap();
        let enqueued = dropped_after(polls, producer.enqueue(record("v"))).await;
        let done = enqueued.is_some();
        if let Some(delivery) = enqueued {
            delivery.unwrap().detach();
        }
        let report = close(&producer).await;
        let count = usize::from(done);
        assert_eq!(report, CloseReport { acked: count as u64, not_written: 0, maybe_written: 0 });
        assert_eq!(world.values(0).len(), count);
        done
    });
}

#[test]
fn enqueue_dropped_while_it_waits_for_room_has_enqueued_nothing_and_leaves_its_room() {
    at_every_poll(async |world, polls| {
        let client = world.client().await;
        let builder = client.producer().buffer_memory(64 * 1024).max_request_size(16 * 1024);
        let producer = builder.batch_size(1000).build().await.unwrap();
        producer.topic("orders").await.unwrap();
        let slow = world.cluster.fault(Fault::on(ApiKey::PRODUCE).always().delay(Duration::from_millis(100)));
        let value = "x".repeat(10_000);
        let mut enqueued = 0;
        while let Ok(delivery) = producer.try_enqueue(&record(&value)) {
            delivery.detach();
            enqueued += 1;
        }
        let waiting = dropped_after(polls, producer.enqueue(record(&value))).await;
        let done = waiting.is_some();
        if let Some(delivery) = waiting {
            delivery.unwrap().detach();
            enqueued += 1;
        }
        producer.flush().await.unwrap();
        // All the room is there again.
        let mut room = 0;
        while let Ok(delivery) = producer.try_enqueue(&record(&value)) {
            delivery.detach();
            room += 1;
        }
        assert_eq!(room + usize::from(done), enqueued, "records that fit");
        assert_eq!(close(&producer).await.acked, (enqueued + room) as u64);
        assert_eq!(world.values(0).len(), enqueued + room);
        drop(slow);
        done
    });
}

#[test]
fn send_dropped_has_sent_nothing_or_is_delivered_all_the_same() {
    at_every_poll(async |world, polls| {
        let producer = world.client().await.producer().build().await.unwrap();
        let lost = world.cluster.fault(Fault::on(ApiKey::PRODUCE).apply_then_disconnect()).optional();
        let sent = dropped_after(polls, producer.send(record("v"))).await;
        if let Some(receipt) = &sent {
            assert_eq!(receipt.as_ref().unwrap().offset, Some(0));
        }
        producer.flush().await.unwrap();
        let report = close(&producer).await;
        assert_eq!((report.not_written, report.maybe_written), (0, 0));
        assert_eq!(world.values(0).len() as u64, report.acked);
        assert!(report.acked <= 1 && (sent.is_none() || report.acked == 1));
        drop(lost);
        sent.is_some()
    });
}

#[test]
fn flush_dropped_neither_stops_a_record_nor_forgets_a_failure() {
    at_every_poll(async |world, polls| {
        let producer = world.client().await.producer().linger(Duration::from_secs(60)).build().await.unwrap();
        producer.topic("orders").await.unwrap();
        let refused = world.cluster.fault(Fault::on(ApiKey::PRODUCE).partition(1).error(ErrorCode::INVALID_RECORD));
        producer.enqueue(record("v")).await.unwrap().detach();
        producer.enqueue(Record::to("orders").partition(1).value("bad")).await.unwrap().detach();
        let flushed = dropped_after(polls, producer.flush()).await;
        let (done, mut failures) = (flushed.is_some(), 0);
        for flushed in flushed.into_iter().chain([producer.flush().await, producer.flush().await]) {
            if let Err(error) = flushed {
                assert!(error.to_string().starts_with("1 records failed"), "{error}");
                assert_eq!(error.written(), Written::No, "{error}");
                failures += 1;
            }
        }
        assert_eq!(failures, 1, "told once");
        drop(refused);
        assert_eq!(close(&producer).await, CloseReport { acked: 1, not_written: 1, maybe_written: 0 });
        assert_eq!(world.all_values(), ["v"]);
        done
    });
}

#[test]
fn close_dropped_has_closed_the_producer_and_what_it_had_is_delivered() {
    at_every_poll(async |world, polls| {
        let producer = world.client().await.producer().linger(Duration::from_secs(60)).build().await.unwrap();
        for _ in 0..3 {
            producer.enqueue(record("v")).await.unwrap().detach();
        }
        let delivery = producer.enqueue(record("v")).await.unwrap();
        let closed = dropped_after(polls, producer.close(SOON)).await;
        let error = producer.enqueue(record("late")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(matches!(producer.try_enqueue(&record("late")), Err(TryEnqueueError::Rejected(_))));
        assert_eq!(delivery.await.unwrap().offset, Some(3));
        let report = CloseReport { acked: 4, not_written: 0, maybe_written: 0 };
        assert_eq!(closed.unwrap_or(report), report);
        assert_eq!(close(&producer).await, report);
        assert_eq!(world.values(0).len(), 4);
        closed.is_some()
    });
}

#[test]
fn a_delivery_dropped_at_any_poll_does_not_stop_its_record() {
    at_every_poll(async |world, polls| {
        let producer = world.client().await.producer().build().await.unwrap();
        let delivery = producer.enqueue(record("v")).await.unwrap();
        let settled = dropped_after(polls, delivery).await;
        producer.flush().await.unwrap();
        assert_eq!(world.values(0), ["v"]);
        settled.is_some()
    });
}
