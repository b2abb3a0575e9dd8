package peer;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.apache.flink.runtime.checkpoint.CheckpointOptions;
import org.apache.flink.runtime.checkpoint.CheckpointType;
import org.apache.flink.runtime.checkpoint.channel.ChannelStateWriter.NoOpChannelStateWriter;
import org.apache.flink.runtime.checkpoint.channel.ResultSubpartitionInfo;
import org.apache.flink.runtime.clusterframework.types.ResourceID;
import org.apache.flink.runtime.deployment.ResultPartitionDeploymentDescriptor;
import org.apache.flink.runtime.io.network.api.CancelCheckpointMarker;
import org.apache.flink.runtime.io.network.api.CheckpointBarrier;
import org.apache.flink.runtime.io.network.api.StopMode;
import org.apache.flink.runtime.io.network.api.writer.RecordWriter;
import org.apache.flink.runtime.io.network.api.writer.RecordWriterBuilder;
import org.apache.flink.runtime.io.network.buffer.Buffer;
import org.apache.flink.runtime.io.network.partition.ChannelStateHolder;
import org.apache.flink.runtime.io.network.partition.ResultPartition;
import org.apache.flink.runtime.io.network.partition.ResultPartitionID;
import org.apache.flink.runtime.io.network.partition.ResultPartitionType;
import org.apache.flink.runtime.jobgraph.OperatorID;
import org.apache.flink.runtime.plugable.SerializationDelegate;
import org.apache.flink.runtime.shuffle.NettyShuffleDescriptor;
import org.apache.flink.runtime.shuffle.NettyShuffleDescriptor.NetworkPartitionConnectionInfo;
import org.apache.flink.runtime.shuffle.PartitionDescriptor;
import org.apache.flink.runtime.state.CheckpointStorageLocationReference;
import org.apache.flink.streaming.api.watermark.InternalWatermark;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.LatencyMarker;
import org.apache.flink.streaming.runtime.streamrecord.RecordAttributes;
import org.apache.flink.streaming.runtime.streamrecord.StreamElement;
import org.apache.flink.streaming.runtime.streamrecord.StreamElementSerializer;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.watermarkstatus.WatermarkStatus;

/** Writes a partition by Flink's writer, and serves it by Flink's server. */
final class Serve {
    private final Map<String, String> options;
    private final int subpartitions;
    private final Content content;
    private final Summary[] sent;
    private final String endOfData;
    private final boolean blocking;
    private final Stack stack;
    private final ResultPartitionID id;
    private final ResultPartition partition;
    private final SerializationDelegate<StreamElement> delegate;
    private RecordWriter<SerializationDelegate<StreamElement>> writer;

    private Serve(Map<String, String> options) throws Exception {
        this.options = options;
        subpartitions = (int) Peer.number(options, "subpartitions", 1);
        content = new Content(options, subpartitions);
        sent = new Summary[subpartitions];
        for (int s = 0; s < subpartitions; s++) {
            sent[s] = new Summary(options.containsKey("count-only"));
        }
        delegate = new SerializationDelegate<>(new StreamElementSerializer<>(Content.serializer(content.type)));
        endOfData = options.getOrDefault("end-of-data", "wait");
        blocking = options.getOrDefault("partition", options.containsKey("compression") ? "blocking" : "pipelined")
                .equals("blocking");
        stack = new Stack(options, "producer", (int) Peer.number(options, "port", 0));
        id = Stack.partition(ids(content.seed));
        ResultPartitionType type =
                blocking ? ResultPartitionType.BLOCKING : ResultPartitionType.PIPELINED_BOUNDED;
        NettyShuffleDescriptor place = new NettyShuffleDescriptor(new ResourceID("producer"),
                new NetworkPartitionConnectionInfo(new InetSocketAddress("127.0.0.1", 1), 0), id);
        PartitionDescriptor what = new PartitionDescriptor(id.getPartitionId().getIntermediateDataSetID(), 1,
                id.getPartitionId(), type, subpartitions, 0, false, true, false);
        partition = stack.shuffle.createResultPartitionWriters(stack.owner(id.getProducerId()),
                List.of(new ResultPartitionDeploymentDescriptor(what, place, Math.max(subpartitions, 128)))).get(0);
    }

    static int run(Map<String, String> options) throws Exception {
        Peer.limitTime(options);
        return new Serve(options).run();
    }

    private int run() throws Exception {
        long delay = Peer.number(options, "register-delay-ms", 0);
        if (!blocking) {
            if (delay == 0) {
                partition.setup();
            }
            ready(stack.shuffle.start());
            if (delay > 0) {
                Thread.sleep(delay);
                partition.setup();
            }
        } else {
            partition.setup();
        }
        if (partition instanceof ChannelStateHolder) {
            ((ChannelStateHolder) partition).setChannelStateWriter(new StateIsDropped());
        }
        writer = new RecordWriterBuilder<SerializationDelegate<StreamElement>>()
                .setTimeout(Peer.number(options, "buffer-timeout", 100)).setTaskName("interop").build(partition);
        if (!write()) {
            return 0;
        }
        if (!endOfData.equals("none")) {
            partition.notifyEndOfData(StopMode.DRAIN);
            writer.flushAll();
            if (endOfData.equals("wait") && !blocking) {
                partition.getAllDataProcessedFuture().get();
            }
        }
        partition.finish();
        writer.flushAll();
        writer.close();
        partition.close();
        for (Summary summary : sent) {
            summary.count("end_of_partition");
            if (!endOfData.equals("none")) {
                summary.count("end_of_data");
            }
        }
        if (blocking) {
            ready(stack.shuffle.start());
            untilTheInputEnds(); // who has read a blocking partition can read it again
        } else {
            while (!partition.isReleased()) {
                Thread.sleep(5);
            }
            Thread.sleep(50); // what is on its way to the socket
        }
        Peer.print(Peer.done("serve", Peer.fields(sent, 0)));
        return 0;
    }

    /** Whether all was written: {@code --fail-after} ends it midway. */
    private boolean write() throws Exception {
        long records = Peer.number(options, "records", 1000);
        long failAfter = Peer.number(options, "fail-after", Long.MAX_VALUE);
        long watermarks = Peer.number(options, "watermarks-every", 0);
        long extras = Peer.number(options, "extras-every", 0);
        long barriers = Peer.number(options, "barriers-every", 0);
        for (long r = 0; r < records; r++) {
            if (r == failAfter) {
                IOException cause = new IOException("failed as told to");
                partition.fail(cause);
                Peer.print(Peer.error(cause));
                untilTheInputEnds();
                return false;
            }
            for (int s = 0; s < subpartitions; s++) {
                long timestamp = content.timestamp(s, r);
                Object value = content.value(s, r);
                emit(s, options.containsKey("timestamps") ? new StreamRecord<>(value, timestamp)
                        : new StreamRecord<>(value));
                if (isDue(r, watermarks)) {
                    emit(s, new Watermark(timestamp));
                }
                if (isDue(r, extras)) {
                    emit(s, WatermarkStatus.IDLE);
                    emit(s, WatermarkStatus.ACTIVE);
                    emit(s, new LatencyMarker(timestamp, new OperatorID(Content.mix(s), Content.mix(r)), s));
                    emit(s, new RecordAttributes(r % 2 == 1));
                    emit(s, new InternalWatermark(timestamp, s));
                }
            }
            if (isDue(r, barriers)) {
                barrier((r + 1) / barriers, content.timestamp(0, r));
            }
        }
        if (options.containsKey("cancel-marker")) {
            writer.broadcastEvent(new CancelCheckpointMarker(77));
            for (Summary summary : sent) {
                summary.other("CancelCheckpointMarker");
            }
        }
        return true;
    }

    private static void untilTheInputEnds() throws IOException {
        while (System.in.read() >= 0) {
            // whatever it is
        }
    }

    private static boolean isDue(long r, long every) {
        return every > 0 && (r + 1) % every == 0;
    }

    private void emit(int s, StreamElement element) throws IOException {
        sent[s].element(element);
        delegate.setInstance(element);
        writer.emit(delegate, s);
    }

    private void barrier(long number, long timestamp) throws IOException {
        String kind = options.getOrDefault("barrier-kind", "aligned");
        CheckpointStorageLocationReference place = CheckpointStorageLocationReference.getDefault();
        CheckpointType type = CheckpointType.CHECKPOINT;
        CheckpointOptions how = kind.equals("unaligned") ? CheckpointOptions.unaligned(type, place)
                : kind.equals("at-least-once") ? CheckpointOptions.notExactlyOnce(type, place)
                : kind.equals("aligned-timeout") ? CheckpointOptions.alignedWithTimeout(type, place, 60_000)
                : CheckpointOptions.alignedNoTimeout(type, place);
        writer.broadcastEvent(new CheckpointBarrier(number, timestamp, how), kind.equals("unaligned"));
        for (Summary summary : sent) {
            summary.count("barriers");
            summary.set("last_barrier", number);
        }
    }

    private static String ids(long seed) {
        StringBuilder hex = new StringBuilder();
        for (int i = 1; i <= 6; i++) {
            hex.append(String.format("%016x", Content.mix(seed + i)));
            hex.append(i == 2 ? String.format("%08x", seed & 7) : "");
        }
        return hex.append(String.format("%08x%08x", seed & 15, seed & 3)).toString();
    }

    private void ready(int port) {
        String hex = ids(content.seed);
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("event", "ready");
        line.put("flink", "2.3.0");
        line.put("host", "127.0.0.1");
        line.put("port", port);
        line.put("partition_id", hex.substring(0, 40));
        line.put("producer_id", hex.substring(40));
        line.put("partition_type", blocking ? "BLOCKING" : "PIPELINED_BOUNDED");
        line.put("subpartitions", subpartitions);
        line.put("type", content.type);
        line.put("compression", options.getOrDefault("compression", "none"));
        line.put("segment_size", stack.segmentSize);
        Peer.print(line);
    }

    /** Takes the buffers that an unaligned barrier overtakes, and stores none. */
    private static final class StateIsDropped extends NoOpChannelStateWriter {
        @Override
        public void addOutputData(long checkpoint, ResultSubpartitionInfo from, int first, Buffer... data) {
            for (Buffer buffer : data) {
                buffer.recycleBuffer();
            }
        }

        @Override
        public void addOutputDataFuture(
                long checkpoint, ResultSubpartitionInfo from, int first, CompletableFuture<List<Buffer>> data) {
            data.thenAccept(buffers -> new ArrayList<>(buffers).forEach(Buffer::recycleBuffer));
        }
    }
}
