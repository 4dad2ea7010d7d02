#!/usr/bin/env bash
# @asyncapi/specs 6.11.1, the official JSON Schemas of AsyncAPI, refuse a reference as the key of a Kafka
# message, though the Kafka binding allows one, and the package's own second example has one.
#
# Expected: bindings.kafka.key = {"$ref": "#/components/schemas/Sku"} is valid, as
#   {"type": "string"} is. The binding says: "Schema Object | Reference Object | …".
# Seen: the schema asks by oneOf for exactly one of schema.json and Reference.json. An object whose
#   only word is $ref is both, so oneOf refuses it, in 3.0.0 and in 3.1.0. Payload and headers,
#   which are asked for otherwise, take the same reference. {"allOf": [{"$ref": …}]} passes.
# Exits non-zero if any of that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >/dev/null
npm install --no-audit --no-fund --silent @asyncapi/specs@6.11.1 ajv@8.17.1
cat > seen.js <<'JS'
const assert = require("assert");
const Ajv = require("ajv");
const reference = { $ref: "#/components/schemas/Sku" };

function document(version, key) {
  const message = { payload: reference, headers: reference, bindings: { kafka: { key, bindingVersion: "0.5.0" } } };
  return {
    asyncapi: version,
    info: { title: "shop", version: "1" },
    channels: { sales: { messages: { sold: message } } },
    components: { schemas: { Sku: { type: "string" } } },
  };
}

for (const version of ["3.0.0", "3.1.0"]) {
  const schema = require(`@asyncapi/specs/schemas/${version}.json`);
  const ajv = new Ajv({ strict: false, meta: false, validateSchema: false, validateFormats: false });
  const isValid = ajv.compile(schema);
  const said = (key) => (isValid(document(version, key)) ? "valid" : "refused");
  const keys = { inline: { type: "string" }, reference, wrapped: { allOf: [reference] } };
  const found = Object.fromEntries(Object.entries(keys).map(([name, key]) => [name, said(key)]));
  console.log(version, found);
  assert.deepStrictEqual(found, { inline: "valid", reference: "refused", wrapped: "valid" });

  const id = "http://asyncapi.com/bindings/kafka/0.5.0/message.json";
  const { examples } = schema.definitions[id];
  const binding = ajv.getSchema(id);
  const own = examples.map((example) => binding(example));
  console.log(version, "the binding's own examples are valid:", own);
  assert.deepStrictEqual(own, [true, false]);
}
JS
node --version
node seen.js
echo "As described: @asyncapi/specs 6.11.1."
