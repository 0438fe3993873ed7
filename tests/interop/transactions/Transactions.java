import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.Callable;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What Kafka's Java client sees of transactions: java Transactions.java BOOTSTRAP PREFIX. Names begin with the prefix. */
public class Transactions {
    static String bootstrap;
    static String prefix;
    static Admin admin;
    static TopicPartition in;
    static TopicPartition out;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[0];
        prefix = arguments[1];
        in = new TopicPartition(prefix + "-in", 0);
        out = new TopicPartition(prefix + "-out", 0);
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        admin.createTopics(List.of(new NewTopic(in.topic(), 1, (short) 3), new NewTopic(out.topic(), 1, (short) 3))).all().get();
        commitAndAbort();
        transform();
        zombie();
        tooLate();
        admin.close();
    }

    static void commitAndAbort() throws Exception {
        try (KafkaProducer<String, String> producer = producer("plain", 60_000)) {
            producer.beginTransaction();
            send(producer, in, "a", "b", "c");
            show("before the commit, committed", read("read_committed", in));
            show("before the commit, all", read("read_uncommitted", in));
            producer.commitTransaction();
            settled(in);
            show("after the commit, committed", read("read_committed", in));

            producer.beginTransaction();
            send(producer, in, "d", "e");
            producer.abortTransaction();
            settled(in);
            show("after the abort, committed", read("read_committed", in));
            show("after the abort, all", read("read_uncommitted", in));

            producer.beginTransaction();
            producer.commitTransaction();
            producer.beginTransaction();
            producer.abortTransaction();
            producer.beginTransaction();
            send(producer, in, "f");
            producer.commitTransaction();
            settled(in);
            show("after empty ones, committed", read("read_committed", in));
        }
    }

    /** Reads from one topic, writes to the other, and commits both as one: after an abort it is done again. */
    static void transform() throws Exception {
        String group = prefix + "-group";
        try (KafkaProducer<String, String> producer = producer("transform", 60_000);
                KafkaConsumer<String, String> consumer = consumer("read_committed", group)) {
            consumer.subscribe(List.of(in.topic()));
            for (boolean commits : new boolean[] {false, true}) {
                List<ConsumerRecord<String, String>> records = next(consumer, 4);
                producer.beginTransaction();
                for (ConsumerRecord<String, String> record : records) {
                    send(producer, out, record.value().toUpperCase());
                }
                long position = consumer.position(in);
                producer.sendOffsetsToTransaction(Map.of(in, new OffsetAndMetadata(position)), consumer.groupMetadata());
                show("offset within the transaction", committed(group));
                if (commits) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                    consumer.seekToBeginning(List.of(in));
                }
                settled(out);
                // Waits until the transaction has ended for the group, too.
                OffsetAndMetadata stable = consumer.committed(Set.of(in)).get(in);
                show("stable offset", stable == null ? "none" : String.valueOf(stable.offset()));
                show("offset after it", committed(group));
                show("transformed", read("read_committed", out));
            }
            producer.beginTransaction();
            ConsumerGroupMetadata stale = new ConsumerGroupMetadata(group, 99, "nobody", Optional.empty());
            attempt("offsets of nobody", () -> {
                producer.sendOffsetsToTransaction(Map.of(in, new OffsetAndMetadata(0)), stale);
                return "sent";
            });
            attempt("their commit", () -> { producer.commitTransaction(); return "committed"; });
            attempt("their abort", () -> { producer.abortTransaction(); return "aborted"; });
            show("offset at the end", committed(group));
        }
    }

    /** A second producer with the same transactional id takes over. */
    static void zombie() throws Exception {
        try (KafkaProducer<String, String> first = producer("fenced", 60_000)) {
            first.beginTransaction();
            send(first, out, "zombie");
            try (KafkaProducer<String, String> second = producer("fenced", 60_000)) {
                second.beginTransaction();
                send(second, out, "heir");
                attempt("the zombie sends", () -> { first.send(record(out, "zombie again")).get(); return "sent"; });
                attempt("the zombie commits", () -> { first.commitTransaction(); return "committed"; });
                attempt("the zombie aborts", () -> { first.abortTransaction(); return "aborted"; });
                second.commitTransaction();
            }
        }
        settled(out);
        show("of zombie and heir, committed", read("read_committed", out));
        show("of zombie and heir, all", read("read_uncommitted", out));
    }

    /** A transaction that takes longer than it may. */
    static void tooLate() throws Exception {
        try (KafkaProducer<String, String> producer = producer("late", 2_000)) {
            producer.beginTransaction();
            send(producer, out, "late");
            settled(out);
            show("after its time, committed", read("read_committed", out));
            attempt("a late commit", () -> { producer.commitTransaction(); return "committed"; });
            attempt("a late abort", () -> { producer.abortTransaction(); return "aborted"; });
            attempt("another transaction", () -> { producer.beginTransaction(); return "begun"; });
        }
        try (KafkaProducer<String, String> producer = producer("late", 2_000)) {
            producer.beginTransaction();
            send(producer, out, "in time");
            producer.commitTransaction();
        }
        settled(out);
        show("at the end, committed", read("read_committed", out));
        attempt("a time-out above the brokers' limit", () -> { producer("long", 1_000_000_000).close(); return "ready"; });
    }

    static KafkaProducer<String, String> producer(String id, int timeoutMillis) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("transactional.id", prefix + "-" + id);
        settings.put("transaction.timeout.ms", timeoutMillis);
        KafkaProducer<String, String> producer =
                new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
        producer.initTransactions();
        return producer;
    }

    static KafkaConsumer<String, String> consumer(String isolation, String group) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("isolation.level", isolation);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "earliest");
        if (group != null) {
            settings.put("group.id", group);
        }
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    static ProducerRecord<String, String> record(TopicPartition to, String value) {
        return new ProducerRecord<>(to.topic(), to.partition(), null, value);
    }

    /** Sends and waits until it is written. */
    static void send(KafkaProducer<String, String> producer, TopicPartition to, String... values) throws Exception {
        for (String value : values) {
            producer.send(record(to, value)).get();
        }
    }

    static long end(String isolation, TopicPartition of) {
        try (KafkaConsumer<String, String> consumer = consumer(isolation, null)) {
            return consumer.endOffsets(List.of(of)).get(of);
        }
    }

    /** Waits until no transaction is open: markers are written after a commit has been answered. */
    static void settled(TopicPartition of) {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (end("read_committed", of) != end("read_uncommitted", of)) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("a transaction in " + of + " does not end");
            }
        }
    }

    /** All there is to read, with offsets. */
    static String read(String isolation, TopicPartition from) {
        List<String> read = new ArrayList<>();
        try (KafkaConsumer<String, String> consumer = consumer(isolation, null)) {
            consumer.assign(List.of(from));
            consumer.seekToBeginning(List.of(from));
            long end = consumer.endOffsets(List.of(from)).get(from);
            while (consumer.position(from) < end) {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> read.add(record.offset() + " " + record.value()));
            }
            return read + " up to " + end;
        }
    }

    static List<ConsumerRecord<String, String>> next(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        while (records.size() < count) {
            consumer.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        return records;
    }

    static String committed(String group) throws Exception {
        OffsetAndMetadata offset = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(in);
        return offset == null ? "none" : String.valueOf(offset.offset());
    }

    static void show(String what, String observed) {
        System.out.println(what + ": " + observed);
    }

    static void attempt(String what, Callable<String> act) {
        try {
            show(what, act.call());
        } catch (java.util.concurrent.ExecutionException failed) {
            show(what, failed.getCause().getClass().getSimpleName());
        } catch (Exception failed) {
            show(what, failed.getClass().getSimpleName());
        }
    }
}
