// Dead letters: what could not be counted, why, as it came, and how it is healed.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { choice, field, filters } from "./fields.js";
import { count, momentOf, number, prose } from "./words.js";

const LIMIT = 50;
const EVERY_MS = 5000;
/** Kafka is read for each page. */
const PATIENCE_MS = 12_000;
const FILTERS = ["reason", "source", "topic"];

const REPLAYED =
  "Its address was wrong, not what it says: `onhand dlq replay` sends it again under the right key, to the topic of its type, once for ever. `onhand dlq replay --dry-run` says first what would be sent.";
const CORRECTED = "Send a corrected fact with a new id. This record stays in the log as it is.";
const HEALING = {
  misrouted: REPLAYED,
  key_mismatch: REPLAYED,
  missing_key: REPLAYED,
  unknown_type:
    "A version that knows the type counts it by itself (`onhand upgrade`). If no version ever will, send a corrected fact with a new id.",
  id_conflict:
    "Two facts were given one id, and the first was counted. Send this one again with an id of its own.",
  not_json: CORRECTED,
  bad_envelope: CORRECTED,
  bad_data: CORRECTED,
  bad_time: CORRECTED,
  null_value: "A record without a value says nothing. Nothing is lost; find out who sends them.",
  not_mapped:
    "Mend the bridge's map and restart the bridge; `onhand bridge NAME --map FILE --again` then sends what the mended map makes of it, once for ever.",
  too_large: "A record is at most 1 MiB. Send the fact again in less.",
};
export const REASONS = Object.keys(HEALING);

export function letters(shell) {
  let query = new URLSearchParams();
  let found = null;
  let isAsking = true;

  async function step(signal) {
    const wish = { limit: LIMIT, cursor: query.get("cursor") };
    for (const name of FILTERS) wish[name] = query.get(name);
    const { body } = await ask("v1/dead-letters", wish, { signal, patienceMs: PATIENCE_MS });
    if (isAsking) shell.announce(`${count(body.items.length, "dead letter")}.`);
    found = body;
    isAsking = false;
    return EVERY_MS;
  }

  function draw() {
    return [
      h(
        "div",
        { class: "title" },
        h("h1", { tabindex: "-1" }, "Dead letters"),
        found
          ? h(
              "p",
              { class: "freshness calm" },
              "Records that this version could not count, newest first, as they came · as of ",
              momentOf(found.as_of),
            )
          : null,
      ),
      form(),
      found ? [pages(), list()] : null,
      found === null && !shell.problem ? h("p", { class: "dim" }, "Asking the worker …") : null,
    ];
  }

  function form() {
    return filters(shell, "dead-letters", FILTERS, [
      choice(query, "reason", "Reason", REASONS),
      field(query, "source", "Source"),
      field(query, "topic", "Topic"),
    ]);
  }

  function pages() {
    const older = new URLSearchParams(query);
    if (found.next_cursor) older.set("cursor", found.next_cursor);
    const newest = new URLSearchParams(query);
    newest.delete("cursor");
    return h(
      "nav",
      { class: "pages", key: "pages", "aria-label": "Pages" },
      h("span", {}, isAsking ? "Asking the worker …" : count(found.items.length, "letter")),
      query.get("cursor")
        ? h("a", { href: `#/dead-letters${newest.size ? `?${newest}` : ""}` }, "← Newest")
        : null,
      found.next_cursor ? h("a", { href: `#/dead-letters?${older}` }, "Older →") : null,
    );
  }

  function list() {
    if (found.items.length === 0) {
      return h(
        "p",
        { class: "none", key: "none" },
        found.next_cursor
          ? "None of those looked at so far is such a one; there are older ones to look at."
          : FILTERS.some((name) => query.get(name))
            ? "No dead letter is such a one."
            : "No dead letters: everything that came was counted.",
      );
    }
    return h("ul", { class: "letters", key: "letters" }, found.items.map(letter));
  }

  function letter(one) {
    return h(
      "li",
      { key: `${one.position} ${one.refused_ms}` },
      h("p", {}, h("span", { class: "tag" }, one.reason), " ", h("b", {}, one.detail)),
      h(
        "p",
        { class: "dim" },
        h("span", { class: "id" }, one.position),
        " · recorded ",
        momentOf(one.recorded_ms),
        " · refused ",
        momentOf(one.refused_ms),
      ),
      h(
        "details",
        {},
        h("summary", {}, "As it came, and what to do"),
        h(
          "p",
          {},
          prose(HEALING[one.reason] ?? "This page does not know this reason: see `onhand dlq show`."),
        ),
        h(
          "dl",
          {},
          h("dt", {}, "Key"),
          h("dd", {}, content(one, "key")),
          h("dt", {}, "Value"),
          h("dd", {}, content(one, "value")),
          one.headers.length ? [h("dt", {}, "Headers"), h("dd", {}, one.headers.map(header))] : null,
        ),
        h(
          "p",
          { class: "dim" },
          "Whole, on a machine that reaches Kafka: ",
          h("code", {}, `onhand dlq show ${one.position}`),
        ),
      ),
    );
  }

  return {
    title: () => "Dead letters",
    open(_, asked) {
      query = asked;
      isAsking = true;
    },
    step,
    draw,
    hasData: () => found !== null,
  };
}

/** Bytes as text, always as text; what is no UTF-8, or too large, is said. */
function content(one, name) {
  const text = one[name];
  if (typeof text === "string") return h("pre", { tabindex: "0" }, text);
  if (one[`${name}_base64`])
    return [h("small", {}, "no UTF-8; in base64"), h("pre", { tabindex: "0" }, one[`${name}_base64`])];
  if (one.size !== undefined)
    return `too large to be shown: ${number(one.size)} bytes with the other part, SHA-256 ${one.sha256}`;
  return h("span", { class: "dim" }, "none");
}

function header(one) {
  const name = one.name ?? `${one.name_base64} (base64)`;
  const value = one.value ?? (one.value_base64 ? `${one.value_base64} (base64)` : "none");
  return h("div", { class: "id wrap" }, `${name}: ${value}`);
}
