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
fetched=${CARGO_TARGET_DIR:-target}/interop
built=${CARGO_TARGET_DIR:-target}/debug
scratch=$(mktemp -d)
run=$(date +%s)
broker=
kafka=
finish() {
    local status=$?
    if [ -n "$broker" ]; then
        kill -INT "$broker" 2>/dev/null || true
        wait "$broker" || { echo "the mock broker ended with status $?" >&2; status=1; }
    fi
    if [ -n "$kafka" ]; then
        exec 4>&- # it ends with its input
        wait "$kafka" || { echo "Kafka ended with status $?" >&2; status=1; }
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

fail() {
    echo "transactions: $1" >&2
    exit 1
}

# Fetches what a fresh machine lacks, into where groups.sh does.
python() {
    if [ ! -x "$fetched/python/bin/python" ] || [ ! -e "$fetched/python/ready" ]; then
        python3 -m venv "$fetched/python" >&2
        "$fetched/python/bin/pip" install -q --disable-pip-version-check 'confluent-kafka==2.16.1' 'kafka-python==3.0.12' >&2
        touch "$fetched/python/ready"
    fi
}
java_libraries() {
    ls "$fetched"/java/kafka-clients-*.jar >/dev/null 2>&1 || mvn -q -B -f protocol/tests/golden/java/pom.xml \
        dependency:copy-dependencies -DoutputDirectory="$(realpath -m "$fetched")/java" >&2
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
cargo build --locked --quiet -p milena-mock-broker -p milena-tests --bin milena-mock-broker --bin real-kafka

# Kafka starts while the mock cluster is looked at.
mkfifo "$scratch/commands"
"$built/real-kafka" <"$scratch/commands" >"$scratch/kafka.log" 2>&1 &
kafka=$!
exec 4>"$scratch/commands"
exec 3< <(exec "$built/milena-mock-broker" --brokers 3 --port 0)
broker=$!
mock=
while read -r -t 30 line <&3; do
    case $line in '{"ready":true,'*) mock=$(sed -n 's/.*"bootstrap":"\([^"]*\)".*/\1/p' <<<"$line") && break ;; esac
done
[ -n "$mock" ] || fail "the mock broker never said that it is ready"
observe mock "$mock" "$@"

deadline=$((SECONDS + 180))
until grep -q '^bootstrap: ' "$scratch/kafka.log"; do
    kill -0 "$kafka" 2>/dev/null && ((SECONDS < deadline)) || { cat "$scratch/kafka.log" >&2; fail "Kafka did not start"; }
    sleep 0.2
done
real=$(sed -n 's/^bootstrap: //p' "$scratch/kafka.log")
observe kafka "$real" "$@"
for client; do
    diff -u --label "$client on Kafka" --label "$client on the mock cluster" "$scratch/$client.kafka" "$scratch/$client.mock" >&2 ||
        fail "$client does not see the same"
    echo "ok: $client: $(wc -l <"$scratch/$client.mock") observations of transactions are the same on Kafka"
done
