#!/usr/bin/env bash
# Other clients, unmodified, in consumer groups on the mock broker's binary: two members share a topic, one leaves, the
# other takes over, and a later one goes on from the committed offsets. Then one member of each kind in one group. At last, on
# Apache Kafka, our client, Java's, librdkafka's and franz-go in one group by each strategy (strategies.py).
#
#   groups.sh [--bootstrap HOST:PORT,...] [milena|kcat|confluent|kafka-python|java|mixed|strategies ...]
#
# With --bootstrap it does everything on a cluster that runs already. Needs kcat, Python with venv, Java 17, Maven and Go; fetches the
# clients, and Kafka, into target/.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=tests/interop/groups
run=$(date +%s)
declare -A kinds=()
. tests/interop/clusters.sh

fail() {
    echo "$client: $1" >&2
    for log in "$scratch/$client".*.log; do echo "--- $log" && tail -n 15 "$log"; done >&2
    exit 1
}

# A member of each kind, until SIGTERM (ours until SIGINT). They print `assigned PARTITION...` and `record PARTITION OFFSET VALUE`;
# console_consumer prints values only, so that zeros stand for the numbers.
member() {
    local kind=$1 group=$2 topic=$3 strategy=${4:-}
    case $kind in
    milena)
        exec "$built/examples/console_consumer" --bootstrap "$bootstrap" --topic "$topic" --group "$group" \
            --assignor "${strategy:-range}" \
            2> >(sed -un -e '/^assigned/!w /dev/stderr' -e '/^assigned/{s/ (.*//;s/ [^ ]*-\([0-9]*\)/ \1/g;p}') \
            > >(sed -u 's/^/record 0 0 /')
        ;;
    kcat)
        # It writes a record's line in pieces: without a pipe of their own the other lines would fall between them.
        exec kcat -b "$bootstrap" -G "$group" -u -X auto.offset.reset=earliest -f 'record %p %o %s\n' "$topic" \
            2> >(sed -un 's/^% Group .* rebalanced .*: assigned: /assigned /p' | sed -u 's/[^ ]* \[\([0-9]*\)\],\?/\1/g') \
            > >(sed -un p)
        ;;
    confluent) exec "$fetched/python/bin/python" "$programs/confluent.py" "$bootstrap" "$group" "$topic" $strategy ;;
    kafka-python) exec "$fetched/python/bin/python" "$programs/kafka_python.py" "$bootstrap" "$group" "$topic" ;;
    java) exec java -XX:TieredStopAtLevel=1 -cp "$fetched/java/*" "$programs/GroupMember.java" "$bootstrap" "$group" "$topic" $strategy ;;
    esac
}

start() { # NAME KIND GROUP TOPIC [STRATEGY]
    (member "${@:2}" >"$scratch/$client.$1.log" 2>"$scratch/$client.$1.errors.log") &
    pids[$1]=$!
    kinds[$1]=$2
}

# Lets a member leave in good order.
stop() {
    case ${kinds[$1]} in
    milena) kill -INT "${pids[$1]}" ;;
    *) kill -TERM "${pids[$1]}" ;;
    esac
    wait "${pids[$1]}" || fail "member $1 ended with status $?"
    unset "pids[$1]"
}

# The partitions that members have now, sorted.
owned() { for name; do grep '^assigned' "$scratch/$client.$name.log" 2>/dev/null | tail -n 1 | cut -s -d ' ' -f 2-; done |
    tr ' ' '\n' | sed '/^$/d' | sort -n | paste -sd ' '; }
owns() { [ "$(owned "$1" | wc -w)" -eq "$2" ]; }
shared() { [ "$(owned "$@")" = '0 1 2 3 4 5' ] && for name; do [ -n "$(owned "$name")" ] || return 1; done; }
records() { for name; do cat "$scratch/$client.$name.log"; done | sed -n 's/^record [0-9]* [0-9]* //p' | sort; }
read_all() { [ "$(records "${@:2}" | sort -u | wc -l)" -ge "$1" ]; }

wait_until() { # WHAT CONDITION...
    local deadline=$((SECONDS + 60))
    until "${@:2}"; do
        ((SECONDS < deadline)) || fail "waited a minute in vain until $1"
        sleep 0.1
    done
}

# With keys, so that they are spread over the partitions.
produce() {
    seq "$2" | awk -v name="$1" '{ printf "%d:%s %06d\n", $1, name, $1 }' | kcat -b "$bootstrap" -P -t "$topic" -K :
}

# A topic that is empty, and a group of the same name.
prepare() {
    topic=group-$client-$run
    group=$topic
    "$fetched/python/bin/python" "$programs/create_topic.py" "$bootstrap" "$topic" || fail "the topic could not be created"
}

# A group of two members of one kind.
pair() {
    prepare

    produce first 600
    start one "$client" "$group" "$topic"
    wait_until "the first member has everything" shared one
    wait_until "it has read 600 records" read_all 600 one

    start two "$client" "$group" "$topic"
    wait_until "two members share the topic" eval 'shared one two && owns one 3 && owns two 3'
    produce second 600
    wait_until "both together have read 1200 records" read_all 1200 one two
    [ "$(records two | wc -l)" -gt 0 ] || fail "the second member has read nothing"

    stop two
    wait_until "the first member has everything again" shared one
    produce third 300
    wait_until "1500 records are read" read_all 1500 one two
    stop one
    [ "$(records one two | uniq -d | wc -l)" -eq 0 ] || fail "records were read twice though every member left in good order"

    produce fourth 300
    start three "$client" "$group" "$topic"
    wait_until "a later member has read what came meanwhile" read_all 300 three
    stop three
    [ "$(records three)" = "$(seq -f 'fourth %06g' 300)" ] || fail "the later member did not go on from the committed offsets"
    echo "ok: $client: two members, one left, the committed offsets hold"
}

# One member of each kind in one group, which have `range` in common.
mixed() {
    prepare
    local names=(kcat confluent kafka-python java milena)
    for name in "${names[@]}"; do start "$name" "$name" "$group" "$topic"; done
    wait_until "five kinds of members share the topic" shared "${names[@]}"
    produce mixed 600
    wait_until "they have read 600 records" read_all 600 "${names[@]}"
    [ "$(records "${names[@]}" | wc -l)" -eq 600 ] || fail "a record was read twice"
    for name in kcat milena java confluent; do
        stop "$name"
        names=("${names[@]/$name/}")
        wait_until "the others have everything after $name left" eval "shared ${names[*]}"
    done
    stop kafka-python
    echo "ok: mixed: kcat, confluent-kafka, kafka-python, Java and milena share a group, and leave one after the other"
}

# Members of all kinds join, leave, are killed, by each strategy, while records are produced.
strategies() {
    cargo build --locked --quiet -p milena-tests --bin group-member
    go build -C "$programs/franz" -o "$(realpath -m "$fetched")/franz" .
    "$fetched/python/bin/python" tests/interop/strategies.py "$bootstrap" "$built" "$fetched" \
        range roundrobin cooperative-sticky sticky
}

# The cluster for what comes: the given one, or one of this kind.
use() {
    if [ -n "$given" ]; then
        bootstrap=$given
    elif [ "$1" = mock ]; then
        [ -n "$mock" ] || start_mock
        bootstrap=$mock
    else
        [ -n "$real" ] || { start_kafka && await_kafka; }
        bootstrap=$real
    fi
}

given=
if [ "${1:-}" = --bootstrap ]; then
    given=$2
    shift 2
fi
(($#)) || set -- milena kcat confluent kafka-python java mixed strategies
client=setup
python
java_libraries
cargo build --locked --quiet -p milena-examples --example console_consumer
for client; do
    started=$SECONDS
    case $client in
    milena | kcat | confluent | kafka-python | java)
        use mock
        pair
        ;;
    mixed)
        use mock
        mixed
        ;;
    strategies)
        use real
        strategies
        ;;
    *) fail "not one of milena, kcat, confluent, kafka-python, java, mixed, strategies" ;;
    esac
    echo "    $((SECONDS - started)) s on $bootstrap"
done
