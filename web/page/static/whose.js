// Who answers for a SKU: its partition follows from its name, for producers, workers and this page.

import { h } from "./dom.js";

const M = 0x5bd1e995;

/** The partition of a SKU, 0 to `count` - 1: murmur2 of its UTF-8, as core/partitioning.py. */
export const partitionOf = (sku, count) => (murmur2(new TextEncoder().encode(sku)) & 0x7fffffff) % count;

function murmur2(data) {
  const words = new DataView(data.buffer);
  const whole = data.length & ~3;
  let hash = 0x9747b28c ^ data.length;
  for (let i = 0; i < whole; i += 4) {
    const k = Math.imul(words.getUint32(i, true), M);
    hash = Math.imul(hash, M) ^ Math.imul(k ^ (k >>> 24), M);
  }
  if (whole < data.length) {
    const rest = data.slice(whole).reduceRight((all, byte) => (all << 8) | byte, 0);
    hash = Math.imul(hash ^ rest, M);
  }
  hash = Math.imul(hash ^ (hash >>> 13), M);
  return hash ^ (hash >>> 15);
}

/** One sentence. `held`: the partition of that SKU, as /v1/cluster tells of it. */
export function whose(sku, { partition, active, standbys }) {
  const copies = standbys.map((one, i) => [i ? ", " : "", h("span", { class: "id" }, one.worker)]);
  return h(
    "p",
    { class: active ? null : "warn", key: "whose", role: "status" },
    h("b", { class: "id wrap" }, sku),
    ` is in partition ${partition}: `,
    active ? [h("span", { class: "id" }, active.worker), " answers for it"] : "nobody owns it now",
    copies.length ? [copies.length > 1 ? "; copies at " : "; a copy at ", copies] : "; nobody has a copy",
    ".",
  );
}
