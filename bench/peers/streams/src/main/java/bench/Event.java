package bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.module.blackbird.BlackbirdModule;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** A CloudEvent about stock; only the fields that the fold needs are decoded. */
@JsonIgnoreProperties(ignoreUnknown = true)
public final class Event {
    public String source;
    public String id;
    public String type;
    public Movement data;

    /** What moved. */
    @JsonIgnoreProperties(ignoreUnknown = true)
    public static final class Movement {
        public String sku;
        public String location;
        public long quantity;
    }

    /** Reads JSON with generated accessors (Blackbird); never writes. */
    static Serde<Event> serde() {
        ObjectReader reader = new ObjectMapper().registerModule(new BlackbirdModule()).readerFor(Event.class);
        return Serdes.serdeFrom(
            (topic, event) -> {
                throw new UnsupportedOperationException("events are only read");
            },
            (topic, bytes) -> {
                try {
                    return bytes == null ? null : reader.readValue(bytes);
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
    }
}
