# What the scripts beside this one share; they source it. The clusters that it starts end with the script.

fetched=${CARGO_TARGET_DIR:-target}/interop
built=${CARGO_TARGET_DIR:-target}/debug
scratch=$(mktemp -d)
broker=
mock=
kafka=
real=
declare -A pids=()

finish() {
    local status=$?
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
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

# Sets `mock` to the addresses of the binary's brokers, started with these options besides.
start_mock() { # OPTION...
    cargo build --locked --quiet -p milena-mock-broker
    exec 3< <(exec "$built/milena-mock-broker" --brokers 3 --port 0 "$@")
    broker=$!
    local line
    while read -r -t 30 line <&3; do
        case $line in '{"ready":true,'*) mock=$(sed -n 's/.*"bootstrap":"\([^"]*\)".*/\1/p' <<<"$line") && break ;; esac
    done
    [ -n "$mock" ] || fail "the mock broker never said that it is ready"
}

# Lets Apache Kafka start.
start_kafka() {
    cargo build --locked --quiet -p milena-tests --bin real-kafka
    mkfifo "$scratch/commands"
    "$built/real-kafka" <"$scratch/commands" >"$scratch/kafka.log" 2>&1 &
    kafka=$!
    exec 4>"$scratch/commands"
}

# Sets `real` to the addresses of its brokers once it has.
await_kafka() {
    local deadline=$((SECONDS + 180))
    until grep -q '^bootstrap: ' "$scratch/kafka.log"; do
        kill -0 "$kafka" 2>/dev/null && ((SECONDS < deadline)) || { cat "$scratch/kafka.log" >&2; fail "Kafka did not start"; }
        sleep 0.2
    done
    real=$(sed -n 's/^bootstrap: //p' "$scratch/kafka.log")
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
