// Random groups, each divided by the four assignors of Kafka's Java client: what they were given, and what came out.
//
//   java -cp kafka-clients.jar:slf4j-api.jar Groups.java COUNT SEED > groups.txt
//
// A group is these lines; "-" stands for nothing, letters for the members and topics in the order of their lines:
//
//   m INSTANCE RACK GENERATION TOPICS OWNED   for each member; OWNED is like a0,1;c5
//   t PARTITIONS RACKS                        for each topic; RACKS is like xy,x: those of each partition's replicas
//   range, roundrobin, sticky, planned, cooperative   a word for each topic with a letter for each partition: its member
//
// "planned" is what cooperative-sticky would give if nothing had to be given up first. "!" stands for no division: Java's sticky
// assignors fail on some groups, or give a partition twice.

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.AbstractStickyAssignor;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

public class Groups {
    static class Member {
        String instance, rack;
        Integer generation;
        TreeSet<Integer> topics = new TreeSet<>();
        List<TopicPartition> owned = new ArrayList<>();
    }

    static final String[] RACKS = {"x", "y", "z", "w"};

    /** What cooperative-sticky means to come to: nothing is withheld that another member must give up first. */
    static class Planned extends AbstractStickyAssignor {
        @Override public String name() {
            return "planned";
        }

        @Override protected MemberData memberData(Subscription subscription) {
            return new MemberData(subscription.ownedPartitions(), subscription.generationId(), subscription.rackId());
        }
    }

    final Random random;
    final List<Member> members = new ArrayList<>();
    /** Racks of each partition's replicas, by topic. */
    final List<List<TreeSet<String>>> topics = new ArrayList<>();
    boolean racks, instances;
    double wanted;
    /** Instance ids given so far. */
    int names;

    Groups(Random random) {
        this.random = random;
    }

    static String name(int topic) {
        return "" + (char) ('a' + topic);
    }

    TreeSet<Integer> subscription() {
        TreeSet<Integer> some = new TreeSet<>();
        for (int topic = 0; topic < topics.size(); topic++) if (random.nextDouble() < wanted) some.add(topic);
        if (some.isEmpty()) some.add(random.nextInt(topics.size()));
        return some;
    }

    Member newMember() {
        Member member = new Member();
        member.topics = subscription();
        if (racks && random.nextInt(8) > 0) member.rack = RACKS[random.nextInt(10) == 0 ? 3 : random.nextInt(3)];
        if (instances && random.nextBoolean()) member.instance = "i" + (random.nextInt(100) * 100 + names++);
        return member;
    }

    List<TreeSet<String>> newTopic() {
        List<TreeSet<String>> topic = new ArrayList<>();
        int count = random.nextInt(10), replicas = 1 + random.nextInt(3), first = random.nextInt(3);
        for (int partition = 0; partition < count; partition++) topic.add(replicas(first + partition, replicas));
        return topic;
    }

    TreeSet<String> replicas(int first, int count) {
        TreeSet<String> racks = new TreeSet<>();
        for (int replica = 0; replica < count; replica++) racks.add(RACKS[(first + replica) % 3]);
        return racks;
    }

    /** A group with a past. */
    void make() {
        racks = random.nextInt(4) == 0;
        instances = random.nextInt(4) == 0;
        wanted = random.nextBoolean() ? 1 : 0.2 + 0.6 * random.nextDouble();
        for (int count = 1 + random.nextInt(6); count > 0; count--) topics.add(newTopic());
        for (int count = 1 + random.nextInt(8); count > 0; count--) members.add(newMember());
        int past = random.nextInt(8);
        if (past == 0) return;
        if (past < 6) {
            for (int rounds = 1 + random.nextInt(3); rounds > 0; rounds--) {
                try {
                    keep(assign(new StickyAssignor(), members), 4);
                } catch (RuntimeException e) {
                    // It cannot; then nothing is kept.
                }
                change();
            }
            if (random.nextInt(4) == 0) disturb();
        } else {
            for (int topic = 0; topic < topics.size(); topic++)
                for (int partition = 0; partition < topics.get(topic).size(); partition++) {
                    if (random.nextInt(8) == 0) continue;
                    int most = past == 6 ? members.size() : 1 + members.size() / 3;
                    members.get(random.nextInt(most)).owned.add(new TopicPartition(name(topic), partition));
                }
            for (Member member : members) member.generation = 4;
            if (random.nextInt(2) == 0) disturb();
        }
    }

    void keep(Map<String, Assignment> result, int generation) {
        for (int place = 0; place < members.size(); place++) {
            Member member = members.get(place);
            member.owned = new ArrayList<>(result.get(id(place)).partitions());
            member.owned.sort((one, other) -> one.topic().equals(other.topic())
                ? Integer.compare(one.partition(), other.partition()) : one.topic().compareTo(other.topic()));
            member.generation = generation;
        }
    }

    /** What happens to groups. */
    void change() {
        for (int count = 1 + random.nextInt(2); count > 0; count--) {
            switch (random.nextInt(7)) {
                case 0, 1 -> { if (members.size() > 1) members.remove(random.nextInt(members.size())); }
                case 2, 3 -> members.add(random.nextInt(members.size() + 1), newMember());
                case 4 -> { if (wanted < 1) members.get(random.nextInt(members.size())).topics = subscription(); }
                case 5 -> {
                    List<TreeSet<String>> topic = topics.get(random.nextInt(topics.size()));
                    for (int more = random.nextInt(4); more > 0; more--) topic.add(replicas(random.nextInt(3), 2));
                }
                default -> {
                    if (random.nextBoolean() && topics.size() < 8) {
                        topics.add(newTopic());
                        for (Member member : members) if (random.nextDouble() < wanted) member.topics.add(topics.size() - 1);
                    } else {
                        topics.get(random.nextInt(topics.size())).clear();
                    }
                }
            }
        }
    }

    /** Members that missed a rebalance, and claims that contradict each other. */
    void disturb() {
        for (Member member : members) {
            int lag = random.nextInt(4);
            if (lag == 0 && member.generation != null) member.generation -= random.nextInt(3);
            if (lag == 1 && random.nextInt(3) == 0) member.generation = null;
            if (random.nextInt(4) == 0) {
                Member other = members.get(random.nextInt(members.size()));
                for (TopicPartition partition : other.owned)
                    if (random.nextBoolean() && !member.owned.contains(partition)) member.owned.add(partition);
            }
        }
    }

    static String id(int place) {
        return "m" + (char) ('a' + place);
    }

    Map<String, Assignment> assign(ConsumerPartitionAssignor assignor, List<Member> members) {
        List<Node> nodes = new ArrayList<>();
        for (int node = 0; node < 3; node++) nodes.add(new Node(node, "host", 9092, racks ? RACKS[node] : null));
        List<PartitionInfo> infos = new ArrayList<>();
        for (int topic = 0; topic < topics.size(); topic++)
            for (int partition = 0; partition < topics.get(topic).size(); partition++) {
                Set<String> in = topics.get(topic).get(partition);
                Node[] replicas = nodes.stream().filter(node -> in.contains(RACKS[node.id()])).toArray(Node[]::new);
                infos.add(new PartitionInfo(name(topic), partition, replicas[0], replicas, replicas));
            }
        Cluster cluster = new Cluster("cluster", nodes, infos, Set.of(), Set.of());
        Map<String, Subscription> subscriptions = new HashMap<>();
        for (int place = 0; place < members.size(); place++) {
            Member member = members.get(place);
            List<String> names = member.topics.stream().map(Groups::name).toList();
            boolean cooperative = assignor instanceof CooperativeStickyAssignor || assignor instanceof Planned;
            boolean eager = assignor instanceof StickyAssignor;
            ByteBuffer data = eager && member.generation != null ? stickyData(member, names) : null;
            Subscription subscription = new Subscription(names, data,
                cooperative ? member.owned : List.of(),
                cooperative && member.generation != null ? member.generation : -1, Optional.ofNullable(member.rack));
            subscription.setGroupInstanceId(Optional.ofNullable(member.instance));
            subscriptions.put(id(place), subscription);
        }
        return assignor.assign(cluster, new GroupSubscription(subscriptions)).groupAssignment();
    }

    /** As the member itself makes it. */
    static ByteBuffer stickyData(Member member, List<String> names) {
        StickyAssignor assignor = new StickyAssignor();
        assignor.onAssignment(new Assignment(member.owned), new ConsumerGroupMetadata("group", member.generation, "", Optional.empty()));
        return assignor.subscriptionUserData(new TreeSet<>(names));
    }

    void print(String name, ConsumerPartitionAssignor assignor) {
        Map<String, Assignment> result;
        try {
            result = assign(assignor, members);
        } catch (RuntimeException e) {
            System.out.println(name + " !");
            return;
        }
        Map<TopicPartition, Integer> owners = new HashMap<>();
        int given = 0;
        for (int place = 0; place < members.size(); place++)
            for (TopicPartition partition : result.get(id(place)).partitions()) {
                owners.put(partition, place);
                given++;
            }
        if (owners.size() < given) {
            System.out.println(name + " !");
            return;
        }
        StringBuilder line = new StringBuilder(name);
        for (int topic = 0; topic < topics.size(); topic++) {
            line.append(topics.get(topic).isEmpty() ? " -" : " ");
            for (int partition = 0; partition < topics.get(topic).size(); partition++) {
                Integer owner = owners.get(new TopicPartition(name(topic), partition));
                line.append(owner == null ? '.' : (char) ('a' + owner));
            }
        }
        System.out.println(line);
    }

    void divide() {
        for (Member member : members) {
            StringBuilder owned = new StringBuilder(), names = new StringBuilder();
            TreeMap<String, TreeSet<Integer>> byTopic = new TreeMap<>();
            for (TopicPartition partition : member.owned)
                byTopic.computeIfAbsent(partition.topic(), none -> new TreeSet<>()).add(partition.partition());
            byTopic.forEach((topic, numbers) -> owned.append(owned.isEmpty() ? "" : ";").append(topic)
                .append(numbers.toString().replaceAll("[\\[\\] ]", "")));
            member.topics.forEach(topic -> names.append(name(topic)));
            System.out.println("m " + dash(member.instance) + " " + dash(member.rack) + " " + dash(member.generation) + " "
                + dash(names) + " " + dash(owned));
        }
        for (List<TreeSet<String>> topic : topics) {
            StringBuilder all = new StringBuilder();
            if (racks)
                for (TreeSet<String> in : topic) all.append(all.isEmpty() ? "" : ",").append(String.join("", in));
            System.out.println("t " + topic.size() + " " + dash(all));
        }
        print("range", new RangeAssignor());
        print("roundrobin", new RoundRobinAssignor());
        print("sticky", new StickyAssignor());
        print("planned", new Planned());
        print("cooperative", new CooperativeStickyAssignor());
        System.out.println();
    }

    static String dash(Object value) {
        return value == null || value.toString().isEmpty() ? "-" : value.toString();
    }

    public static void main(String[] args) {
        Random random = new Random(Long.parseLong(args[1]));
        for (int count = Integer.parseInt(args[0]); count > 0; count--) {
            Groups group = new Groups(random);
            group.make();
            group.divide();
        }
    }
}
