#!/usr/bin/env bash
# A broker dies by `kill -9` and comes back while console_producer writes real text; an independent client (kcat) then finds
# every line exactly once, and those of each key in order.
#
#   examples/crash_acceptance.sh          three brokers of Apache Kafka, which it starts and stops (needs Java, Maven, kcat)
#   examples/crash_acceptance.sh --mock   the same on the mock cluster
#
# The text: the first 120 lines of 1,800 Rust files of the dependencies that cargo has unpacked. The key of a line is its file,
# the value its number and text; all first lines come first, then all second lines, and so on, so that keys are mixed well.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

topic=lines
victim=2
kafka=1
case ${1:-} in
    --mock) kafka= ;;
    '') ;;
    *) echo "usage: $0 [--mock]" >&2 && exit 2 ;;
esac

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

scratch=$(mktemp -d)
cluster=
finish() {
    local status=$?
    exec 4>&- || true
    if [ -n "$cluster" ]; then
        echo quit >&3 || true
        wait "$cluster" || true
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT

cargo build --locked --quiet -p milena-examples --examples
binaries=${CARGO_TARGET_DIR:-target}/debug
if [ -n "$kafka" ]; then
    cargo build --locked --quiet -p milena-tests --bin real-kafka
    # The topic is created on demand, with the brokers' defaults: kcat could not say min.insync.replicas.
    start=("$binaries/real-kafka" --property auto.create.topics.enable=true --property num.partitions=6
        --property default.replication.factor=3 --property min.insync.replicas=2)
else
    start=("$binaries/examples/mock_cluster")
fi

# A cluster that takes commands.
mkfifo "$scratch/commands"
"${start[@]}" <"$scratch/commands" >"$scratch/cluster" 2>&1 &
cluster=$!
exec 3>"$scratch/commands"
bootstrap=
for ((try = 0; try < 1200; try++)); do
    bootstrap=$(sed -n 's/^bootstrap: //p' "$scratch/cluster")
    [ -z "$bootstrap" ] || break
    kill -0 "$cluster" 2>/dev/null || fail "the cluster did not start: $(cat "$scratch/cluster")"
    sleep 0.1
done
[ -n "$bootstrap" ] || fail "the cluster did not start within 120 s: $(cat "$scratch/cluster")"
kcat() { timeout 120 kcat -b "$bootstrap" "$@"; }
produce() {
    "$binaries/examples/console_producer" --bootstrap "$bootstrap" --topic "$topic" --key-separator $'\t' "$@"
}
leaders() { kcat -L -t "$topic" 2>/dev/null | sed -n 's/^ *partition \([0-9]*\), leader \(-*[0-9]*\),.*isrs: \(.*\)$/\1 led by \2 (in sync \3)/p' | paste -sd ';'; }

# The text, in pieces.
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
find "$sources" -name '*.rs' -size +3k | sort | sed -n '1,1800p' |
    xargs -d '\n' awk -v skip=$((${#sources} + 1)) '
        FNR <= 120 { printf "%s\t%d %s\n", substr(FILENAME, skip + 1), FNR, $0 }' |
    sort -s -t $'\t' -k 2n >"$scratch/text"
lines=$(wc -l <"$scratch/text")
keys=$(cut -f 1 "$scratch/text" | sort -u | wc -l)
echo "text: $lines lines, $keys keys, $(wc -c <"$scratch/text") bytes"
((lines >= 100000 && keys >= 1000)) || fail "that is too little: build the workspace first, so that its dependencies are there"
split -l 1000 -a 4 "$scratch/text" "$scratch/piece."
pieces=("$scratch"/piece.*)

produce --config allow.auto.create.topics=true </dev/null 2>"$scratch/created" || fail "creating the topic: $(cat "$scratch/created")"
before=$(leaders)
(($(tr ';' '\n' <<<"$before" | grep -c 'in sync [123],[123],[123])') == 6)) || fail "6 partitions with 3 replicas were expected: $before"
echo "topic: $before"

# Writing takes at least 15 seconds, so that the crash and the return of the broker fall into it.
pause=$(awk -v pieces=${#pieces[@]} 'BEGIN { print 15 / pieces }')
mkfifo "$scratch/feed"
produce <"$scratch/feed" 2>"$scratch/summary" 3>&- &
producer=$!
exec 4>"$scratch/feed"
for index in "${!pieces[@]}"; do
    case $index in
        $((${#pieces[@]} / 4))) echo "crash $victim" >&3 && echo "after $((index * 1000)) lines: broker $victim is killed" ;;
        $((${#pieces[@]} / 2))) leaders && echo "restart $victim" >&3 && echo "after $((index * 1000)) lines: it is started again" ;;
    esac
    cat "${pieces[index]}" >&4 || fail "the producer ended: $(cat "$scratch/summary")"
    sleep "$pause"
done
exec 4>&-
wait "$producer" || fail "console_producer: $(cat "$scratch/summary")"
echo "console_producer: $(tail -n 1 "$scratch/summary")"
for command in crash restart; do
    grep "^$command $victim: done" "$scratch/cluster" || fail "$command $victim was not done: $(cat "$scratch/cluster")"
done

# What an independent client finds.
kcat -C -q -e -t "$topic" -o beginning -f '%p\t%k\t%s\n' >"$scratch/log"
leaders
cut -f 2- "$scratch/log" | sort >"$scratch/log.sorted"
sort "$scratch/text" >"$scratch/text.sorted"
if ! cmp -s "$scratch/text.sorted" "$scratch/log.sorted"; then
    echo "lost: $(comm -23 "$scratch/text.sorted" "$scratch/log.sorted" | wc -l)," \
        "more than once or foreign: $(comm -13 "$scratch/text.sorted" "$scratch/log.sorted" | wc -l)" >&2
    fail "the log does not hold every line exactly once"
fi
awk -F '\t' '
    { split($3, word, " ") }
    ($2 in partition) && partition[$2] != $1 { print $2 " is in partitions " partition[$2] " and " $1; bad = 1; exit }
    ($2 in last) && last[$2] >= word[1] { print $2 ": line " word[1] " comes after " last[$2]; bad = 1; exit }
    { partition[$2] = $1; last[$2] = word[1] + 0 }
    END { exit bad }' "$scratch/log" >&2 || fail "order per key is not held"
echo "passed: kcat read $(wc -l <"$scratch/log") lines, every one exactly once, and the $keys keys each in order"
