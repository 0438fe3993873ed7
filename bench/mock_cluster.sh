#!/usr/bin/env bash
# What the mock cluster costs, and how fast librdkafka produces to it beside kfake. Needs librdkafka's headers (Debian:
# librdkafka-dev), a C compiler, Go (which fetches kfake) and strip.
set -euo pipefail
cd "$(dirname "$0")/.."

built=$(realpath -m "${CARGO_TARGET_DIR:-target}")
mkdir -p "$built/bench"
cargo build --locked --release --quiet -p milena-mock-broker
cargo build --locked --release --quiet -p milena-bench
strip -o "$built/bench/milena-mock-broker" "$built/release/milena-mock-broker"
# A librdkafka of one's own build: CPATH and LIBRARY_PATH.
cc -O2 -Wall -o "$built/bench/produce" bench/produce.c -lrdkafka
(cd bench/kfake && go build -o "$built/bench/kfake" .)
"$built/release/mock-cluster" "$built/release/milena-mock-broker" "$built/bench/milena-mock-broker" "$built/bench/produce" "$built/bench/kfake"
