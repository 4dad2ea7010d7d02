package bench;

import java.time.Duration;
import java.util.List;
import java.util.regex.Pattern;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * KAFKA LINES COUNTS APPLICATION-ID STATE-DIR THREADS: the article's program, exactly once, until it
 * is ended. Says on standard output when it runs.
 */
public final class WordCount {
    private WordCount() {}

    static Topology topology(String lines, String counts) {
        var separator = Pattern.compile("\\W+", Pattern.UNICODE_CHARACTER_CLASS);
        var builder = new StreamsBuilder();
        KStream<String, String> textLines =
            builder.stream(lines, Consumed.with(Serdes.String(), Serdes.String()));
        KTable<String, Long> wordCounts = textLines
            .flatMapValues(line -> List.of(separator.split(line.toLowerCase())))
            .groupBy((key, word) -> word, Grouped.with("words", Serdes.String(), Serdes.String()))
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts"));
        wordCounts.toStream().to(counts, Produced.with(Serdes.String(), Serdes.Long()));
        return builder.build();
    }

    public static void main(String[] args) throws InterruptedException {
        String[] known = {"run", args[0], "", args[3], args[4], "0", "eos", args[5]};
        var streams = new KafkaStreams(topology(args[1], args[2]), Main.settings(known));
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running");
            }
        });
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            Runtime.getRuntime().halt(3);
            return StreamThreadExceptionResponse.SHUTDOWN_APPLICATION;
        });
        streams.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(10))));
        Thread.currentThread().join();
    }
}
