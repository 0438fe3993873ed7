// Writes every message and version of the APIs that milena speaks, as Kafka's own generated classes encode it.
//
// Three values of each: all defaults; every field that the version has filled from its name ("full"); the same with null where
// null is allowed ("null"). What a field holds follows from its name alone (lower case, without underscores): text and bytes are
// the name, numbers are its 64-bit FNV-1a hash, cut to their width, arrays have two equal elements.

import java.io.PrintWriter;
import java.lang.reflect.Field;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;

public class Messages {
    static final List<ApiKeys> APIS = List.of(
        ApiKeys.PRODUCE, ApiKeys.FETCH, ApiKeys.LIST_OFFSETS, ApiKeys.METADATA, ApiKeys.OFFSET_COMMIT, ApiKeys.OFFSET_FETCH,
        ApiKeys.FIND_COORDINATOR, ApiKeys.JOIN_GROUP, ApiKeys.HEARTBEAT, ApiKeys.LEAVE_GROUP, ApiKeys.SYNC_GROUP,
        ApiKeys.DESCRIBE_GROUPS, ApiKeys.LIST_GROUPS, ApiKeys.API_VERSIONS, ApiKeys.CREATE_TOPICS, ApiKeys.DELETE_TOPICS,
        ApiKeys.INIT_PRODUCER_ID, ApiKeys.OFFSET_FOR_LEADER_EPOCH, ApiKeys.DESCRIBE_CONFIGS, ApiKeys.DESCRIBE_CLUSTER,
        ApiKeys.ADD_PARTITIONS_TO_TXN, ApiKeys.ADD_OFFSETS_TO_TXN, ApiKeys.END_TXN, ApiKeys.TXN_OFFSET_COMMIT,
        ApiKeys.DELETE_RECORDS, ApiKeys.CREATE_PARTITIONS, ApiKeys.DELETE_GROUPS, ApiKeys.OFFSET_DELETE,
        ApiKeys.INCREMENTAL_ALTER_CONFIGS, ApiKeys.ELECT_LEADERS);

    public static void main(String[] arguments) throws Exception {
        Path directory = Path.of(arguments[0]);
        Files.createDirectories(directory);
        for (ApiKeys api : APIS) {
            Path file = directory.resolve(api.name().toLowerCase(Locale.ROOT) + ".txt");
            try (PrintWriter out = new PrintWriter(Files.newBufferedWriter(file))) {
                out.println("# " + api.name() + " as kafka-clients 4.4.0 encodes it; made by java/run.sh");
                ApiMessageType type = api.messageType;
                for (short version = api.oldestVersion(); version <= api.latestVersion(false); version++) {
                    write(out, "request", version, type.requestSchemas()[version], type::newRequest);
                    write(out, "response", version, type.responseSchemas()[version], type::newResponse);
                }
            }
        }
    }

    interface Maker {
        ApiMessage make();
    }

    static void write(PrintWriter out, String kind, short version, Schema schema, Maker maker) throws Exception {
        for (String value : List.of("default", "full", "null")) {
            ApiMessage message = maker.make();
            if (!value.equals("default")) {
                fill(message, schema, value.equals("null"));
            }
            byte[] bytes = encode(message, version);
            if (value.equals("null") && java.util.Arrays.equals(bytes, fullBytes(schema, maker, version))) {
                continue; // nothing in it is nullable
            }
            out.println(kind + " " + version + " " + value + " " + HexFormat.of().formatHex(bytes));
        }
    }

    static byte[] fullBytes(Schema schema, Maker maker, short version) throws Exception {
        ApiMessage message = maker.make();
        fill(message, schema, false);
        return encode(message, version);
    }

    static byte[] encode(ApiMessage message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException(message + " is shorter than its size");
        }
        return buffer.array();
    }

    static void fill(Message message, Schema schema, boolean nulls) throws Exception {
        for (BoundField bound : schema.fields()) {
            if (bound.def.type instanceof TaggedFields tagged) {
                for (org.apache.kafka.common.protocol.types.Field field : tagged.fields().values()) {
                    set(message, field, nulls);
                }
            } else {
                set(message, bound.def, nulls);
            }
        }
    }

    static void set(Message message, org.apache.kafka.common.protocol.types.Field definition, boolean nulls)
            throws Exception {
        String name = definition.name.replace("_", "");
        for (Field field : message.getClass().getDeclaredFields()) {
            if (field.getName().toLowerCase(Locale.ROOT).equals(name)) {
                field.setAccessible(true);
                boolean isNull = nulls && definition.type.isNullable();
                field.set(message, isNull ? null : value(name, field.getGenericType(), definition.type, nulls));
                return;
            }
        }
        throw new IllegalStateException(message.getClass() + " has no field for " + definition.name);
    }

    static Object value(String name, Type type, org.apache.kafka.common.protocol.types.Type wire, boolean nulls)
            throws Exception {
        long bits = hash(name);
        if (type == boolean.class || type == Boolean.class) return (bits & 1) == 1;
        if (type == byte.class || type == Byte.class) return (byte) bits;
        if (type == short.class || type == Short.class) return (short) bits;
        if (type == int.class || type == Integer.class) return (int) bits;
        if (type == long.class || type == Long.class) return bits;
        if (type == String.class) return name;
        if (type == Uuid.class) return new Uuid(bits, bits);
        byte[] text = name.getBytes(StandardCharsets.UTF_8);
        if (type == byte[].class) return text;
        if (type == ByteBuffer.class) return ByteBuffer.wrap(text);
        if (type == BaseRecords.class) return MemoryRecords.readableRecords(ByteBuffer.wrap(text));

        if (wire.arrayElementType().isPresent()) {
            org.apache.kafka.common.protocol.types.Type element = wire.arrayElementType().get();
            if (type instanceof ParameterizedType list) {
                List<Object> values = new ArrayList<>();
                for (int i = 0; i < 2; i++) {
                    values.add(value(name, list.getActualTypeArguments()[0], element, nulls));
                }
                return values;
            }
            Class<?> collection = (Class<?>) type;
            ParameterizedType parent = (ParameterizedType) collection.getGenericSuperclass();
            @SuppressWarnings("unchecked")
            Collection<Object> values = (Collection<Object>) collection.getConstructor(int.class).newInstance(2);
            for (int i = 0; i < 2; i++) {
                values.add(value(name, parent.getActualTypeArguments()[0], element, nulls));
            }
            return values;
        }
        Message structure = (Message) ((Class<?>) type).getConstructor().newInstance();
        fill(structure, (Schema) wire, nulls);
        return structure;
    }

    static long hash(String name) {
        long hash = 0xcbf29ce484222325L;
        for (byte letter : name.getBytes(StandardCharsets.UTF_8)) {
            hash = (hash ^ (letter & 0xff)) * 0x100000001b3L;
        }
        return hash;
    }
}
