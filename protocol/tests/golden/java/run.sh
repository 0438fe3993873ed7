#!/bin/sh
# Writes the golden data of Kafka's Java client again: ../messages/*.txt and ../blobs.txt. Needs Java 17 and Maven.
set -eu
cd "$(dirname "$0")"
jars=../../../../target/golden-java
mvn -q -B dependency:copy-dependencies -DoutputDirectory="$PWD/$jars"
java -cp "$jars/*" Messages.java ../messages
java -cp "$jars/*" Blobs.java > ../blobs.txt
