#!/usr/bin/env bash
# Other clients, unmodified, in consumer groups on the mock broker's binary: two members share a topic, one leaves, the
# other takes over, and a later one goes on from the committed offsets. Then one member of each kind in one group.
#
#   groups.sh [--bootstrap HOST:PORT,...] [kcat|confluent|kafka-python|java|mixed ...]
#
# With --bootstrap it uses a cluster that runs already and has the empty topics group-kcat, group-confluent,
# group-kafka-python, group-java and group-mixed with 6 partitions each. Needs kcat, Python with venv, Java 17 and Maven;
# fetches the clients into target/interop.
set -euo pipefail
cd "$(dirname "$0")/../.."

programs=tests/interop/groups
fetched=${CARGO_TARGET_DIR:-target}/interop
scratch=$(mktemp -d)
broker=
declare -A pids=()
finish() {
    local status=$?
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    if [ -n "$broker" ]; then
        kill -INT "$broker" 2>/dev/null || true
        wait "$broker" || { echo "the mock broker ended with status $?" >&2; status=1; }
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

fail() {
    echo "$client: $1" >&2
    for log in "$scratch/$client".*.log; do echo "--- $log" && tail -n 15 "$log"; done >&2
    exit 1
}

# Fetches what a fresh machine lacks.
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

# A member of each kind, until SIGTERM. They print `assigned PARTITION...` and `record PARTITION OFFSET VALUE`.
member() {
    local kind=$1 group=$2 topic=$3
    case $kind in
    kcat)
        exec kcat -b "$bootstrap" -G "$group" -u -X auto.offset.reset=earliest -f 'record %p %o %s\n' "$topic" \
            2> >(sed -un 's/^% Group .* rebalanced .*: assigned: /assigned /p' | sed -u 's/[^ ]* \[\([0-9]*\)\],\?/\1/g')
        ;;
    confluent) exec "$fetched/python/bin/python" "$programs/confluent.py" "$bootstrap" "$group" "$topic" ;;
    kafka-python) exec "$fetched/python/bin/python" "$programs/kafka_python.py" "$bootstrap" "$group" "$topic" ;;
    java) exec java -XX:TieredStopAtLevel=1 -cp "$fetched/java/*" "$programs/GroupMember.java" "$bootstrap" "$group" "$topic" ;;
    esac
}

start() { # NAME KIND GROUP TOPIC
    (member "$2" "$3" "$4" >"$scratch/$client.$1.log" 2>"$scratch/$client.$1.errors.log") &
    pids[$1]=$!
}

# Lets a member leave in good order.
stop() {
    kill -TERM "${pids[$1]}"
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

# A group of two members of one kind.
pair() {
    topic=group-$client
    local group=$client-pair

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
    topic=group-mixed
    local names=(kcat confluent kafka-python java)
    for name in "${names[@]}"; do start "$name" "$name" mixed "$topic"; done
    wait_until "four kinds of members share the topic" shared "${names[@]}"
    produce mixed 600
    wait_until "they have read 600 records" read_all 600 "${names[@]}"
    [ "$(records "${names[@]}" | wc -l)" -eq 600 ] || fail "a record was read twice"
    for name in kcat java confluent; do
        stop "$name"
        names=("${names[@]/$name/}")
        wait_until "the others have everything after $name left" eval "shared ${names[*]}"
    done
    stop kafka-python
    echo "ok: mixed: kcat, confluent-kafka, kafka-python and Java share a group, and leave one after the other"
}

bootstrap=
if [ "${1:-}" = --bootstrap ]; then
    bootstrap=$2
    shift 2
fi
(($#)) || set -- kcat confluent kafka-python java mixed
client=setup
python
java_libraries
if [ -z "$bootstrap" ]; then
    cargo build --locked --quiet -p milena-mock-broker
    topics=()
    for name in kcat confluent kafka-python java mixed; do topics+=(--topic "group-$name:6:3"); done
    exec 3< <(exec "${CARGO_TARGET_DIR:-target}/debug/milena-mock-broker" --brokers 3 --port 0 "${topics[@]}")
    broker=$!
    while read -r -t 30 line <&3; do
        case $line in '{"ready":true,'*) bootstrap=$(sed -n 's/.*"bootstrap":"\([^"]*\)".*/\1/p' <<<"$line") && break ;; esac
    done
    [ -n "$bootstrap" ] || fail "the mock broker never said that it is ready"
fi
echo "bootstrap: $bootstrap"
for client; do
    started=$SECONDS
    case $client in
    kcat | confluent | kafka-python | java) pair ;;
    mixed) mixed ;;
    *) fail "not one of kcat, confluent, kafka-python, java, mixed" ;;
    esac
    echo "    $((SECONDS - started)) s"
done
