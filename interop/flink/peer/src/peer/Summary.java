package peer;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.CRC32;
import org.apache.flink.streaming.api.watermark.InternalWatermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamElement;

/** What was sent to, or read from, a subpartition. */
final class Summary {
    private static final String[] COUNTS = {
        "records", "bytes", "crc32", "crc_sum", "with_ts", "ts_sum", "watermarks", "last_watermark", "barriers",
        "last_barrier", "statuses", "latency_markers", "record_attributes", "internal_watermarks", "end_of_data",
        "end_of_partition"
    };

    private final CRC32 all = new CRC32();
    private final Map<String, Long> counts = new LinkedHashMap<>();
    private final Map<String, Object> others = new TreeMap<>();
    private final boolean countOnly;
    private long records;
    private long bytes;
    private long crcSum;

    Summary(boolean countOnly) {
        this.countOnly = countOnly;
        for (String name : COUNTS) {
            counts.put(name, name.startsWith("last") ? null : 0L);
        }
    }

    void count(String name) {
        counts.merge(name, 1L, Long::sum);
    }

    void set(String name, long value) {
        counts.put(name, value);
    }

    long records() {
        return records;
    }

    long bytes() {
        return bytes;
    }

    void other(String event) {
        others.merge(event, 1L, (a, b) -> (Long) a + (Long) b);
    }

    void element(StreamElement element) {
        if (element.isRecord()) {
            Object value = element.asRecord().getValue();
            records++;
            if (countOnly && value instanceof byte[]) {
                bytes += ((byte[]) value).length;
            } else {
                checksum(value instanceof Long
                        ? ByteBuffer.allocate(8).putLong((Long) value).array()
                        : value instanceof String
                                ? ((String) value).getBytes(StandardCharsets.UTF_8) : (byte[]) value);
            }
            if (element.asRecord().hasTimestamp()) {
                count("with_ts");
                counts.merge("ts_sum", element.asRecord().getTimestamp(), Long::sum);
            }
        } else if (element instanceof InternalWatermark) {
            count("internal_watermarks");
        } else if (element.isWatermark()) {
            count("watermarks");
            set("last_watermark", element.asWatermark().getTimestamp());
        } else {
            count(element.isWatermarkStatus() ? "statuses"
                    : element.isLatencyMarker() ? "latency_markers" : "record_attributes");
        }
    }

    private void checksum(byte[] value) {
        bytes += value.length;
        if (!countOnly) {
            CRC32 one = new CRC32();
            one.update(value, 0, value.length);
            all.update(value, 0, value.length);
            crcSum += one.getValue();
        }
    }

    Map<String, Object> fields(Object s) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("s", s);
        fields.putAll(counts);
        fields.put("records", records);
        fields.put("bytes", bytes);
        fields.put("crc32", String.format("%08x", all.getValue()));
        fields.put("crc_sum", String.format("%016x", crcSum));
        if (!others.isEmpty()) {
            fields.put("other_events", others);
        }
        return fields;
    }
}
