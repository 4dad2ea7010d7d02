#!/usr/bin/env bash
# cloudevents 10.0.0, the official SDK for JavaScript, and KafkaJS 2.2.4, the client that its examples
# use, do not fit together as they are, and the SDK does not read an event without
# `time`, an attribute that CloudEvents calls optional.
#
# Expected: what Kafka.binary() gives can be handed to KafkaJS, what KafkaJS reads can be handed to
#   Kafka.toEvent(), and a valid structured event without `time` is read.
# Seen: 1. Attributes that are not set are headers with the value `undefined`, and KafkaJS's encoder
#   throws at the first of them (TypeError). The value is the object itself, not its JSON.
#   2. toEvent() calls startsWith on the content type, which KafkaJS reads as a Buffer: TypeError.
#   3. toEvent() of a structured event without `time` throws RangeError "Invalid time value".
# Exits non-zero if any of that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent cloudevents@10.0.0 kafkajs@2.2.4
cat > seen.js <<'JS'
const assert = require("assert");
const { CloudEvent, Kafka } = require("cloudevents");
const encode = require("kafkajs/src/protocol/recordBatch/record/v0");

const event = new CloudEvent({
  id: "1", source: "till-17", type: "sold", datacontenttype: "application/json", data: { quantity: 2 },
});
const { value, headers } = Kafka.binary(event);
console.log("1. value:", value, "headers:", headers);
assert.deepStrictEqual(value, { quantity: 2 });
assert(Object.values(headers).includes(undefined));
let thrown;
assert.throws(
  () => encode({ key: null, value: JSON.stringify(value), headers }),
  (error) => (thrown = error) instanceof TypeError,
);
console.log("   KafkaJS says of the headers:", thrown.message);

const whole = { specversion: "1.0", id: "1", source: "till-17", type: "sold", data: { quantity: 2 } };
const structured = (fields, text) => ({
  key: "k", value: JSON.stringify(fields), headers: { "content-type": text("application/cloudevents+json") },
});
const timed = { ...whole, time: "2026-11-23T10:00:00Z" };
assert.strictEqual(Kafka.toEvent(structured(timed, String)).id, "1");

assert.throws(() => Kafka.toEvent(structured(timed, Buffer.from)), (error) => (thrown = error) instanceof TypeError);
console.log("2. content type as KafkaJS reads it:", thrown.message);

assert.throws(() => Kafka.toEvent(structured(whole, String)), (error) => (thrown = error) instanceof RangeError);
console.log("3. a structured event without time:", thrown.message);
assert.match(thrown.message, /Invalid time value/);
JS
node --version
node seen.js
echo "As described: cloudevents 10.0.0, kafkajs 2.2.4."
