"""A member of a consumer group by kafka-python, until SIGTERM: kafka_python.py BOOTSTRAP GROUP TOPIC."""

import signal
import sys

from kafka import ConsumerRebalanceListener, KafkaConsumer

bootstrap, group, topic = sys.argv[1:]
leaving = False


def leave(_signal, _frame):
    global leaving
    leaving = True


class Tell(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        pass

    def on_partitions_assigned(self, _assigned):
        print("assigned", *sorted(p.partition for p in consumer.assignment()), flush=True)


signal.signal(signal.SIGTERM, leave)
consumer = KafkaConsumer(bootstrap_servers=bootstrap.split(","), group_id=group, auto_offset_reset="earliest")
consumer.subscribe([topic], listener=Tell())
while not leaving:
    for partition, records in consumer.poll(timeout_ms=200).items():
        for record in records:
            print("record", partition.partition, record.offset, record.value.decode(), flush=True)
consumer.close()
