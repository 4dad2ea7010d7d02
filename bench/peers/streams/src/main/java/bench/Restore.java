package bench;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.streams.processor.StateRestoreListener;

/**
 * Times restoring alone: the moments in which at least one partition was being restored. Pauses
 * between partitions, in which stores are opened, do not count; the bench's own clock has them.
 */
final class Restore implements StateRestoreListener {
    private int restoring;
    private long sinceNs;
    private long spentNs;
    private long records;

    @Override
    public synchronized void onRestoreStart(TopicPartition partition, String store, long from, long to) {
        if (restoring++ == 0) {
            sinceNs = System.nanoTime();
        }
    }

    @Override
    public void onBatchRestored(TopicPartition partition, String store, long to, long count) {}

    @Override
    public synchronized void onRestoreEnd(TopicPartition partition, String store, long total) {
        records += total;
        if (--restoring == 0) {
            spentNs += System.nanoTime() - sinceNs;
        }
    }

    synchronized double seconds() {
        return spentNs / 1e9;
    }

    synchronized long records() {
        return records;
    }
}
