// The fold of facts to a row, once more and apart from the workers': what a timeline tells is
// added up here, and must give the row that the ledger tells for the same position.
// Numbers are exact up to 2^53.

const FIELDS = {
  "inventory.shipment.received.v1": "received",
  "inventory.shipment.dispatched.v1": "dispatched",
  "inventory.sale.completed.v1": "sold",
  "inventory.sale.returned.v1": "returned",
  "inventory.sale.voided.v1": "sold",
  "inventory.stock.adjusted.v1": "adjusted",
};
/** What each field does to what is on hand; goods that came back damaged are not on hand. */
export const SIGNS = { received: 1, dispatched: -1, sold: -1, returned: 1, adjusted: 1, damaged: 0 };

const TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let bit = 0; bit < 8; bit += 1) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});
const UTF8 = new TextEncoder();

/** CRC-32 of a text in UTF-8, as zlib counts it. */
export function crc32(text) {
  let c = 0xffffffff;
  for (const byte of UTF8.encode(text)) c = TABLE[(c ^ byte) & 0xff] ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** A row of which no fact is known. */
export const NOTHING = Object.freeze({
  received: 0,
  dispatched: 0,
  sold: 0,
  returned: 0,
  adjusted: 0,
  damaged: 0,
  events: 0,
  checksum: 0n,
  updated_at: "",
});

/**
 * Which number of a row an applied fact changes, and by how much.
 *
 * A damaged return comes back to stock by rules 2 and not by rules 3, and a timeline does not say
 * by which it was counted; that it changed nothing on hand does.
 */
export function effect(fact) {
  const field = FIELDS[fact.type];
  if (field === undefined) throw new Error(`This page does not know the type ${fact.type}.`);
  if (fact.type === "inventory.sale.voided.v1") return { field, amount: -fact.quantity };
  const isDamaged = field === "returned" && fact.reason === "damaged" && fact.change === 0;
  return { field: isDamaged ? "damaged" : field, amount: fact.quantity };
}

/** The row after one more fact; the same one, if it was repeated or refused. */
export function apply(row, fact) {
  if (fact.outcome !== "applied") return row;
  const { field, amount } = effect(fact);
  return {
    ...row,
    [field]: row[field] + amount,
    events: row.events + 1,
    checksum: (row.checksum + BigInt(crc32(`${fact.source}\0${fact.id}`))) & 0xffffffffffffffffn,
    updated_at: later(row.updated_at, fact.recorded_at),
  };
}

const later = (a, b) => (a === "" || Date.parse(b) > Date.parse(a) ? b : a);

/** What is on hand. */
export const onHand = (row) =>
  Object.entries(SIGNS).reduce((sum, [field, sign]) => sum + sign * (row[field] ?? 0), 0);

/** A checksum as rows show it. */
export const hex = (checksum) => checksum.toString(16).padStart(16, "0");

/** Names of the numbers in which a folded row is not as `told`; none: they are the same. */
export function differences(row, told) {
  const mine = { ...row, on_hand: onHand(row), checksum: hex(row.checksum) };
  const names = ["on_hand", ...Object.keys(SIGNS), "events", "checksum"];
  const wrong = names.filter((name) => mine[name] !== (told[name] ?? 0));
  if (Date.parse(mine.updated_at) !== Date.parse(told.updated_at)) wrong.push("updated_at");
  return wrong;
}

/**
 * Whether each of two positions is ahead of the other in some topic. Who stands so may have counted
 * as many facts of a row, and not the same ones.
 */
export function cross(a, b) {
  const [mine, other] = [offsets(a), offsets(b)];
  const ahead = (one, two) => [...one].some(([place, at]) => at > (two.get(place) ?? -1));
  return ahead(mine, other) && ahead(other, mine);
}

/** Of a position, what is of a topic: `control@7` is the epoch of a version. */
function offsets(position) {
  const parts = position.split(",").map((part) => part.split("@"));
  return new Map(parts.filter(([place]) => place && place !== "control").map(([place, at]) => [place, +at]));
}
