package bench;

import java.time.Duration;
import java.util.Locale;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.QueryableStoreTypes;

/**
 * run|restore KAFKA PREFIX APPLICATION-ID STATE-DIR EVENTS alo|eos|eos-tx THREADS. Says what happens on
 * standard output; the bench that started it measures and ends it.
 */
public final class Main {
    private static final String BEGUN = "first event";
    private static final int SESSION_TIMEOUT_MS = 6_000;

    private Main() {}

    public static void main(String[] args) throws InterruptedException {
        String mode = args[0];
        var progress = new Stock.Progress(Long.parseLong(args[5]));
        var streams = new KafkaStreams(Stock.topology(args[2], progress), settings(args));
        var restore = new Restore();
        var running = new CountDownLatch(1);
        streams.setGlobalStateRestoreListener(restore);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                running.countDown();
            }
        });
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(3);
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        long startedNs = System.nanoTime();
        streams.start();
        if (mode.equals("restore")) {
            running.await();
            report(streams, restore, (System.nanoTime() - startedNs) / 1e9);
            streams.close(Duration.ofSeconds(20));
            return;
        }
        while (!progress.begun()) {
            Thread.sleep(1);
        }
        System.out.println(BEGUN);
        Thread.currentThread().join();
    }

    /** Totals over all rows, to be held against the oracle's. */
    private static void report(KafkaStreams streams, Restore restore, double startToRunningS) {
        long rows = 0;
        long events = 0;
        long checksum = 0;
        long onHand = 0;
        var store = streams.store(
            StoreQueryParameters.fromNameAndType(Stock.STORE, QueryableStoreTypes.<String, Row>keyValueStore()));
        try (var all = store.all()) {
            while (all.hasNext()) {
                Row row = all.next().value;
                rows++;
                events += row.events;
                checksum += row.checksum;
                onHand += row.onHand();
            }
        }
        System.out.printf(
            Locale.ROOT,
            "{\"records\":%d,\"restore_s\":%.3f,\"start_to_running_s\":%.3f,"
                + "\"rows\":%d,\"events\":%d,\"checksum\":\"%016x\",\"on_hand\":%d}%n",
            restore.records(), restore.seconds(), startToRunningS, rows, events, checksum, onHand);
    }

    /** Tuned for throughput: big batches and polls, a write cache that holds every row, one commit a second. */
    static Properties settings(String[] args) {
        var p = new Properties();
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[1]);
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        p.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        p.put(
            StreamsConfig.PROCESSING_GUARANTEE_CONFIG,
            args[6].equals("alo") ? StreamsConfig.AT_LEAST_ONCE : StreamsConfig.EXACTLY_ONCE_V2);
        // Stores that keep what is not committed apart, so that a killed process need not restore (KIP-892).
        p.put("enable.transactional.statestores", args[6].equals("eos-tx"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Integer.parseInt(args[7]));
        p.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1_000);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 128L << 20);
        p.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 10_000);
        p.put(StreamsConfig.MAX_TASK_IDLE_MS_CONFIG, 0L);
        consumer(p, ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        consumer(p, ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 10_000);
        consumer(p, ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 4 << 20);
        consumer(p, ConsumerConfig.RECEIVE_BUFFER_CONFIG, 1 << 20);
        consumer(p, ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, SESSION_TIMEOUT_MS);
        consumer(p, ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, SESSION_TIMEOUT_MS / 3);
        p.put(StreamsConfig.restoreConsumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 20_000);
        producer(p, ProducerConfig.LINGER_MS_CONFIG, 50);
        producer(p, ProducerConfig.BATCH_SIZE_CONFIG, 512 << 10);
        producer(p, ProducerConfig.BUFFER_MEMORY_CONFIG, 64L << 20);
        producer(p, ProducerConfig.COMPRESSION_TYPE_CONFIG, "lz4");
        return p;
    }

    private static void consumer(Properties p, String name, Object value) {
        p.put(StreamsConfig.consumerPrefix(name), value);
    }

    private static void producer(Properties p, String name, Object value) {
        p.put(StreamsConfig.producerPrefix(name), value);
    }
}
