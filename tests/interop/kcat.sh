#!/usr/bin/env bash
# kcat, unmodified, against the mock broker's binary: what it writes it reads back.
# `kcat.sh HOST:PORT,...` uses a cluster that runs already; it needs the topics orders, plain and keyed with 6 partitions.
set -euo pipefail
cd "$(dirname "$0")/../.."

. tests/interop/clusters.sh

fail() {
    echo "kcat: $1" >&2
    exit 1
}

# Fails with the first differences.
same() {
    cmp -s "$2" "$3" && echo "ok: $1 ($(wc -l <"$3") lines)" && return
    diff "$2" "$3" | head -n 10 >&2
    fail "$1: what was read is not what was written"
}

bootstrap=${1:-}
if [ -z "$bootstrap" ]; then
    start_mock --topic orders:6:3 --topic plain:6:3 --topic keyed:6:3
    bootstrap=$mock
fi
echo "bootstrap: $bootstrap"

kcat() { timeout 60 kcat -b "$bootstrap" "$@"; }
read_back() { kcat -C -q -e -o beginning "$@"; }

kcat -L >"$scratch/metadata"
grep -q '^ 3 brokers:' "$scratch/metadata" || fail "-L does not list three brokers: $(cat "$scratch/metadata")"
grep -q 'topic "orders" with 6 partitions:' "$scratch/metadata" || fail "-L does not list orders: $(cat "$scratch/metadata")"
[ "$(grep -c 'replicas: [123],[123],[123], isrs: [123],[123],[123]' "$scratch/metadata")" -ge 6 ] ||
    fail "-L does not list three replicas in sync: $(cat "$scratch/metadata")"
echo "ok: metadata"

# Lines of text, one record each, spread over the partitions: each line once.
seq -f 'line %06g: what is written is read' 10000 >"$scratch/plain"
kcat -P -t plain <"$scratch/plain"
read_back -t plain | sort >"$scratch/plain.read"
same "plain lines" "$scratch/plain" "$scratch/plain.read"

# With keys, every codec, acks=all and an idempotent producer: each record once, a key in one partition and in order.
for codec in none gzip snappy lz4 zstd; do
    awk -v codec="$codec" 'BEGIN { for (i = 1; i <= 5000; i++) printf "%s-%d:%06d\n", codec, i * 7919 % 100, i }' >"$scratch/$codec"
    kcat -P -t keyed -K : -z "$codec" -X acks=all -X enable.idempotence=true <"$scratch/$codec"
done
cat "$scratch"/{none,gzip,snappy,lz4,zstd} | sort >"$scratch/keyed"
read_back -t keyed -f '%p %k:%s\n' >"$scratch/keyed.read"
cut -d ' ' -f 2 "$scratch/keyed.read" | sort >"$scratch/keyed.sorted"
same "keyed lines, with each codec" "$scratch/keyed" "$scratch/keyed.sorted"
awk -F '[ :]' '
    ($2 in partition) && partition[$2] != $1 { print $2 " is in partitions " partition[$2] " and " $1; bad = 1; exit }
    ($2 in last) && last[$2] >= $3 { print $2 ": " $3 " comes after " last[$2]; bad = 1; exit }
    { partition[$2] = $1; last[$2] = $3 }
    END { exit bad }' "$scratch/keyed.read" || fail "order per key is not held"
echo "ok: a key stays in its partition, in order"

# Headers, a key without a value, an offset to start from.
printf 'k:\n' | kcat -P -t orders -p 3 -K : -Z -H a=1 -H a=2
printf 'one\ntwo\n' | kcat -P -t orders -p 3
[ "$(read_back -t orders -p 3 -f '%o %k %S %h\n' | head -n 1)" = '0 k -1 a=1,a=2' ] || fail "headers or a null value were lost"
[ "$(kcat -C -q -e -t orders -p 3 -o 2)" = two ] || fail "reading from an offset"
echo "ok: headers, null value, offset"
