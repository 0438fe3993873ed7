#!/usr/bin/env bash
# Transactions of other clients, unmodified: Java's producer and consumer of committed records, and librdkafka's, each on the mock
# broker's binary and on Apache Kafka. They commit, abort, take too long, are fenced, and commit offsets with what they write;
# what they print of it must be the same on both.
#
#   transactions.sh [java|confluent ...]
#
# Needs Python with venv, Java 17 and Maven; fetches the clients, and Kafka, into target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=tests/interop/transactions
run=$(date +%s)
. tests/interop/clusters.sh

fail() {
    echo "transactions: $1" >&2
    exit 1
}

program() { # CLIENT BOOTSTRAP PREFIX
    case $1 in
    java) exec timeout 180 java -XX:TieredStopAtLevel=1 -cp "$fetched/java/*" "$programs/Transactions.java" "${@:2}" ;;
    confluent) exec timeout 180 "$fetched/python/bin/python" "$programs/confluent.py" "${@:2}" ;;
    *) echo "$1 is neither java nor confluent" >&2 && exit 2 ;;
    esac
}

# All clients at once on one cluster.
observe() { # CLUSTER BOOTSTRAP CLIENT...
    local client cluster=$1 bootstrap=$2 pids=() started=$SECONDS
    shift 2
    for client; do
        (program "$client" "$bootstrap" "$client-$run" >"$scratch/$client.$cluster" 2>"$scratch/$client.$cluster.log") &
        pids+=($!)
    done
    for client; do
        wait "${pids[0]}" || { tail -n 20 "$scratch/$client.$cluster" "$scratch/$client.$cluster.log" >&2 && fail "$client failed on $cluster"; }
        pids=("${pids[@]:1}")
    done
    echo "    $((SECONDS - started)) s on $cluster"
}

(($#)) || set -- java confluent
python
java_libraries

# Kafka starts while the mock cluster is looked at.
start_kafka
start_mock
observe mock "$mock" "$@"
await_kafka
observe kafka "$real" "$@"
for client; do
    diff -u --label "$client on Kafka" --label "$client on the mock cluster" "$scratch/$client.kafka" "$scratch/$client.mock" >&2 ||
        fail "$client does not see the same"
    echo "ok: $client: $(wc -l <"$scratch/$client.mock") observations of transactions are the same on Kafka"
done
