import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.kafka.CloudEventSerializer;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Shop.java BOOTSTRAP TOPIC SKU: sells in each mode of the SDK, then reads the topic with it. */
public class Shop {
    public static void main(String[] args) throws Exception {
        String bootstrap = args[0], topic = args[1], sku = args[2];
        send(bootstrap, topic, sku, "default", Map.of(), "application/json");
        send(bootstrap, topic, sku, "binary", Map.of("cloudevents.serializer.encoding", "BINARY"), "text/JSON; charset=utf-8");
        Map<String, Object> structured = Map.of(
            "cloudevents.serializer.encoding", "STRUCTURED",
            "cloudevents.serializer.event_format", "application/cloudevents+json");
        send(bootstrap, topic, sku, "structured", structured, "application/json");
        send(bootstrap, topic, sku, "vendor", structured, "application/vnd.shop");
        read(bootstrap, topic);
    }

    static void send(
        String bootstrap, String topic, String sku, String mode, Map<String, Object> how, String type
    ) throws Exception {
        Map<String, Object> settings = new HashMap<>(how);
        settings.put("bootstrap.servers", bootstrap);
        settings.put("key.serializer", StringSerializer.class);
        settings.put("value.serializer", CloudEventSerializer.class);
        byte[] data = ("{\"sku\":\"" + sku + "\",\"location\":\"store-007\",\"quantity\":2.0}")
            .getBytes(StandardCharsets.UTF_8);
        try (var producer = new KafkaProducer<String, CloudEvent>(settings)) {
            for (String id : List.of("java-" + mode, "shared")) {
                CloudEvent sale = CloudEventBuilder.v1()
                    .withId(id).withSource(URI.create("till-17"))
                    .withType("inventory.sale.completed.v1").withData(type, data)
                    .withTime(java.time.OffsetDateTime.now()).build();
                producer.send(new ProducerRecord<>(topic, sku, sale)).get();
            }
        }
    }

    static void read(String bootstrap, String topic) {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", bootstrap,
            "key.deserializer", StringDeserializer.class,
            "value.deserializer", CloudEventDeserializer.class);
        try (var consumer = new KafkaConsumer<String, CloudEvent>(settings)) {
            List<TopicPartition> all = consumer.partitionsFor(topic).stream()
                .map(each -> new TopicPartition(topic, each.partition())).collect(Collectors.toList());
            consumer.assign(all);
            consumer.seekToBeginning(all);
            long left = consumer.endOffsets(all).values().stream().mapToLong(Long::longValue).sum();
            while (left > 0) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    CloudEvent event = record.value();
                    System.out.println("{\"id\":\"" + event.getId() + "\",\"source\":\"" + event.getSource()
                        + "\",\"type\":\"" + event.getType() + "\"}");
                    left--;
                }
            }
        }
    }
}
