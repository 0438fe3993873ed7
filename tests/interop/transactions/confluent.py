"""What confluent-kafka (librdkafka) sees of transactions: confluent.py BOOTSTRAP PREFIX. Names begin with the prefix."""

import sys
import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, prefix = sys.argv[1:]
SOURCE, SINK = f"{prefix}-in", f"{prefix}-out"
GROUP = f"{prefix}-group"
admin = AdminClient({"bootstrap.servers": bootstrap})


def producer(name, timeout_ms=60_000):
    made = Producer({
        "bootstrap.servers": bootstrap,
        "transactional.id": f"{prefix}-{name}",
        "transaction.timeout.ms": timeout_ms,
    })
    made.init_transactions(30)
    return made


def consumer(isolation, group=f"{prefix}-reader"):
    return Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "isolation.level": isolation,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
    })


def show(what, observed):
    print(f"{what}: {observed}", flush=True)


def attempt(what, act, done):
    try:
        act()
        show(what, done)
    except KafkaException as failed:
        error = failed.args[0]
        kind = [word for word, holds in [
            ("fatal", error.fatal()),
            ("retriable", error.retriable()),
            ("requires abort", error.txn_requires_abort()),
        ] if holds]
        show(what, f"{error.name()} {kind}")


def send(to, topic, *values):
    """Sends and waits until it is written."""
    reports = []
    for value in values:
        to.produce(topic, value, partition=0, on_delivery=lambda error, _message: reports.append(error and error.name()))
    to.flush(30)
    return reports


def ends(topic):
    """Last stable offset and high watermark."""
    found = []
    for isolation in ["read_committed", "read_uncommitted"]:
        reader = consumer(isolation)
        found.append(reader.get_watermark_offsets(TopicPartition(topic, 0), timeout=30)[1])
        reader.close()
    return found


def settled(topic):
    """Waits until no transaction is open: markers are written after a commit has been answered."""
    deadline = time.monotonic() + 60
    while True:
        stable, high = ends(topic)
        if stable == high:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"a transaction in {topic} does not end")


def read(isolation, topic):
    """All there is to read, with offsets."""
    reader = consumer(isolation)
    reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    seen = []
    while True:
        message = reader.poll(30)
        if message is None:
            raise SystemExit(f"{topic} does not end")
        if message.error():  # the end
            break
        seen.append(f"{message.offset()} {message.value().decode()}")
    reader.close()
    return seen


def committed():
    asked = [ConsumerGroupTopicPartitions(GROUP, [TopicPartition(SOURCE, 0)])]
    answer = admin.list_consumer_group_offsets(asked)[GROUP].result()
    return answer.topic_partitions[0].offset


def commit_and_abort():
    made = producer("plain")
    made.begin_transaction()
    show("sent", send(made, SOURCE, "a", "b", "c"))
    show("before the commit, committed", read("read_committed", SOURCE))
    show("before the commit, all", read("read_uncommitted", SOURCE))
    made.commit_transaction(30)
    settled(SOURCE)
    show("after the commit, committed", read("read_committed", SOURCE))

    made.begin_transaction()
    show("sent", send(made, SOURCE, "d", "e"))
    made.abort_transaction(30)
    settled(SOURCE)
    show("after the abort, committed", read("read_committed", SOURCE))
    show("after the abort, all", read("read_uncommitted", SOURCE))

    made.begin_transaction()
    made.commit_transaction(30)
    made.begin_transaction()
    made.abort_transaction(30)
    made.begin_transaction()
    show("sent", send(made, SOURCE, "f"))
    made.commit_transaction(30)
    settled(SOURCE)
    show("after empty ones, committed", read("read_committed", SOURCE))


def transform():
    """Reads from one topic, writes to the other, and commits both as one: after an abort it is done again."""
    made, reader = producer("transform"), consumer("read_committed", GROUP)
    reader.subscribe([SOURCE])
    for commits in [False, True]:
        records = []
        while len(records) < 4:
            message = reader.poll(30)
            if message is None:
                raise SystemExit("nothing to transform")
            if not message.error():
                records.append(message)
        made.begin_transaction()
        show("sent", send(made, SINK, *[record.value().decode().upper() for record in records]))
        offsets = reader.position([TopicPartition(SOURCE, 0)])
        made.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), 30)
        show("offset within the transaction", committed())
        if commits:
            made.commit_transaction(30)
        else:
            made.abort_transaction(30)
            reader.seek(TopicPartition(SOURCE, 0, 0))
        settled(SINK)
        # Waits until the transaction has ended for the group, too.
        show("stable offset", reader.committed([TopicPartition(SOURCE, 0)], timeout=30)[0].offset)
        show("offset after it", committed())
        show("transformed", read("read_committed", SINK))
    stale = reader.consumer_group_metadata()
    reader.close()
    made.begin_transaction()
    attempt("offsets of one who left", lambda: made.send_offsets_to_transaction(offsets, stale, 30), "sent")
    attempt("their commit", lambda: made.commit_transaction(30), "committed")
    attempt("their abort", lambda: made.abort_transaction(30), "aborted")
    show("offset at the end", committed())


def zombie():
    """A second producer with the same transactional id takes over."""
    first = producer("fenced")
    first.begin_transaction()
    show("sent", send(first, SINK, "zombie"))
    second = producer("fenced")
    second.begin_transaction()
    show("sent", send(second, SINK, "heir"))
    attempt("the zombie sends", lambda: send(first, SINK, "zombie again"), "sent")
    attempt("the zombie commits", lambda: first.commit_transaction(30), "committed")
    attempt("the zombie aborts", lambda: first.abort_transaction(30), "aborted")
    second.commit_transaction(30)
    settled(SINK)
    show("of zombie and heir, committed", read("read_committed", SINK))
    show("of zombie and heir, all", read("read_uncommitted", SINK))


def too_late():
    """A transaction that takes longer than it may."""
    made = producer("late", 2_000)
    made.begin_transaction()
    show("sent", send(made, SINK, "late"))
    settled(SINK)
    show("after its time, committed", read("read_committed", SINK))
    attempt("a late commit", lambda: made.commit_transaction(30), "committed")
    attempt("a late abort", lambda: made.abort_transaction(30), "aborted")
    attempt("another transaction", made.begin_transaction, "begun")
    made = producer("late", 2_000)
    made.begin_transaction()
    show("sent", send(made, SINK, "in time"))
    made.commit_transaction(30)
    settled(SINK)
    show("at the end, committed", read("read_committed", SINK))
    attempt("a time-out above the brokers' limit", lambda: producer("long", 1_000_000_000), "ready")


for created in admin.create_topics([NewTopic(name, 1, 3) for name in [SOURCE, SINK]]).values():
    created.result()
commit_and_abort()
transform()
zombie()
too_late()
