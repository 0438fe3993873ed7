// Does a little of everything with Kafka's Java client, so that a proxy in between sees each API. Usage: java Client.java BOOTSTRAP

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.FeatureUpdate.UpgradeType;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Client {
    static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "client.id", "golden"))) {
            NewTopic topic = new NewTopic("orders", 2, (short) 1).configs(Map.of("retention.ms", "86400000"));
            NewTopic placed = new NewTopic("placed", Map.of(0, List.of(1)));
            admin.createTopics(List.of(topic, placed)).all().get();
            expectFailure(() -> admin.createTopics(List.of(topic)).all().get());
            for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
                produce(codec);
            }
            consume(admin);
            describe(admin);
            transact(admin);
            alter(admin);
            admin.deleteTopics(List.of("orders", "placed")).all().get();
            expectFailure(() -> admin.deleteTopics(List.of("orders")).all().get());
        }
    }

    static void produce(String codec) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "client.id", "golden", "compression.type", codec,
            "linger.ms", 50, "enable.idempotence", !codec.equals("gzip"), "acks", codec.equals("gzip") ? "1" : "all");
        var bytes = new ByteArraySerializer();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, bytes, bytes)) {
            for (int i = 0; i < 6; i++) {
                producer.send(withHeaders(new ProducerRecord<>("orders", i % 2, i < 2 ? null : text("key " + i), i == 3 ? null : text("value " + i))));
            }
            producer.flush();
        }
    }

    static void consume(Admin admin) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "client.id", "golden", "group.id", "readers",
            "group.instance.id", "first", "auto.offset.reset", "earliest", "enable.auto.commit", false,
            "heartbeat.interval.ms", 200, "fetch.max.wait.ms", 100, "max.partition.fetch.bytes", 500);
        var bytes = new ByteArrayDeserializer();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, bytes, bytes)) {
            consumer.subscribe(List.of("orders"));
            int read = 0;
            while (read < 30) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofSeconds(5));
                read += records.count();
            }
            consumer.commitSync();
            consumer.committed(consumer.assignment());
            consumer.endOffsets(consumer.assignment());
            // An offset with an epoch is checked by OffsetForLeaderEpoch.
            consumer.seek(new TopicPartition("orders", 0), new OffsetAndMetadata(3, Optional.of(0), ""));
            consumer.poll(Duration.ofSeconds(1));
            admin.describeClassicGroups(List.of("readers")).all().get();
            consumer.poll(Duration.ofSeconds(1));
            consumer.close();
        }
        config = new java.util.HashMap<>(config);
        config.remove("group.instance.id"); // so that closing leaves the group
        config.put("group.id", "others");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config, bytes, bytes)) {
            consumer.subscribe(List.of("orders"));
            consumer.poll(Duration.ofSeconds(5));
        }
    }

    static void describe(Admin admin) throws Exception {
        admin.describeCluster().nodes().get();
        admin.listGroups().all().get();
        admin.describeConfigs(Set.of(new ConfigResource(ConfigResource.Type.TOPIC, "missing"))).values().values()
            .forEach(future -> expectFailure(future::get));
        var partition = new TopicPartition("orders", 0);
        for (OffsetSpec spec : List.of(OffsetSpec.earliest(), OffsetSpec.latest(), OffsetSpec.forTimestamp(0))) {
            admin.listOffsets(Map.of(partition, spec)).all().get();
        }
        admin.listConsumerGroupOffsets("readers").partitionsToOffsetAndMetadata().get();
    }

    /// Transactions of KIP-890, which add partitions and offsets implicitly, and then those of before.
    static void transact(Admin admin) throws Exception {
        Map<String, Object> config = Map.of("bootstrap.servers", bootstrap, "client.id", "golden", "transactional.id", "payments");
        var bytes = new ByteArraySerializer();
        for (short version : new short[] {2, 1}) {
            admin.updateFeatures(Map.of("transaction.version", new FeatureUpdate(version, UpgradeType.SAFE_DOWNGRADE)),
                new UpdateFeaturesOptions()).all().get();
            try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config, bytes, bytes)) {
                producer.initTransactions();
                for (boolean commit : new boolean[] {true, false}) {
                    producer.beginTransaction();
                    producer.send(withHeaders(new ProducerRecord<>("orders", text("paid"))));
                    var offsets = Map.of(new TopicPartition("orders", 0), new OffsetAndMetadata(2, Optional.of(0), "note"));
                    producer.sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata("payers"));
                    if (commit) {
                        producer.commitTransaction();
                    } else {
                        producer.abortTransaction();
                    }
                }
            }
        }
    }

    static void alter(Admin admin) throws Exception {
        var partition = new TopicPartition("orders", 0);
        admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(2))).all().get();
        admin.createPartitions(Map.of("orders", NewPartitions.increaseTo(3, List.of(List.of(1))))).all().get();
        expectFailure(() -> admin.createPartitions(Map.of("orders", NewPartitions.increaseTo(1))).all().get());
        var orders = new ConfigResource(ConfigResource.Type.TOPIC, "orders");
        var retention = new AlterConfigOp(new ConfigEntry("retention.ms", "1000"), AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(orders, List.of(retention))).all().get();
        var unknown = new AlterConfigOp(new ConfigEntry("unknown", "1"), AlterConfigOp.OpType.SET);
        expectFailure(() -> admin.incrementalAlterConfigs(Map.of(orders, List.of(unknown))).all().get());
        admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).partitions().get();
        admin.electLeaders(ElectionType.UNCLEAN, null).partitions().get();
        admin.deleteConsumerGroupOffsets("payers", Set.of(partition)).all().get();
        admin.deleteConsumerGroups(List.of("payers")).all().get();
        expectFailure(() -> admin.deleteConsumerGroups(List.of("missing")).all().get());
    }

    static ProducerRecord<byte[], byte[]> withHeaders(ProducerRecord<byte[], byte[]> record) {
        record.headers().add("h", text("1")).add("h", null).add("h", text("2"));
        return record;
    }

    static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    interface Attempt {
        void run() throws Exception;
    }

    static void expectFailure(Attempt attempt) {
        try {
            attempt.run();
        } catch (Exception expected) {
            return;
        }
        throw new IllegalStateException("this was expected to fail");
    }
}
