#!/usr/bin/env bash
# Divides random groups by Kafka's Java client and by ours, and compares.
#
#   assignors.sh [COUNT [SEED]]    10,000 groups of seed 1, in about a minute
#   assignors.sh --sample          writes client/tests/golden/groups.txt again, which `cargo test` compares
#
# Needs Java 17 and Maven.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
jars=$target/golden-java
ls "$jars"/kafka-clients-*.jar >/dev/null 2>&1 || mvn -q -B -f protocol/tests/golden/java/pom.xml \
    dependency:copy-dependencies -DoutputDirectory="$jars"
groups() { java -cp "$jars/*" tests/interop/assignors/Groups.java "$@" 2>/dev/null; }

if [ "${1:-}" = --sample ]; then
    groups 500 20 > client/tests/golden/groups.txt
    exit
fi
groups "${1:-10000}" "${2:-1}" > "$target/groups.txt"
MILENA_ASSIGNOR_GROUPS=$target/groups.txt cargo test --locked -p milena --lib \
    groups_are_divided_as_kafkas_java_client_divides_them -- --nocapture
