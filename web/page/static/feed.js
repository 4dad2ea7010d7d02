// The feed: facts as they come, with what became of each. Asked for page by page behind a position,
// so that a pause, a hidden tab or a worker that was gone leaves nothing out.

import { Refused, ask } from "./api.js";
import { hashOf } from "./board.js";
import { h } from "./dom.js";
import { choice, field, keyOfSkus } from "./fields.js";
import { factsTable } from "./facts.js";
import { TYPES, count, moment, momentOf, number, said, signed } from "./words.js";

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
const FILTERS = { sku: "sku_prefix", location: "location", type: "type" };
const GAPS = {
  faster: "Facts came faster than this page reads: some are left out here. It went on from that moment.",
  lost: "From its last position there is no going on: the log, or the ledger, is another one. It went on from that moment.",
};

export function feed(shell) {
  let query = new URLSearchParams();
  let position = null; // behind which it goes on; null: behind all that there is
  let since = null; // Date.now() of the first answer
  let lines = []; // newest first: facts, and gaps
  let fresh = new Set(); // positions of those that came last
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
      if (event !== "fact") continue;
      lines.unshift(data);
      fresh.add(data.position);
      counts[data.outcome] += 1;
    }
    lines = lines.slice(0, KEPT);
    position = page.after;
    pages = page.at_end ? 0 : pages + 1;
    if (pages >= MAX_PAGES) goOnFromNow("faster");
    return page.at_end ? BETWEEN_MS : 0;
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
      h(
        "div",
        { class: "title" },
        h("h1", { tabindex: "-1" }, "Feed"),
        since !== null
          ? summary()
          : shell.problem
            ? null
            : h("p", { class: "dim" }, "Asking where the feed is now …"),
      ),
      form(),
      since === null ? null : list(),
    ];
  }

  function summary() {
    const { applied, repeated, refused } = counts;
    const told = `${number(applied)} applied, ${number(repeated)} repeated, ${number(refused)} refused`;
    return h(
      "p",
      { class: `freshness ${isPaused ? "warn" : "calm"}` },
      h("span", { "aria-hidden": "true" }, isPaused ? "◐" : "●"),
      isPaused ? " Paused: nothing is missed, it goes on behind the last fact" : " Facts as they come",
      ` · ${told} since ${moment(since)} · what was refused is in the `,
      h("a", { href: "#/dead-letters" }, "dead letters"),
    );
  }

  function form() {
    const change = (event) => {
      event.preventDefault();
      const asked = new URLSearchParams();
      for (const name of Object.keys(FILTERS)) {
        const text = event.currentTarget.elements.namedItem(name).value.trim();
        if (text) asked.set(name, text);
      }
      shell.replace(`#/feed${asked.size ? `?${asked}` : ""}`);
    };
    return h(
      "form",
      { class: "fields", role: "search", key: "filters", onchange: change, onsubmit: change },
      field(query, "sku", "SKU begins with"),
      field(query, "location", "Location"),
      choice(query, "type", "Kind", TYPES, said),
      h("button", { class: "unseen" }, "Show"),
      h("button", { type: "button", key: "pause", onclick: pause }, isPaused ? "Go on" : "Pause"),
    );
  }

  function list() {
    if (lines.length === 0) {
      const wished = [...query.keys()].length ? "No such fact has" : "No fact has";
      return h("p", { class: "none", key: "none" }, `${wished} come since this was opened.`);
    }
    return factsTable(
      { "": ["Recorded", "What", "SKU and location"], n: ["Change"], wide: ["Source and id", "Position"] },
      lines.map((one) => (one.gap ? gapLine(one) : factLine(one, fresh.has(one.position)))),
      lines.length < KEPT ? null : h("p", { class: "dim" }, `The last ${count(KEPT, "line")}.`),
    );
  }

  return {
    title: () => "Feed",
    open(_, asked) {
      query = asked;
      [position, since, lines, gap, pages] = [null, null, [], null, 0];
      counts = nothingYet();
    },
    step,
    draw,
    key: keyOfSkus,
    hasData: () => lines.length > 0,
    close() {},
  };
}

const nothingYet = () => ({ applied: 0, repeated: 0, refused: 0, gaps: 0 });

const gapLine = ({ gap, key }) => h("tr", { key }, h("td", { colspan: "6", class: "warn" }, GAPS[gap]));

function factLine(fact, isNew) {
  const applied = fact.outcome === "applied";
  const name = `${fact.source ?? "?"} / ${fact.id ?? "?"}`;
  const verdict = fact.outcome === "repeated" ? `repeats ${fact.of}` : `${fact.outcome} ${fact.refused ?? ""}`;
  const more = fact.detail ?? fact.reason;
  const hasRow = fact.sku !== undefined && fact.location !== undefined;
  return h(
    "tr",
    { key: fact.position, class: isNew ? "changed" : applied ? null : "dim" },
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
