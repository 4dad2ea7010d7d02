// The feed: facts as they come, with what became of each; or rows as they change, which needs no
// ledger. Asked for page by page behind a position, so that a pause, a hidden tab or a worker that
// was gone leaves nothing out.

import { Refused, ask } from "./api.js";
import { hashOf } from "./board.js";
import { h } from "./dom.js";
import { choice, field, filters, keyOfSkus } from "./fields.js";
import { factsTable } from "./facts.js";
import { TYPES, count, head, moment, momentOf, number, said, signed } from "./words.js";

const LIMIT = 500;
/** So long the worker keeps a question where nothing is to be told yet. */
const WAIT_MS = 1500;
const PATIENCE_MS = 5000;
/** After facts that came: nobody reads faster, and more of them come at once. */
const BETWEEN_MS = 500;
/** Lines that are shown; older ones go. */
const KEPT = 200;
/** So many pages that were not the last one, and it goes on from now. */
const MAX_PAGES = 20;
const PAUSED_MS = 3_600_000;
/** Filters by their names in the address, and as the call names them. */
const FILTERS = { of: "of", sku: "sku_prefix", location: "location", type: "type" };
const ROWS = "rows";
const GAPS = {
  faster: "Facts came faster than this page reads: some are left out here. It went on from that moment.",
  missed: "Rows changed that are not told here: some have another owner, or another version is active. It went on from that moment.",
  lost: "From its last position there is no going on: the log, or the ledger, is another one. It went on from that moment.",
};

export function feed(shell) {
  let query = new URLSearchParams();
  let position = null; // behind which it goes on; null: behind all that there is
  let since = null; // Date.now() of the first answer
  let lines = []; // newest first: facts, and gaps
  let fresh = new Set(); // of those that came last
  let missing = []; // partitions that nobody tells of now
  let counts = nothingYet();
  let gap = null; // why some are left out before the next page
  let pages = 0; // one after the other that were not the last one
  let isPaused = false;

  async function step(signal) {
    if (isPaused) return PAUSED_MS;
    const wish = { after: position ?? "end", limit: LIMIT, wait_ms: WAIT_MS };
    for (const [name, parameter] of Object.entries(FILTERS)) wish[parameter] = query.get(name);
    let answer;
    try {
      answer = await ask("v1/changes", wish, { signal, patienceMs: PATIENCE_MS });
    } catch (problem) {
      const isLost = problem instanceof Refused && [400, 404].includes(problem.status);
      if (!isLost || position === null) throw problem;
      goOnFromNow("lost");
      return 0;
    }
    // What was on its way when somebody paused is told again afterwards.
    if (isPaused) return PAUSED_MS;
    return take(answer.body);
  }

  function take(page) {
    if (since === null) {
      since = Date.now();
      shell.announce("The feed is followed.");
    }
    if (gap !== null) lines.unshift({ gap, key: `gap ${(counts.gaps += 1)}` });
    gap = null;
    fresh = new Set();
    for (const { event, data } of page.changes) {
      if (event === "fact") takeFact(data);
      if (event === "row") takeRow(data);
      if (event === "reset") lines.unshift({ gap: "missed", key: `gap ${(counts.gaps += 1)}` });
    }
    lines = lines.slice(0, KEPT);
    position = page.after;
    missing = page.missing_partitions ?? [];
    const isLast = page.at_end || missing.length > 0;
    pages = isLast ? 0 : pages + 1;
    if (pages >= MAX_PAGES) goOnFromNow("faster");
    return isLast ? BETWEEN_MS : 0;
  }

  function takeFact(fact) {
    lines.unshift({ ...fact, key: fact.position });
    fresh.add(fact.position);
    counts[fact.outcome] += 1;
  }

  function takeRow(row) {
    const before = lines.find((one) => one.sku === row.sku && one.location === row.location);
    const line = { ...row, change: before && row.on_hand - before.on_hand, key: (counts.changes += 1) };
    lines.unshift(line);
    fresh.add(line.key);
  }

  function goOnFromNow(why) {
    gap = why;
    position = null;
    pages = 0;
  }

  function pause() {
    isPaused = !isPaused;
    shell.announce(isPaused ? "Paused." : "It goes on.");
    shell.redraw();
    if (!isPaused) shell.wake();
  }

  function draw() {
    return [
      head(shell, "Feed", since && summary(), "Asking where the feed is now …"),
      form(),
      since === null ? null : list(),
    ];
  }

  const isOfRows = () => query.get("of") === ROWS;

  function summary() {
    const doing = isOfRows() ? " Rows as they change" : " Facts as they come";
    const last = isOfRows() ? "change" : "fact";
    return h(
      "p",
      { class: `freshness ${isPaused || missing.length ? "warn" : "calm"}` },
      h("span", { "aria-hidden": "true" }, isPaused ? "◐" : "●"),
      isPaused ? ` Paused: nothing is missed, it goes on behind the last ${last}` : doing,
      ...(isOfRows() ? ofRows() : ofFacts()),
    );
  }

  function ofFacts() {
    const { applied, repeated, refused } = counts;
    const told = `${number(applied)} applied, ${number(repeated)} repeated, ${number(refused)} refused`;
    return [
      ` · ${told} since ${moment(since)} · what was refused is in the `,
      h("a", { href: "#/dead-letters" }, "dead letters"),
    ];
  }

  function ofRows() {
    const told = ` · ${count(counts.changes, "change")} since ${moment(since)}`;
    return [told, missing.length ? ` · nobody owns ${count(missing.length, "partition")} now` : null];
  }

  function form() {
    const controls = [
      choice(query, "of", "Show", [ROWS], undefined, "facts"),
      field(query, "sku", "SKU begins with"),
      field(query, "location", "Location"),
      isOfRows() ? null : choice(query, "type", "Kind", TYPES, said),
    ];
    return filters(shell, "feed", Object.keys(FILTERS), controls, {
      mend(asked) {
        if (asked.get("of") === ROWS) asked.delete("type"); // a row has none
      },
      behind: h("button", { type: "button", key: "pause", onclick: pause }, isPaused ? "Go on" : "Pause"),
    });
  }

  function list() {
    const last = lines.length < KEPT ? null : h("p", { class: "dim" }, `The last ${count(KEPT, "line")}.`);
    if (lines.length === 0) {
      const isWished = [...query.keys()].some((name) => name !== "of");
      const none = isOfRows()
        ? `No ${isWished ? "such " : ""}row has changed`
        : `No ${isWished ? "such " : ""}fact has come`;
      return h("p", { class: "none", key: "none" }, `${none} since this was opened.`);
    }
    const line = isOfRows() ? rowLine : factLine;
    const told = lines.map((one) => (one.gap ? gapLine(one) : line(one, fresh.has(one.key))));
    return isOfRows()
      ? factsTable(
          { "": ["Last fact", "SKU and location"], n: ["On hand", "Change"], "n wide": ["Facts"], wide: ["Position"] },
          told,
          last,
          "Rows",
        )
      : factsTable(
          { "": ["Recorded", "What", "SKU and location"], n: ["Change"], wide: ["Source and id", "Position"] },
          told,
          last,
        );
  }

  return {
    title: () => "Feed",
    open(_, asked) {
      query = asked;
      [position, since, lines, gap, pages, missing] = [null, null, [], null, 0, []];
      counts = nothingYet();
    },
    step,
    draw,
    key: keyOfSkus,
    hasData: () => lines.length > 0,
  };
}

const nothingYet = () => ({ applied: 0, repeated: 0, refused: 0, changes: 0, gaps: 0 });

const gapLine = ({ gap, key }) => h("tr", { key }, h("td", { colspan: "6", class: "warn" }, GAPS[gap]));

function rowLine(row, isNew) {
  const sign = row.on_hand < 0 ? "n bad" : "n";
  return h(
    "tr",
    { key: row.key, class: isNew ? "changed" : null },
    h("td", { class: "when" }, momentOf(row.updated_at)),
    h("td", { class: "id wrap" }, h("a", { href: hashOf(row) }, `${row.sku} at ${row.location}`)),
    h("td", { class: sign }, number(row.on_hand)),
    h("td", { class: "n" }, row.change === undefined ? "–" : signed(row.change)),
    h("td", { class: "n wide" }, number(row.events)),
    h("td", { class: "id dim wide wrap" }, row.position),
  );
}

function factLine(fact, isNew) {
  const applied = fact.outcome === "applied";
  const name = `${fact.source ?? "?"} / ${fact.id ?? "?"}`;
  const verdict = fact.outcome === "repeated" ? `repeats ${fact.of}` : `${fact.outcome} ${fact.refused ?? ""}`;
  const more = fact.detail ?? fact.reason;
  const hasRow = fact.sku !== undefined && fact.location !== undefined;
  return h(
    "tr",
    { key: fact.key, class: isNew ? "changed" : applied ? null : "dim" },
    h("td", { class: "when" }, momentOf(fact.recorded_at)),
    h(
      "td",
      {},
      said(fact.type),
      applied ? null : h("span", { class: fact.outcome === "refused" ? "tag bad" : "tag" }, verdict),
      more ? h("small", {}, ` ${more}`) : null,
      h("small", { class: "narrow id" }, name),
    ),
    h(
      "td",
      { class: "id wrap" },
      hasRow ? h("a", { href: hashOf(fact) }, `${fact.sku} at ${fact.location}`) : (fact.sku ?? "–"),
    ),
    h("td", { class: "n" }, applied ? signed(fact.change) : "–"),
    h("td", { class: "id wide" }, name),
    h("td", { class: "id dim wide" }, fact.position),
  );
}
