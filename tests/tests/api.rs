//! What can be sent to other threads and shared between them, checked by the compiler.

use std::time::Duration;

use milena::{
    Batch, Client, ClientBuilder, Config, Consumer, ConsumerBuilder, ConsumerControl, ConsumerRecord, Delivery, Error,
    Offsets, Position, Producer, ProducerBuilder, Record, RecordStream, Result, Topic, TopicPartition,
};
use milena_mock_broker::{BrokerControl, FaultHandle, Journal, MockCluster, PartitionControl};

fn send<T: Send + 'static>() {}
fn shared<T: Send + Sync + 'static>() {}
fn unpin<T: Unpin>() {}
fn is_send<T: Send>(_: T) {}

#[test]
fn types_can_go_where_they_are_needed() {
    shared::<Client>();
    shared::<Config>();
    shared::<Producer>();
    shared::<Topic>();
    shared::<Delivery>();
    shared::<Error>();
    shared::<Consumer>();
    shared::<ConsumerControl>();
    shared::<ConsumerRecord>();
    shared::<Batch>();
    shared::<Offsets>();
    shared::<TopicPartition>();
    shared::<Position>();
    send::<RecordStream>();
    send::<ClientBuilder>();
    send::<ProducerBuilder>();
    send::<ConsumerBuilder>();
    unpin::<Delivery>();
    unpin::<RecordStream>();
    shared::<MockCluster>();
    shared::<BrokerControl>();
    shared::<PartitionControl>();
    shared::<FaultHandle>();
    shared::<Journal>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}

/// Never called: that it compiles is the test.
#[allow(dead_code, reason = "only the compiler looks at it")]
fn futures_can_be_spawned(
    client: Client,
    producer: Producer,
    mut consumer: Consumer,
    batch: Batch,
    cluster: MockCluster,
) {
    is_send(Client::connect("localhost:9092"));
    is_send(client.create_topic("t", 1, 1));
    is_send(client.delete_topic("t"));
    is_send(client.producer().build());
    is_send(client.reader().assign([(("t", 0), Position::Beginning)]).build());
    is_send(producer.send(Record::to("t").value("v")));
    is_send(producer.enqueue(Record::to("t").value("v")));
    is_send(producer.topic("t"));
    is_send(producer.flush());
    is_send(producer.close(Duration::ZERO));
    is_send(consumer.commit(Offsets::at(("t", 0), 1)));
    is_send(consumer.commit(&batch));
    is_send(consumer.next());
    is_send(consumer.next_batch(1));
    is_send(async {
        for record in &batch {
            producer.enqueue(Record::to("t").value(record.value.unwrap_or_default())).await?.detach();
        }
        Result::<()>::Ok(())
    });
    is_send(consumer.close(Duration::ZERO));
    is_send(client.close(Duration::ZERO));
    is_send(cluster.until("anything", |snapshot| snapshot.open_connections() == 0));
    is_send(cluster.pipe("b1", 9092));
    is_send(async move { cluster.stop().await });
}
