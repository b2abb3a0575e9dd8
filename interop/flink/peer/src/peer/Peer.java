package peer;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.StringJoiner;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Flink's own network stack outside of a cluster, as one end of a connection: serves a partition, or reads one. */
public final class Peer {
    public static void main(String[] args) {
        int status;
        try {
            Map<String, String> options = options(args);
            switch (args.length == 0 ? "" : args[0]) {
                case "serve":
                    status = Serve.run(options);
                    break;
                case "consume":
                    status = Consume.run(options);
                    break;
                default:
                    System.err.println("peer serve|consume [--option value]...");
                    status = 64;
            }
        } catch (Throwable e) {
            print(error(e));
            e.printStackTrace();
            status = 1;
        }
        System.out.flush();
        System.exit(status);
    }

    /** {@code --name value}, or {@code --name} alone. */
    private static Map<String, String> options(String[] args) {
        Map<String, String> options = new LinkedHashMap<>();
        for (int i = 1; i < args.length; i++) {
            if (!args[i].startsWith("--")) {
                throw new IllegalArgumentException("not an option: " + args[i]);
            }
            String name = args[i].substring(2);
            boolean alone = i + 1 == args.length || args[i + 1].startsWith("--");
            options.put(name, alone ? "" : args[++i]);
        }
        return options;
    }

    static long number(Map<String, String> options, String name, long otherwise) {
        String value = options.get(name);
        return value == null ? otherwise : Long.parseLong(value);
    }

    /** Ends the process after {@code --timeout-s}, whatever it waits for. */
    static void limitTime(Map<String, String> options) {
        long seconds = number(options, "timeout-s", 60);
        Thread watch = new Thread(() -> {
            try {
                Thread.sleep(seconds * 1000);
            } catch (InterruptedException e) {
                return;
            }
            print(error(new java.util.concurrent.TimeoutException("not done after " + seconds + " s")));
            System.out.flush();
            Runtime.getRuntime().halt(3);
        });
        watch.setDaemon(true);
        watch.start();
    }

    /** Says on the standard error how fast it went, if asked to by {@code --rate}. */
    static void rate(Map<String, String> options, Summary[] summaries, long nanos) {
        if (options.containsKey("rate")) {
            long records = Arrays.stream(summaries).mapToLong(Summary::records).sum();
            long bytes = Arrays.stream(summaries).mapToLong(Summary::bytes).sum();
            double seconds = nanos / 1e9;
            System.err.printf("rate: %.0f records/s, %.1f MB/s (%d records, %d bytes in %.3f s)%n",
                    records / seconds, bytes / seconds / 1e6, records, bytes, seconds);
        }
    }

    static Map<String, Object> error(Throwable e) {
        StringJoiner chain = new StringJoiner(" <- ");
        for (Throwable next = e; next != null; next = next.getCause()) {
            chain.add(next.toString());
        }
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("event", "error");
        line.put("error", chain.toString());
        return line;
    }

    static Map<String, Object> done(String role, List<Map<String, Object>> subpartitions) {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("event", "done");
        line.put("role", role);
        line.put("subpartitions", subpartitions);
        return line;
    }

    static void print(Object value) {
        System.out.println(json(value));
        System.out.flush();
    }

    private static String json(Object value) {
        if (value instanceof Map) {
            StringJoiner fields = new StringJoiner(",", "{", "}");
            ((Map<?, ?>) value).forEach((name, field) -> fields.add(json(name) + ":" + json(field)));
            return fields.toString();
        }
        if (value instanceof List) {
            StringJoiner items = new StringJoiner(",", "[", "]");
            ((List<?>) value).forEach(item -> items.add(json(item)));
            return items.toString();
        }
        if (value == null || value instanceof Number) {
            return String.valueOf(value);
        }
        StringBuilder text = new StringBuilder("\"");
        for (char c : value.toString().toCharArray()) {
            text.append(c == '"' || c == '\\' ? "\\" + c : c < ' ' ? String.format("\\u%04x", (int) c) : "" + c);
        }
        return text.append('"').toString();
    }

    /** The fields of a flat object, as text. */
    static Map<String, String> parse(String json) {
        Map<String, String> fields = new LinkedHashMap<>();
        Matcher field = Pattern.compile("\"(\\w+)\"\\s*:\\s*(?:\"([^\"]*)\"|(-?\\w+))").matcher(json);
        while (field.find()) {
            fields.put(field.group(1), field.group(2) == null ? field.group(3) : field.group(2));
        }
        return fields;
    }

    static List<Map<String, Object>> fields(Summary[] summaries, int first) {
        List<Map<String, Object>> all = new ArrayList<>();
        for (Summary summary : summaries) {
            all.add(summary.fields(first++));
        }
        return all;
    }
}
