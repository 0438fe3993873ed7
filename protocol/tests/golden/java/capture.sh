#!/bin/bash
# Captures ../frames.txt and ../frames-kcat.txt again: what passes between a real broker (Kafka 4.4.0) and its Java client, and
# kcat (librdkafka). Needs Java 17, Maven and kcat. Takes the ports 19190 to 19192 of the loopback interface.
set -eu
cd "$(dirname "$0")"
jars=$PWD/../../../../target/golden-broker
mvn -q -B dependency:copy-dependencies -Dartifact=kafka_2.13 -DoutputDirectory="$jars"

scratch=$(mktemp -d)
broker= proxy=
trap 'kill $proxy $broker 2>/dev/null; wait; rm -rf "$scratch"' EXIT INT TERM
cat > "$scratch/properties" <<END
process.roles=broker,controller
node.id=1
broker.rack=rack-a
listeners=CLIENT://127.0.0.1:19191,CONTROLLER://127.0.0.1:19190
advertised.listeners=CLIENT://127.0.0.1:19192
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:19190
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.dirs=$scratch/data
END
java -cp "$jars/*" kafka.tools.StorageTool format -t golden-golden-golden-A -c "$scratch/properties" > "$scratch/log" 2>&1
java -Xmx512m -cp "$jars/*" kafka.Kafka "$scratch/properties" >> "$scratch/log" 2>&1 &
broker=$!

# $1 = file to write, the rest = what to run meanwhile, its last argument being the bootstrap address.
capture() {
    file=$1
    shift
    echo "# Between a Kafka 4.4.0 broker and $1; made by java/capture.sh" > "$file"
    shift
    java Proxy.java 19192 19191 >> "$file" &
    proxy=$!
    until (exec 3<> /dev/tcp/127.0.0.1/19192) 2>/dev/null; do sleep 0.2; done
    "$@" 127.0.0.1:19192
    kill $proxy
    wait $proxy || true
    proxy=
}

with_kcat() {
    for codec in none gzip snappy lz4 zstd; do
        seq -f 'key:%.0f and something that repeats, repeats, repeats' 1 8 |
            kcat -P -b "$1" -t lines -z $codec -K: -X linger.ms=100 -X enable.idempotence=true -X queue.buffering.max.kbytes=1000
    done
    kcat -C -b "$1" -t lines -o beginning -e -q > "$scratch/read"
    timeout 20 kcat -G lines-readers -b "$1" -X auto.offset.reset=earliest -X heartbeat.interval.ms=500 -c 40 -q lines >> "$scratch/read"
    kcat -L -b "$1" > /dev/null
    test "$(wc -l < "$scratch/read")" -eq 80
}

until (exec 3<> /dev/tcp/127.0.0.1/19191) 2>/dev/null; do sleep 0.5; done
capture ../frames.txt "its Java client" java -cp "$jars/*" Client.java
capture ../frames-kcat.txt "$(kcat -V | grep -o 'librdkafka [0-9.]*')" with_kcat
