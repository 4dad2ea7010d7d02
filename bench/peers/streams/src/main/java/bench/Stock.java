package bench;

import java.util.List;
import java.util.Map;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** Folds the three sources into one store: RocksDB, changelog, write cache. */
final class Stock implements Processor<String, Event, Void, Void> {
    static final String STORE = "stock";

    /** Counts over all tasks; at the last event every task is asked to commit at once. */
    static final class Progress {
        private final long wanted;
        private final AtomicLong seen = new AtomicLong();
        private final List<ProcessorContext<Void, Void>> tasks = new CopyOnWriteArrayList<>();

        Progress(long wanted) {
            this.wanted = wanted;
        }

        /** So that the figure holds no wait for the rest of a commit interval. */
        void count() {
            if (seen.incrementAndGet() == wanted) {
                tasks.forEach(ProcessorContext::commit);
            }
        }

        boolean begun() {
            return seen.get() > 0;
        }
    }

    private final Progress progress;
    private final CRC32 crc = new CRC32();
    private ProcessorContext<Void, Void> context;
    private KeyValueStore<String, Row> rows;

    private Stock(Progress progress) {
        this.progress = progress;
    }

    static Topology topology(String prefix, Progress progress) {
        var builder = new StreamsBuilder();
        builder.addStateStore(
            Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(STORE), Serdes.String(), Row.serde())
                .withCachingEnabled()
                .withLoggingEnabled(Map.of()));
        var events = Consumed.with(Serdes.String(), Event.serde());
        KStream<String, Event> shipments = builder.stream(prefix + "shipments", events);
        shipments
            .merge(builder.stream(prefix + "sales", events))
            .merge(builder.stream(prefix + "adjustments", events))
            .process(() -> new Stock(progress), STORE);
        return builder.build();
    }

    @Override
    public void init(ProcessorContext<Void, Void> context) {
        this.context = context;
        progress.tasks.add(context);
        rows = context.getStateStore(STORE);
    }

    @Override
    public void process(Record<String, Event> record) {
        Event event = record.value();
        String key = event.data.sku + '\0' + event.data.location;
        Row row = rows.get(key);
        if (row == null) {
            row = new Row();
        }
        row.apply(event, record.timestamp(), crc);
        rows.put(key, row);
        progress.count();
    }

    @Override
    public void close() {
        progress.tasks.remove(context);
    }
}
