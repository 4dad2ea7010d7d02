// The audit: what another count of the whole log came to, partition by partition, copy by copy.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { count, head, momentOf, number, outside, prose, span } from "./words.js";

const EVERY_MS = 5000;
/** Of one copy, so many rows are named; `onhand audit` names them all. */
const MAX_ROWS = 5;

export function audit(shell) {
  let found = null;

  async function step(signal) {
    const { body } = await ask("v1/audit", {}, { signal });
    if (found === null || found.drift !== body.drift) shell.announce(`Drift ${number(body.drift)}.`);
    found = body;
    return EVERY_MS;
  }

  function draw() {
    return [
      head(shell, "Audit", found && verdict(found), "Asking for the last word …"),
      found?.failed
        ? h(
            "section",
            { class: "problem", key: "failed" },
            h("h2", {}, "The last look failed"),
            h("p", {}, prose(found.failed)),
          )
        : null,
      found ? table(found.partitions) : null,
    ];
  }

  return { title: () => "Audit", step, draw, hasData: () => found !== null };
}

function verdict({ drift, partitions }) {
  const copies = partitions.flatMap((one) => one.copies);
  const unread = copies.filter((one) => one.unread !== null).length;
  const records = partitions.reduce((n, one) => n + one.records, 0);
  const [mood, glyph, word] =
    drift > 0
      ? ["bad", "✕", `${count(drift, "thing differs", "things differ")} from the log`]
      : unread > 0 || copies.length === 0
        ? ["warn", "◐", "no drift in what was compared"]
        : ["calm", "✓", "no drift: every row of every copy is what the log says"];
  return h(
    "p",
    { class: `freshness ${mood}` },
    h("span", { "aria-hidden": "true" }, glyph),
    ` ${word} · ${count(records, "record")} counted again by other code · ${count(partitions.length, "partition")}, ${count(copies.length, "copy", "copies")}`,
    unread ? `, ${number(unread)} of them not compared` : null,
  );
}

function table(partitions) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Partitions", key: "partitions" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["#", "Drift"].map((name) => h("th", { scope: "col", class: "n" }, name)),
          h("th", { scope: "col", class: "n wide" }, "Records"),
          ["Looked at", "Copies"].map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h("tbody", {}, partitions.map(line)),
    ),
  );
}

function line({ partition, drift, records, seconds, at, copies }) {
  const took = seconds < 1 ? "under 1 s" : span(seconds * 1000);
  return h(
    "tr",
    { key: String(partition), class: drift ? "lost" : null },
    h("th", { scope: "row", class: "n" }, partition),
    h("td", { class: drift ? "n bad" : "n dim" }, drift ? `✕ ${number(drift)}` : "0"),
    h("td", { class: "n wide" }, number(records)),
    h("td", {}, momentOf(at), h("span", { class: "dim wide" }, ` in ${took}`)),
    h("td", {}, copies.map(copy)),
  );
}

function copy(one) {
  const what = one.lines === undefined ? count(one.rows, "row") : count(one.lines, "line");
  const [mood, says] =
    one.unread !== null
      ? ["warn", `◐ not compared: ${one.unread}`]
      : one.agrees
        ? ["dim", `✓ ${what}, as the log says`]
        : ["bad", `✕ ${what}, not as the log says`];
  return h(
    "div",
    {},
    `${one.role === "active" ? "owner" : one.role} `,
    h("span", { class: mood }, says),
    " ",
    one.role === "ledger" ? null : h("span", { class: "id wrap" }, outside(one.where)),
    Object.entries(one.counts).map(([topic, { found, right }]) =>
      h("p", { class: "bad" }, `of ${topic}: counted ${told(found)}, should be ${told(right)}`),
    ),
    one.differences.slice(0, MAX_ROWS).map(difference),
    rest(one),
    one.faults?.length
      ? h("p", { class: "bad" }, `${count(one.faults.length, "line")} not as recorded: see onhand audit`)
      : null,
  );
}

function rest({ differences, more }) {
  const left = Math.max(0, differences.length - MAX_ROWS) + more;
  return left ? h("p", { class: "bad" }, `and ${count(left, "row")} more: see onhand audit`) : null;
}

const told = (counts) => counts.map(number).join(", ");

function difference({ sku, location, found, right }) {
  const gaps =
    right === null
      ? "it is there, and no fact names it"
      : found === null
        ? "it is not there, or cannot be read"
        : Object.keys(right)
            .filter((name) => name !== "updated_at" && found[name] !== right[name])
            .map((name) => `${name} ${found[name]}, should be ${right[name]}`)
            .join("; ");
  return h(
    "p",
    { class: "wrap" },
    h("a", { href: `#/row/${encodeURIComponent(sku)}/${encodeURIComponent(location)}` }, `${sku} at ${location}`),
    h("span", { class: "bad" }, `: ${gaps}`),
  );
}
