package bench;

import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.processor.StateRestoreListener;

/** Times restoring alone: from the first partition's start to the last one's end. */
final class Restore implements StateRestoreListener {
    private final AtomicLong firstNs = new AtomicLong();
    private final AtomicLong lastNs = new AtomicLong();
    private final AtomicLong records = new AtomicLong();

    @Override
    public void onRestoreStart(TopicPartition partition, String store, long from, long to) {
        firstNs.compareAndSet(0, System.nanoTime());
    }

    @Override
    public void onBatchRestored(TopicPartition partition, String store, long to, long count) {}

    @Override
    public void onRestoreEnd(TopicPartition partition, String store, long total) {
        records.addAndGet(total);
        lastNs.set(System.nanoTime());
    }

    double seconds() {
        return (lastNs.get() - firstNs.get()) / 1e9;
    }

    long records() {
        return records.get();
    }
}
