package peer;

import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.flink.runtime.checkpoint.channel.ChannelStateWriter;
import org.apache.flink.runtime.clusterframework.types.ResourceID;
import org.apache.flink.runtime.deployment.InputGateDeploymentDescriptor;
import org.apache.flink.runtime.deployment.TaskDeploymentDescriptorFactory.ShuffleDescriptorAndIndex;
import org.apache.flink.runtime.event.AbstractEvent;
import org.apache.flink.runtime.execution.ExecutionState;
import org.apache.flink.runtime.executiongraph.ExecutionAttemptID;
import org.apache.flink.runtime.io.network.api.CheckpointBarrier;
import org.apache.flink.runtime.io.network.api.EndOfData;
import org.apache.flink.runtime.io.network.api.EndOfPartitionEvent;
import org.apache.flink.runtime.io.network.api.EventAnnouncement;
import org.apache.flink.runtime.io.network.api.serialization.RecordDeserializer;
import org.apache.flink.runtime.io.network.api.serialization.SpillingAdaptiveSpanningRecordDeserializer;
import org.apache.flink.runtime.io.network.partition.ChannelStateHolder;
import org.apache.flink.runtime.io.network.partition.PartitionProducerStateProvider;
import org.apache.flink.runtime.io.network.partition.ResultPartitionID;
import org.apache.flink.runtime.io.network.partition.ResultPartitionType;
import org.apache.flink.runtime.io.network.partition.consumer.BufferOrEvent;
import org.apache.flink.runtime.io.network.partition.consumer.InputChannel;
import org.apache.flink.runtime.io.network.partition.consumer.SingleInputGate;
import org.apache.flink.runtime.plugable.DeserializationDelegate;
import org.apache.flink.runtime.plugable.NonReusingDeserializationDelegate;
import org.apache.flink.runtime.shuffle.NettyShuffleDescriptor;
import org.apache.flink.runtime.shuffle.NettyShuffleDescriptor.NetworkPartitionConnectionInfo;
import org.apache.flink.streaming.runtime.streamrecord.StreamElement;
import org.apache.flink.streaming.runtime.streamrecord.StreamElementSerializer;
import org.apache.flink.types.Either;

/** Reads a partition by Flink's gates: one a subpartition, all over one connection. */
final class Consume {
    private Consume() {}

    static int run(Map<String, String> options) throws Exception {
        Peer.limitTime(options);
        String ready = options.get("ids");
        Map<String, String> ids =
                Peer.parse(ready.startsWith("@") ? Files.readString(Path.of(ready.substring(1))) : ready);
        int last = Integer.parseInt(ids.getOrDefault("subpartitions", "1")) - 1;
        String[] range = options.getOrDefault("subpartitions", "0-" + last).split("-");
        int from = Integer.parseInt(range[0]);
        int to = Integer.parseInt(range[range.length - 1]);
        String type = options.getOrDefault("type", ids.getOrDefault("type", "bytes"));
        boolean blocking = ids.getOrDefault("partition_type", "").startsWith("BLOCKING");

        Stack stack = new Stack(options, "consumer", 0);
        stack.shuffle.start();
        long began = System.nanoTime();
        BlockingQueue<Optional<Throwable>> ends = new LinkedBlockingQueue<>();
        ResultPartitionID id = Stack.partition(ids.get("partition_id") + ids.get("producer_id"));
        int port = (int) Peer.number(options, "port", Long.parseLong(ids.getOrDefault("port", "0")));
        InetSocketAddress address =
                new InetSocketAddress(options.getOrDefault("host", ids.getOrDefault("host", "127.0.0.1")), port);
        ShuffleDescriptorAndIndex[] place = {
            new ShuffleDescriptorAndIndex(
                    new NettyShuffleDescriptor(
                            new ResourceID("producer"), new NetworkPartitionConnectionInfo(address, 0), id), 0)
        };
        List<InputGateDeploymentDescriptor> wanted = new ArrayList<>();
        for (int s = from; s <= to; s++) {
            wanted.add(new InputGateDeploymentDescriptor(id.getPartitionId().getIntermediateDataSetID(),
                    blocking ? ResultPartitionType.BLOCKING : ResultPartitionType.PIPELINED_BOUNDED, s, place));
        }
        PartitionProducerStateProvider producers = (dataSet, partition, answer) -> answer.accept(new Runs(ends));
        List<SingleInputGate> gates = stack.shuffle.createInputGates(
                stack.owner(ExecutionAttemptID.randomId()), producers, wanted);
        Summary[] read = new Summary[gates.size()];
        for (int i = 0; i < read.length; i++) {
            SingleInputGate gate = gates.get(i);
            Summary summary = read[i] = new Summary(options.containsKey("count-only"));
            Thread thread = new Thread(() -> {
                Throwable failure = null;
                try {
                    read(gate, summary, type, options);
                } catch (Throwable e) {
                    failure = e;
                }
                ends.add(Optional.ofNullable(failure));
            });
            thread.setDaemon(true);
            thread.start();
        }
        for (int i = 0; i < read.length; i++) {
            Optional<Throwable> failure = ends.take();
            if (failure.isPresent()) {
                Peer.print(Peer.error(failure.get()));
                return 2;
            }
        }
        Peer.rate(options, read, System.nanoTime() - began);
        for (SingleInputGate gate : gates) {
            gate.close();
        }
        Peer.print(Peer.done("consume", Peer.fields(read, from)));
        stack.shuffle.close();
        return 0;
    }

    private static void read(SingleInputGate gate, Summary summary, String type, Map<String, String> options)
            throws Exception {
        long pause = Peer.number(options, "slow-us", 0);
        long align = Peer.number(options, "align-ms", 0);
        long cancelAfter = Peer.number(options, "cancel-after", Long.MAX_VALUE);
        int bufferSize = (int) Peer.number(options, "announce-buffer-size", 0);
        boolean acknowledge = !options.getOrDefault("ack", "yes").equals("no");
        gate.setup();
        for (InputChannel channel : gate.inputChannels()) {
            ((ChannelStateHolder) channel).setChannelStateWriter(ChannelStateWriter.NO_OP);
        }
        gate.finishReadRecoveredState();
        while (!gate.getStateConsumedFuture().isDone()) {
            gate.pollNext();
        }
        gate.requestPartitions();
        DeserializationDelegate<StreamElement> element =
                new NonReusingDeserializationDelegate<>(new StreamElementSerializer<>(Content.serializer(type)));
        RecordDeserializer<DeserializationDelegate<StreamElement>> records =
                new SpillingAdaptiveSpanningRecordDeserializer<>(new String[] {System.getProperty("java.io.tmpdir")});
        while (!gate.isFinished() && summary.records() < cancelAfter) {
            BufferOrEvent next = gate.getNext().orElse(null);
            if (next == null) {
                continue;
            }
            if (next.isEvent()) {
                event(next, gate, summary, acknowledge, align);
                continue;
            }
            records.setNextBuffer(next.getBuffer());
            RecordDeserializer.DeserializationResult result;
            do {
                result = records.getNextRecord(element);
                if (result.isFullRecord()) {
                    summary.element(element.getInstance());
                }
            } while (!result.isBufferConsumed());
            TimeUnit.MICROSECONDS.sleep(pause);
            if (bufferSize > 0) {
                gate.announceBufferSize(bufferSize);
                bufferSize = 0;
            }
        }
    }

    private static void event(
            BufferOrEvent next, SingleInputGate gate, Summary summary, boolean acknowledge, long align)
            throws Exception {
        AbstractEvent event = next.getEvent();
        if (event instanceof EndOfPartitionEvent) {
            summary.count("end_of_partition");
        } else if (event instanceof EndOfData) {
            summary.count("end_of_data");
            if (acknowledge) {
                gate.acknowledgeAllRecordsProcessed(next.getChannelInfo());
            }
        } else if (event instanceof CheckpointBarrier) {
            CheckpointBarrier barrier = (CheckpointBarrier) event;
            summary.count("barriers");
            summary.set("last_barrier", barrier.getId());
            if (barrier.getCheckpointOptions().needsAlignment()) {
                Thread.sleep(align);
                gate.resumeConsumption(next.getChannelInfo());
            }
        } else if (!(event instanceof EventAnnouncement)) { // the channel announces to itself
            summary.other(event.getClass().getSimpleName());
        }
    }

    /** Says of a producer that is not there yet that it runs, so that it is asked again. */
    private static final class Runs implements PartitionProducerStateProvider.ResponseHandle {
        private final BlockingQueue<Optional<Throwable>> ends;

        Runs(BlockingQueue<Optional<Throwable>> ends) {
            this.ends = ends;
        }

        @Override
        public ExecutionState getConsumerExecutionState() {
            return ExecutionState.RUNNING;
        }

        @Override
        public Either<ExecutionState, Throwable> getProducerExecutionState() {
            return Either.Left(ExecutionState.RUNNING);
        }

        @Override
        public void cancelConsumption() {
            failConsumption(new IllegalStateException("consumption is cancelled"));
        }

        @Override
        public void failConsumption(Throwable cause) {
            ends.add(Optional.of(cause));
        }
    }
}
