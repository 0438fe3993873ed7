// Writes record batches and the consumer protocol's blobs as Kafka's Java client encodes them: a name and hexadecimal bytes a line.
// The Rust test that reads them (wire/blobs.rs) says the same values once more.

import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Set;

import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.RecordBatch;

public class Blobs {
    static final long TIME = 1_700_000_000_000L;

    public static void main(String[] arguments) {
        System.out.println("# Record batches and group blobs as kafka-clients 4.4.0 encodes them; made by java/run.sh");
        for (CompressionType codec : CompressionType.values()) {
            print("batch " + codec.name, small(Compression.of(codec).build(), TimestampType.CREATE_TIME));
            if (codec != CompressionType.NONE) {
                print("large " + codec.name, large(Compression.of(codec).build()));
            }
        }
        print("batch log-append-time", small(Compression.NONE, TimestampType.LOG_APPEND_TIME));
        for (ControlRecordType type : List.of(ControlRecordType.ABORT, ControlRecordType.COMMIT)) {
            EndTransactionMarker marker = new EndTransactionMarker(type, 11);
            MemoryRecords records = MemoryRecords.withEndTransactionMarker(40, TIME, 3, 5000, (short) 2, marker);
            print("marker " + type.name().toLowerCase(), records.buffer());
        }

        Subscription subscription = new Subscription(List.of("orders", "audit"), ByteBuffer.wrap(new byte[] {1, 2, 3}),
            List.of(new TopicPartition("orders", 2), new TopicPartition("audit", 0), new TopicPartition("orders", 1)), 7,
            Optional.of("rack-a"));
        for (short version = 0; version <= 3; version++) {
            print("subscription " + version, ConsumerProtocol.serializeSubscription(subscription, version));
        }
        print("subscription plain", ConsumerProtocol.serializeSubscription(new Subscription(List.of("orders"))));
        Assignment assignment = new Assignment(
            List.of(new TopicPartition("orders", 2), new TopicPartition("orders", 1)), ByteBuffer.wrap(new byte[] {4}));
        for (short version = 0; version <= 3; version++) {
            print("assignment " + version, ConsumerProtocol.serializeAssignment(assignment, version));
        }
        print("assignment plain", ConsumerProtocol.serializeAssignment(new Assignment(List.of())));
        for (ConsumerPartitionAssignor assignor : List.of(new StickyAssignor(), new CooperativeStickyAssignor())) {
            assignor.onAssignment(assignment, new ConsumerGroupMetadata("group", 7, "member", Optional.empty()));
            print("user-data " + assignor.name(), assignor.subscriptionUserData(Set.of("orders")));
        }
    }

    /** Duplicate header names, nulls, a time that goes back, a gap in the offsets; a transactional producer. */
    static ByteBuffer small(Compression compression, TimestampType type) {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1024), RecordBatch.MAGIC_VALUE_V2, compression,
            type, 100, TIME + 9, 5000, (short) 2, 77, true, 4);
        Header[] headers = {
            new RecordHeader("h", "1".getBytes()), new RecordHeader("h", (byte[]) null), new RecordHeader("", new byte[0]),
            new RecordHeader("h", "2".getBytes())};
        builder.appendWithOffset(100, TIME, "key".getBytes(), "value".getBytes(), headers);
        builder.appendWithOffset(101, TIME - 5_000_000_000L, (byte[]) null, null, new Header[0]);
        builder.appendWithOffset(105, TIME + 5, new byte[0], new byte[0], new Header[0]);
        return builder.build().buffer();
    }

    /** More than one block of every codec. */
    static ByteBuffer large(Compression compression) {
        MemoryRecordsBuilder builder =
            MemoryRecords.builder(ByteBuffer.allocate(1024), compression, TimestampType.CREATE_TIME, 0, -1);
        byte[] value = new byte[20_000];
        for (int i = 0; i < value.length; i++) {
            value[i] = (byte) (i % 251);
        }
        for (int i = 0; i < 4; i++) {
            builder.append(TIME, (byte[]) null, value);
        }
        return builder.build().buffer();
    }

    static void print(String name, ByteBuffer bytes) {
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        System.out.println(name + " " + HexFormat.of().formatHex(copy));
    }
}
