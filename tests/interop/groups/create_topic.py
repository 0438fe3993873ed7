"""Creates a topic of 6 partitions with 3 replicas each: create_topic.py BOOTSTRAP TOPIC."""

import sys

from confluent_kafka.admin import AdminClient, NewTopic

bootstrap, topic = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": bootstrap})
admin.create_topics([NewTopic(topic, num_partitions=6, replication_factor=3)])[topic].result(timeout=30)
