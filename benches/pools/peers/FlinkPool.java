import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.flink.runtime.io.network.buffer.Buffer;
import org.apache.flink.runtime.io.network.buffer.BufferPool;
import org.apache.flink.runtime.io.network.buffer.NetworkBufferPool;

/**
 * Flink's LocalBufferPool: FlinkPool TABLE OPERATIONS prints the nanoseconds that so many operations take, once warm. A table
 * that it does not know is exit status 2.
 */
public final class FlinkPool {
    private static final int SEGMENTS = 256;
    private static final int BATCH = 64;
    private static final int WARM = 2_000_000;

    interface Table {
        /** The nanoseconds of so many operations. */
        long run(int operations) throws Exception;
    }

    private static Buffer request(BufferPool pool) {
        Buffer buffer;
        while ((buffer = pool.requestBuffer()) == null) {
            Thread.onSpinWait();
        }
        return buffer;
    }

    private static long one(BufferPool pool, int operations) {
        long start = System.nanoTime();
        for (int n = 0; n < operations; n++) {
            request(pool).recycleBuffer();
        }
        return System.nanoTime() - start;
    }

    private static long many(BufferPool pool, int operations) {
        Buffer[] held = new Buffer[BATCH];
        long start = System.nanoTime();
        for (int n = 0; n < operations / BATCH; n++) {
            for (int i = 0; i < BATCH; i++) {
                held[i] = request(pool);
            }
            for (int i = 0; i < BATCH; i++) {
                held[i].recycleBuffer();
            }
        }
        return System.nanoTime() - start;
    }

    interface Part {
        void run() throws Exception;
    }

    private static long pair(Part here, Part there) throws Exception {
        CyclicBarrier ready = new CyclicBarrier(2);
        Thread other = new Thread(() -> {
            try {
                ready.await();
                there.run();
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        other.start();
        ready.await();
        long start = System.nanoTime();
        here.run();
        other.join();
        return System.nanoTime() - start;
    }

    private static long handOff(BufferPool pool, int operations) throws Exception {
        Buffer[] ring = new Buffer[SEGMENTS];
        AtomicLong head = new AtomicLong();
        AtomicLong tail = new AtomicLong();
        return pair(() -> {
            for (long n = 0; n < operations; n++) {
                Buffer buffer = request(pool);
                while (n - head.get() == SEGMENTS) {
                    Thread.onSpinWait();
                }
                ring[(int) n % SEGMENTS] = buffer;
                tail.lazySet(n + 1);
            }
        }, () -> {
            for (long n = 0; n < operations; n++) {
                while (tail.get() == n) {
                    Thread.onSpinWait();
                }
                Buffer buffer = ring[(int) n % SEGMENTS];
                head.lazySet(n + 1);
                buffer.recycleBuffer();
            }
        });
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 2) {
            System.err.println("usage: FlinkPool TABLE OPERATIONS");
            System.exit(1);
        }
        NetworkBufferPool network = new NetworkBufferPool(2 * SEGMENTS, 32 << 10);
        BufferPool here = network.createBufferPool(SEGMENTS, SEGMENTS);
        BufferPool there = network.createBufferPool(SEGMENTS, SEGMENTS);
        Table table = null;
        switch (arguments[0]) {
            case "one":
                table = operations -> one(here, operations);
                break;
            case "many":
                table = operations -> many(here, operations);
                break;
            case "two":
                table = operations -> pair(() -> one(here, operations), () -> one(there, operations));
                break;
            case "hand-off":
                table = operations -> handOff(here, operations);
                break;
            default:
                System.exit(2);
        }
        for (int round = 0; round < 3; round++) {
            table.run(WARM); // compiled, and compiled again for what was learned
        }
        System.out.println(table.run(Integer.parseInt(arguments[1])));
        System.exit(0);
    }
}
