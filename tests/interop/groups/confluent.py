"""A member of a consumer group by confluent-kafka (librdkafka), until SIGTERM: confluent.py BOOTSTRAP GROUP TOPIC."""

import signal
import sys

from confluent_kafka import Consumer

bootstrap, group, topic = sys.argv[1:]
leaving = False


def leave(_signal, _frame):
    global leaving
    leaving = True


def assigned(_consumer, partitions):
    print("assigned", *sorted(p.partition for p in partitions), flush=True)


signal.signal(signal.SIGTERM, leave)
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"})
consumer.subscribe([topic], on_assign=assigned)
while not leaving:
    message = consumer.poll(0.2)
    if message is None:
        continue
    if message.error():
        raise SystemExit(f"poll: {message.error()}")
    print("record", message.partition(), message.offset(), message.value().decode(), flush=True)
consumer.close()
