package peer;

import java.net.InetAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.metrics.groups.UnregisteredMetricsGroup;
import org.apache.flink.runtime.clusterframework.types.ResourceID;
import org.apache.flink.runtime.executiongraph.ExecutionAttemptID;
import org.apache.flink.runtime.io.network.NettyShuffleEnvironment;
import org.apache.flink.runtime.io.network.NettyShuffleServiceFactory;
import org.apache.flink.runtime.io.network.TaskEventDispatcher;
import org.apache.flink.runtime.io.network.netty.NettyConnectionManager;
import org.apache.flink.runtime.io.network.partition.ResultPartitionID;
import org.apache.flink.runtime.io.network.partition.ResultPartitionManager;
import org.apache.flink.runtime.jobgraph.IntermediateResultPartitionID;
import org.apache.flink.runtime.shuffle.ShuffleIOOwnerContext;
import org.apache.flink.runtime.taskmanager.NettyShuffleEnvironmentConfiguration;
import org.apache.flink.shaded.netty4.io.netty.buffer.ByteBuf;
import org.apache.flink.shaded.netty4.io.netty.buffer.ByteBufUtil;
import org.apache.flink.shaded.netty4.io.netty.buffer.Unpooled;
import org.apache.flink.util.concurrent.ScheduledExecutorServiceAdapter;

/** The network stack of a TaskManager. */
final class Stack {
    final NettyShuffleEnvironment shuffle;
    final int segmentSize;

    Stack(Map<String, String> options, String name, int port) throws Exception {
        Path folder = Files.createTempDirectory("flink-interop");
        Runtime.getRuntime().addShutdownHook(new Thread(() -> delete(folder)));
        Configuration c = new Configuration();
        c.setString("io.tmp.dirs", folder.toString());
        c.setString("taskmanager.data.port", "" + port);
        c.setString("taskmanager.memory.segment-size", options.getOrDefault("segment-size", "32768") + "b");
        c.setString("taskmanager.memory.framework.off-heap.batch-shuffle.size", "32m");
        c.setString("taskmanager.network.sort-shuffle.min-buffers", "64");
        c.setString("taskmanager.network.netty.server.numThreads", "1");
        c.setString("taskmanager.network.netty.client.numThreads", "1");
        c.setString("taskmanager.network.compression.codec",
                options.getOrDefault("compression", "none").toUpperCase());
        c.setString("taskmanager.network.partition-request-timeout",
                options.getOrDefault("request-timeout-ms", "3000") + " ms");
        if (options.containsKey("max-required-buffers")) {
            c.setString("taskmanager.network.memory.read-buffer.required-per-gate.max",
                    options.get("max-required-buffers"));
        }
        if (options.containsKey("no-connection-reuse")) {
            c.setString("taskmanager.network.tcp-connection.enable-reuse-across-jobs", "false");
        }
        if (options.containsKey("tls-keystore")) {
            c.setString("security.ssl.internal.enabled", "true");
            c.setString("security.ssl.internal.keystore", options.get("tls-keystore"));
            c.setString("security.ssl.internal.truststore", options.get("tls-truststore"));
            for (String what : new String[] {"keystore", "key", "truststore"}) {
                c.setString("security.ssl.internal." + what + "-password", "interop");
            }
        }
        NettyShuffleEnvironmentConfiguration config = NettyShuffleEnvironmentConfiguration.fromConfiguration(
                c, MemorySize.ofMebiBytes(64), false, InetAddress.getByName("127.0.0.1"));
        segmentSize = config.networkBufferSize();
        ScheduledExecutorService threads = Executors.newScheduledThreadPool(2, task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
        ResultPartitionManager partitions = new ResultPartitionManager(
                config.getPartitionRequestListenerTimeout(), new ScheduledExecutorServiceAdapter(threads));
        TaskEventDispatcher events = new TaskEventDispatcher();
        shuffle = NettyShuffleServiceFactory.createNettyShuffleEnvironment(
                config, new ResourceID(name), events, partitions,
                new NettyConnectionManager(partitions, events, config.nettyConfig(), config.isConnectionReuseEnabled()),
                new UnregisteredMetricsGroup(), threads, 1, new String[] {folder.toString()});
    }

    private static void delete(Path folder) {
        try (var found = Files.walk(folder)) {
            found.sorted(java.util.Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        } catch (java.io.IOException e) {
            // the system's own cleaning has it
        }
    }

    ShuffleIOOwnerContext owner(ExecutionAttemptID id) {
        return shuffle.createShuffleIOOwnerContext("interop", id, new UnregisteredMetricsGroup());
    }

    /** From the hex digits of its 60 bytes on the wire. */
    static ResultPartitionID partition(String hex) {
        ByteBuf bytes = Unpooled.wrappedBuffer(ByteBufUtil.decodeHexDump(hex));
        IntermediateResultPartitionID partition = IntermediateResultPartitionID.fromByteBuf(bytes);
        return new ResultPartitionID(partition, ExecutionAttemptID.fromByteBuf(bytes));
    }
}
