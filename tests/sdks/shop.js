// node shop.js BOOTSTRAP TOPIC SKU: sells in each mode of the SDK, then reads the topic with it.
const { CloudEvent, Kafka: Binding } = require("cloudevents");
const { Kafka, Partitioners, logLevel } = require("kafkajs");

const [bootstrap, topic, sku] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });

function sale(id, data) {
  return new CloudEvent({
    id, source: "till-17", type: "inventory.sale.completed.v1",
    datacontenttype: "application/json", data, partitionkey: sku,
  });
}

// The SDK hands on an object as the value, and headers that are undefined; KafkaJS takes neither.
const sendable = ({ key, value, headers }) => ({
  key,
  value: typeof value === "string" || Buffer.isBuffer(value) ? value : JSON.stringify(value),
  headers: Object.fromEntries(Object.entries(headers).filter(([, text]) => text !== undefined)),
});

async function main() {
  const data = { sku, location: "store-007", quantity: 2 };
  const modes = {
    binary: (id) => Binding.binary(sale(id, data)),
    structured: (id) => Binding.structured(sale(id, data)),
    buffer: (id) => Binding.structured(sale(id, Buffer.from(JSON.stringify(data)))),
  };
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const messages = Object.entries(modes).flatMap(([mode, of]) => [of(`js-${mode}`), of("shared")]);
  await producer.send({ topic, messages: messages.map(sendable) });
  await producer.disconnect();

  const admin = kafka.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(topic);
  await admin.disconnect();
  let left = ends.reduce((sum, { high }) => sum + Number(high), 0);
  const consumer = kafka.consumer({ groupId: `sdk-${process.pid}`, sessionTimeout: 6000 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await new Promise((done, failed) => {
    const eachMessage = async ({ message }) => {
      try {
        // KafkaJS reads Buffers; the SDK wants texts.
        const headers = Object.fromEntries(
          Object.entries(message.headers).map(([name, text]) => [name, String(text)]));
        const value = String(message.value);
        const { id, source, type } = Binding.toEvent({ ...message, headers, value });
        console.log(JSON.stringify({ id, source, type }));
      } catch (error) {
        failed(error);
      }
      if (--left === 0) done();
    };
    consumer.run({ eachMessage }).catch(failed);
  });
  await consumer.disconnect();
}

main().catch((error) => { console.error(error); process.exit(1); });
