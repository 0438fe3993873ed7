"""A member of a consumer group by confluent-kafka (librdkafka), until SIGTERM: confluent.py BOOTSTRAP GROUP TOPIC [STRATEGY].

With a strategy, standard error tells what the coordinator of the group answers."""

import signal
import sys

from confluent_kafka import Consumer

bootstrap, group, topic, *strategy = sys.argv[1:]
leaving = False


def leave(_signal, _frame):
    global leaving
    leaving = True


def assigned(_consumer, partitions):
    print("assigned", *sorted(p.partition for p in partitions), flush=True)


signal.signal(signal.SIGTERM, leave)
settings = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"}
for name in strategy:
    settings |= {"partition.assignment.strategy": name, "debug": "cgrp"}
consumer = Consumer(settings)
consumer.subscribe([topic], on_assign=assigned)
while not leaving:
    message = consumer.poll(0.2)
    if message is None:
        continue
    if message.error():
        raise SystemExit(f"poll: {message.error()}")
    print("record", message.partition(), message.offset(), message.value().decode(), flush=True)
consumer.close()
