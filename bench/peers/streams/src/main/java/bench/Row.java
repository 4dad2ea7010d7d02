package bench;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * The same row that Onhand keeps. Stored as eight big-endian longs, the
 * cheapest serde that Kafka Streams can have for it.
 */
final class Row {
    static final int BYTES = 8 * Long.BYTES;

    long received;
    long dispatched;
    long sold;
    long returned;
    long adjusted;
    long events;
    long checksum;
    long updatedAtMs;

    void apply(Event event, long recordedAtMs, CRC32 crc) {
        long quantity = event.data.quantity;
        switch (event.type) {
            case "inventory.shipment.received.v1" -> received += quantity;
            case "inventory.shipment.dispatched.v1" -> dispatched += quantity;
            case "inventory.sale.completed.v1" -> sold += quantity;
            case "inventory.sale.returned.v1" -> returned += quantity;
            case "inventory.stock.adjusted.v1" -> adjusted += quantity;
            default -> throw new IllegalStateException("unknown type " + event.type);
        }
        events++;
        crc.reset();
        crc.update(event.source.getBytes(StandardCharsets.UTF_8));
        crc.update(0);
        crc.update(event.id.getBytes(StandardCharsets.UTF_8));
        checksum += crc.getValue();
        updatedAtMs = Math.max(updatedAtMs, recordedAtMs);
    }

    long onHand() {
        return received - dispatched - sold + returned + adjusted;
    }

    static Serde<Row> serde() {
        return Serdes.serdeFrom(
            (topic, row) -> row == null ? null : row.encode(), (topic, bytes) -> bytes == null ? null : decode(bytes));
    }

    private byte[] encode() {
        return ByteBuffer.allocate(BYTES)
            .putLong(received).putLong(dispatched).putLong(sold).putLong(returned).putLong(adjusted)
            .putLong(events).putLong(checksum).putLong(updatedAtMs)
            .array();
    }

    private static Row decode(byte[] bytes) {
        ByteBuffer in = ByteBuffer.wrap(bytes);
        Row row = new Row();
        row.received = in.getLong();
        row.dispatched = in.getLong();
        row.sold = in.getLong();
        row.returned = in.getLong();
        row.adjusted = in.getLong();
        row.events = in.getLong();
        row.checksum = in.getLong();
        row.updatedAtMs = in.getLong();
        return row;
    }
}
