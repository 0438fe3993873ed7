import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** A member of a consumer group by Kafka's Java client, until SIGTERM: java GroupMember.java BOOTSTRAP GROUP TOPIC [STRATEGY]. */
public class GroupMember {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("group.id", arguments[1]);
        settings.put("auto.offset.reset", "earliest");
        if (arguments.length > 3) {
            // Java takes classes instead of names.
            Map<String, Class<?>> strategies = Map.of(
                    "range", RangeAssignor.class,
                    "roundrobin", RoundRobinAssignor.class,
                    "sticky", StickyAssignor.class,
                    "cooperative-sticky", CooperativeStickyAssignor.class);
            settings.put("partition.assignment.strategy", strategies.get(arguments[3]).getName());
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "500");
        }
        KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
        Thread reader = Thread.currentThread();
        // The machine ends when its hooks have: this one lets the reader leave the group first. Its status is the signal's,
        // so it is set by hand.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                reader.join();
            } catch (InterruptedException impossible) {
                Runtime.getRuntime().halt(2);
            }
            Runtime.getRuntime().halt(0);
        }));
        consumer.subscribe(List.of(arguments[2]), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
                say("revoked", revoked);
            }

            @Override
            public void onPartitionsLost(Collection<TopicPartition> lost) {
                say("lost", lost);
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
                say("assigned", consumer.assignment());
            }
        });
        try {
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    System.out.println("record " + record.partition() + " " + record.offset() + " " + record.value());
                }
            }
        } catch (WakeupException leaving) {
            consumer.close();
        }
    }

    private static void say(String word, Collection<TopicPartition> partitions) {
        System.out.println(partitions.stream().map(TopicPartition::partition).sorted().map(String::valueOf)
                .collect(Collectors.joining(" ", word + " ", "")));
    }
}
