#!/bin/sh
# Starts Kafka as the public apache/kafka image does, from the same environment variables: KAFKA_NODE_ID=1 becomes
# node.id=1, and so on, by Kafka's own program for that. A start after a crash finds its data formatted already.
# There is nothing but a shell and Java in this image.
set -eu

java="/opt/java/bin/java ${KAFKA_HEAP_OPTS:--Xmx320m} ${KAFKA_JVM_PERFORMANCE_OPTS:-} ${KAFKA_OPTS:-}"
java="$java -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml -cp /opt/kafka/libs/*"

set -f # the wildcard is for Java
formatted=$($java kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) ||
    case $formatted in
    *"already formatted"*) ;;
    *)
        echo "$formatted"
        exit 1
        ;;
    esac

exec $java kafka.Kafka /opt/kafka/config/server.properties
