package peer;

import java.util.Map;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.api.common.typeutils.base.LongSerializer;
import org.apache.flink.api.common.typeutils.base.StringSerializer;
import org.apache.flink.api.common.typeutils.base.array.BytePrimitiveArraySerializer;

/** What is sent, from a seed; ../src/content.rs says how, and does the same. */
final class Content {
    private static final long G = 0x9E3779B97F4A7C15L;
    private static final long D = 0xD1B54A32D192ED03L;

    final String type;
    final long seed;
    private final String rule;
    private final long low;
    private final long high;
    /** Each value of a subpartition is its first. */
    private final Object[] constants;
    /** The state of each subpartition's stream of sizes. */
    private final long[] sizes;

    Content(Map<String, String> options, int subpartitions) {
        type = options.getOrDefault("type", "bytes");
        seed = Peer.number(options, "seed", 1);
        String[] size = options.getOrDefault("sizes", "fixed:64").split("[:-]");
        rule = size[0];
        low = size.length > 1 ? Long.parseLong(size[1]) : 0;
        high = size.length > 2 ? Long.parseLong(size[2]) : low;
        constants = options.containsKey("constant") ? new Object[subpartitions] : null;
        sizes = new long[subpartitions];
        for (int s = 0; s < subpartitions; s++) {
            sizes[s] = seed + D * (s + 1L);
        }
    }

    static long mix(long z) {
        z = (z ^ z >>> 30) * 0xBF58476D1CE4E5B9L;
        z = (z ^ z >>> 27) * 0x94D049BB133111EBL;
        return z ^ z >>> 31;
    }

    private int nextSize(int s) {
        long u = mix(sizes[s] += G);
        if (!rule.equals("mix")) {
            return (int) (low + Long.remainderUnsigned(u, high - low + 1));
        }
        long k = u & 15;
        long v = u >>> 8;
        return (int) (k < 8 ? v % 64 : k < 13 ? 64 + v % 1984 : k < 15 ? 2048 + v % 30720 : 32768 + v % 167232);
    }

    long timestamp(int s, long r) {
        return (seed & 0xffff) * 1_000_000 + 10 * r + s;
    }

    /** The next value of subpartition s, its r-th. */
    Object value(int s, long r) {
        if (constants == null) {
            return make(s, r);
        }
        if (r == 0) {
            constants[s] = make(s, r);
        }
        return constants[s];
    }

    private Object make(int s, long r) {
        long hash = mix(seed + D * (s + 1L) + G * (r + 1));
        byte[] bytes = new byte[nextSize(s)];
        if (type.equals("long")) {
            return hash;
        }
        for (int i = 0; i < bytes.length; i++) {
            bytes[i] = (byte) ((hash >>> 8 * (i & 7)) + i);
        }
        if (type.equals("bytes")) {
            return bytes;
        }
        StringBuilder text = new StringBuilder();
        for (byte b : bytes) {
            int c = b & 0xff;
            text.append((char) (c < 0x80 ? 0x20 + c % 95 : c < 0xC0 ? c : c < 0xF0 ? 0x4E00 + c : 0x7F0 + c));
        }
        return (r % 16 == 5 ? text.appendCodePoint(0x1F600) : text).toString();
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    static TypeSerializer<Object> serializer(String type) {
        switch (type) {
            case "long":
                return (TypeSerializer) LongSerializer.INSTANCE;
            case "string":
                return (TypeSerializer) StringSerializer.INSTANCE;
            default:
                return (TypeSerializer) BytePrimitiveArraySerializer.INSTANCE;
        }
    }
}
