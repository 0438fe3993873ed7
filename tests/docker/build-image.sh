#!/usr/bin/env bash
# Builds a container image of Kafka where no registry can be reached, from what this machine has: a Java runtime cut out of
# the JDK, a shell, the libraries both need, and the jars that the tests against a real Kafka fetch. It takes the same
# environment variables as the public apache/kafka image, so the tests use either:
#
#   tests/docker/build-image.sh
#   MILENA_TEST_KAFKA_IMAGE=milena-test-kafka:4.4.0 MILENA_TEST_CLUSTER=testcontainers \
#       cargo test -p milena-tests --features docker --test behaviour
#
# Needs a container engine, the command `docker`, and a JDK with jlink (Debian: default-jdk-headless). An engine, as root:
#
#   apt-get install docker.io iptables && dockerd &
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

version=${MILENA_TEST_KAFKA:-4.4.0}
image=milena-test-kafka:$version
libs=${CARGO_TARGET_DIR:-target}/kafka/$version/libs

for program in docker jlink ldd; do
    command -v "$program" >/dev/null || { echo "$program is missing; the head of $0 says what to install" >&2; exit 1; }
done
docker version >/dev/null || { echo "start a container engine first; the head of $0 says how" >&2; exit 1; }

if ! [ -d "$libs" ]; then
    echo "fetching Kafka $version: the harness does, when it starts a cluster"
    echo quit | MILENA_TEST_KAFKA=$version cargo run -q -p milena-tests --bin real-kafka
fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
root=$context/root
mkdir -p "$root"/{bin,etc/kafka/docker,opt/kafka,mnt/shared/config,tmp} "$context/config"
chmod 1777 "$root/tmp"

jlink --add-modules java.se,jdk.crypto.ec,jdk.management,jdk.unsupported --strip-debug --no-header-files --no-man-pages \
    --compress=2 --output "$root/opt/java"
"$root/opt/java/bin/java" -Xshare:dump >/dev/null # classes ready to map: each broker starts sooner
cp -L "$(command -v sh)" "$root/bin/sh"
cp -r "$libs" "$root/opt/kafka/libs"
cp "$here/run.sh" "$root/etc/kafka/docker/run"
chmod 755 "$root/etc/kafka/docker/run"
for file in log4j2.yaml tools-log4j2.yaml; do
    cp "$here/log4j2.yaml" "$root/etc/kafka/docker/$file"
    cp "$here/log4j2.yaml" "$context/config/$file"
done
: >"$context/config/server.properties"
echo 'kafka:x:1000:1000::/tmp:/bin/sh' >"$root/etc/passwd"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"

# The shared libraries of all programs, at the paths where the dynamic loader looks for them; the JVM's own are in its folder.
find "$root/bin" "$root/opt/java" -type f \( -perm -u+x -o -name '*.so' \) -exec ldd {} + 2>/dev/null |
    grep -o '[[:space:]]/[^ ]*' | tr -d '[:blank:]' | grep -v -F "$root" | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

# Kafka's native codecs are inside its jars, where ldd does not look; they want these parts of the C library too.
libc=$(ldd "$root/bin/sh" | grep -o '/[^ ]*/libc\.so[^ ]*')
for part in libpthread.so.0 libdl.so.2 librt.so.1; do
    cp -L "$(dirname "$libc")/$part" "$root$(dirname "$libc")/"
done

docker build --quiet --tag "$image" --file "$here/Dockerfile" "$context"
docker image ls "$image"
