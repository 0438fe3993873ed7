// Does a little of everything with Kafka's Java client, so that a proxy in between sees each API. Usage: java Client.java BOOTSTRAP

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
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
                var record = new ProducerRecord<>("orders", i % 2, i < 2 ? null : text("key " + i), i == 3 ? null : text("value " + i));
                record.headers().add("h", text("1")).add("h", null).add("h", text("2"));
                producer.send(record);
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
