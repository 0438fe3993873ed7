"""A member of a consumer group by confluent-kafka (librdkafka), until SIGTERM: confluent.py BOOTSTRAP GROUP TOPIC [STRATEGY].

With a strategy, standard error tells what the coordinator of the group answers."""

import signal
import sys

from confluent_kafka import Consumer

bootstrap, group, topic, *strategy = sys.argv[1:]
leaving = False
owned = set()


def leave(_signal, _frame):
    global leaving
    leaving = True


def say(word, partitions):
    print(word, *sorted(partitions), flush=True)


def assigned(_consumer, partitions):
    owned.update(p.partition for p in partitions)
    say("assigned", owned)


def taken(word):
    def tell(_consumer, partitions):
        owned.difference_update(p.partition for p in partitions)
        say(word, [p.partition for p in partitions])

    return tell


signal.signal(signal.SIGTERM, leave)
settings = {
    "bootstrap.servers": bootstrap,
    "group.id": group,
    "auto.offset.reset": "earliest",
    "enable.auto.offset.store": False,  # else it may commit what was not printed yet
}
for name in strategy:
    settings |= {"partition.assignment.strategy": name, "debug": "cgrp"}
    settings |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
consumer = Consumer(settings)
consumer.subscribe([topic], on_assign=assigned, on_revoke=taken("revoked"), on_lost=taken("lost"))
while not leaving:
    message = consumer.poll(0.2)
    if message is None:
        continue
    if message.error():
        raise SystemExit(f"poll: {message.error()}")
    print("record", message.partition(), message.offset(), message.value().decode(), flush=True)
    consumer.store_offsets(message)
consumer.close()
