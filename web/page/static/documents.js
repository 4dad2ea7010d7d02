// Documents: what was loaded, or begun, and what became of the lines of each file.

import { ask } from "./api.js";
import { h } from "./dom.js";
import { choice, filters } from "./fields.js";
import { count, head, moment, momentOf, number, prose } from "./words.js";

const LIMIT = 100;
const EVERY_MS = 5000;
/** Kafka is read for each answer. */
const PATIENCE_MS = 12_000;
const SUM = [
  ["facts", "fact", "facts"],
  ["levels", "count", "counts"],
  ["revocations", "taken back", "taken back"],
  ["not_for_stock", "not for stock", "not for stock"],
  ["refused", "refused", "refused"],
];

export function documents(shell) {
  let query = new URLSearchParams();
  let found = null;

  async function step(signal) {
    const wish = { limit: LIMIT, state: query.get("state") };
    const { body } = await ask("v1/loads", wish, { signal, patienceMs: PATIENCE_MS });
    if (found?.items.length !== body.items.length) shell.announce(`${count(body.items.length, "document")}.`);
    found = body;
    return EVERY_MS;
  }

  function draw() {
    return [head(shell, "Documents", found && summary()), form(), found ? list() : null];
  }

  function summary() {
    return [
      h(
        "p",
        { class: "freshness calm" },
        "Files that were loaded, newest first, each once for ever · as of ",
        momentOf(found.as_of),
      ),
      h(
        "p",
        { class: "dim" },
        "Of a file that was refused as a whole nothing was sent, and nothing is remembered: whoever loaded it was told why.",
      ),
    ];
  }

  function form() {
    const states = choice(query, "state", "Show", ["loaded", "unfinished"], undefined, "all");
    return filters(shell, "documents", ["state"], [states]);
  }

  function list() {
    if (found.items.length === 0) {
      const none = query.get("state")
        ? "No document is such a one."
        : "No document was loaded yet: `onhand load FILE`, or `POST /v1/documents`.";
      return h("p", { class: "none", key: "none" }, prose(none));
    }
    return [
      h("ul", { class: "letters", key: "documents" }, found.items.map(line)),
      found.since
        ? h("p", { class: "dim", key: "since" }, `Older than ${moment(found.since)} are not here.`)
        : null,
    ];
  }

  return {
    title: () => "Documents",
    open(_, asked) {
      query = asked;
    },
    step,
    draw,
    hasData: () => found !== null,
  };
}

function line(one) {
  const isWhole = one.state === "loaded";
  return h(
    "li",
    { key: one.document },
    h(
      "p",
      {},
      isWhole ? null : [h("span", { class: "tag warn" }, "◐ unfinished"), " "],
      h("b", { class: "id" }, one.document),
      one.document.endsWith(one.file) ? null : ` from ${one.file}`,
    ),
    one.sums ? equation(one.sums) : null,
    h(
      "p",
      { class: "dim" },
      isWhole ? "✓ loaded " : "broken off ",
      momentOf(one.at),
      one.sent === null ? null : ` · ${count(one.sent, "fact")} in the log`,
      isWhole ? null : ` · ${count(one.lines, "line")} done: load the same file again, and it goes on`,
      one.taken_back_by ? h("span", { class: "warn" }, " · ↩ taken back by ", one.taken_back_by) : null,
    ),
  );
}

/** The sum of a file's lines: none is lost, and none is counted twice. */
function equation(sums) {
  return h(
    "ul",
    { class: "equation small", "aria-label": "What its lines became" },
    h("li", {}, h("b", {}, number(sums.lines)), sums.lines === 1 ? " line" : " lines"),
    SUM.map(([name, word, words], i) =>
      h(
        "li",
        { class: sums[name] === 0 ? "dim" : name === "refused" ? "bad" : null },
        h("i", {}, i === 0 ? "=" : "+"),
        h("b", {}, number(sums[name])),
        ` ${sums[name] === 1 ? word : words}`,
      ),
    ),
  );
}
