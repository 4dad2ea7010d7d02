// The stock board: rows of all partitions, by SKU and location.

import { ask, path } from "./api.js";
import { h } from "./dom.js";
import { field, keyOfSkus } from "./fields.js";
import { pace } from "./pace.js";
import { count, freshness, momentOf, number, signed } from "./words.js";

const LIMIT = 100;
/** A page of a filter that few rows pass may be empty and go on: followed so often at a time. */
const MAX_PAGES = 10;
/** So that a worker that is gone is noticed, and another one asked, within two seconds. */
const EVERY_MS = 1000;
/** Offered while one types. */
const MAX_LOCATIONS = 200;
const TYPING_MS = 300;
const RANKS = ["standby", "former", "active"];
const COLUMNS = ["received", "dispatched", "sold", "returned", "adjusted"];

/** Filters by their names in the address, and as the call names them. */
const FILTERS = {
  sku: "sku_prefix",
  location: "location",
  below: "on_hand_below",
  above: "on_hand_above",
};

export function board(shell) {
  let query = new URLSearchParams();
  let found = null; // rows, and what was said of them
  let isAsking = true; // what is shown is of another question
  let changed = new Map(); // events of each row that was shown last, by its address
  let fresh = new Set();
  let timer;
  let waitAfter = pace(EVERY_MS);
  const locations = new Set();

  async function step(signal) {
    const started = performance.now();
    const wish = { limit: LIMIT, partial: true, cursor: query.get("cursor") };
    for (const [name, parameter] of Object.entries(FILTERS)) wish[parameter] = query.get(name);
    const page = await readPage(wish, signal);
    take(page);
    return waitAfter(performance.now() - started);
  }

  async function readPage(wish, signal) {
    const page = { items: [], missing: new Set(), fresh: null, next: null, answer: null };
    let cursor = wish.cursor;
    for (let i = 0; i < MAX_PAGES; i += 1) {
      const limit = LIMIT - page.items.length;
      const answer = await ask("v1/inventory", { ...wish, limit, cursor }, { signal });
      const { items, missing_partitions, next_cursor, freshness: told } = answer.body;
      page.items.push(...items);
      for (const partition of missing_partitions) page.missing.add(partition);
      page.fresh = worst(page.fresh, told);
      page.answer = answer;
      page.next = cursor = next_cursor;
      // With partitions missing the cursor comes back for them: that is not the rest of a page.
      if (cursor === null || page.items.length >= LIMIT || page.missing.size) break;
    }
    return page;
  }

  function take(page) {
    const before = changed;
    fresh = new Set();
    changed = new Map();
    for (const row of page.items) {
      const address = hashOf(row);
      changed.set(address, row.events);
      if (before.has(address) && before.get(address) !== row.events) fresh.add(address);
      locations.add(row.location);
    }
    const was = isAsking ? null : found;
    found = page;
    isAsking = false;
    shell.heardOf([page.fresh.worker]);
    if (was === null || was.items.length !== page.items.length) {
      shell.announce(`${count(page.items.length, "row")}${page.next ? ", and more" : ""}.`);
    }
    if (page.missing.size && !was?.missing.size) shell.announce("Some partitions are missing.");
  }

  function draw() {
    return [
      h(
        "div",
        { class: "title" },
        h("h1", { tabindex: "-1" }, "Stock"),
        found ? freshness(found.fresh, found.answer, true) : null,
      ),
      filterForm(),
      found?.missing.size ? missingBox() : null,
      found ? [pages("above"), table(), found.items.length > 20 ? pages("below") : null] : null,
      found === null && !shell.problem ? h("p", { class: "dim" }, "Asking the worker …") : null,
    ];
  }

  function filterForm() {
    const isAny = Object.keys(FILTERS).some((name) => query.get(name));
    return h(
      "form",
      { class: "fields", role: "search", key: "filters", oninput: later, onsubmit: now },
      field(query, "sku", "SKU begins with"),
      field(query, "location", "Location", { list: "locations" }),
      h(
        "datalist",
        { id: "locations" },
        [...locations]
          .sort()
          .slice(0, MAX_LOCATIONS)
          .map((one) => h("option", { value: one, key: one })),
      ),
      field(query, "below", "On hand below", { type: "text", inputmode: "numeric", size: "8" }),
      field(query, "above", "On hand above", { type: "text", inputmode: "numeric", size: "8" }),
      h("button", { class: "unseen" }, "Show"),
      h(
        "p",
        { class: "quick" },
        link("#/?below=0", "below zero", query.toString() === "below=0"),
        link("#/?below=1", "none left", query.toString() === "below=1"),
        isAny ? link("#/", "all rows") : null,
      ),
    );
  }

  function later(event) {
    const form = event.currentTarget;
    clearTimeout(timer);
    timer = setTimeout(() => filter(form), TYPING_MS);
  }

  function now(event) {
    event.preventDefault();
    clearTimeout(timer);
    filter(event.currentTarget);
  }

  function filter(form) {
    const asked = new URLSearchParams();
    for (const name of Object.keys(FILTERS)) {
      const text = form.elements.namedItem(name).value.trim().replace("−", "-");
      if (text !== "") asked.set(name, text);
    }
    shell.replace(`#/${asked.size ? `?${asked}` : ""}`);
  }

  function missingBox() {
    const missing = [...found.missing].sort((a, b) => a - b);
    const names = `partition${missing.length > 1 ? "s" : ""} ${missing.join(", ")}`;
    return h(
      "section",
      { class: "problem", key: "missing" },
      h("h2", {}, `Not all rows are here: ${names}`),
      h(
        "p",
        {},
        "Nobody can answer for them now, so rows of their SKUs are left out. That says nothing about what is on hand of those.",
      ),
      h(
        "p",
        {},
        h("b", {}, "What to do: "),
        "nothing for some seconds, since others take over by themselves; then see in the ",
        h("a", { href: "#/cluster" }, "cluster"),
        " who has them, or loads them.",
      ),
      h("p", { class: "dim" }, "Asked again every second."),
    );
  }

  function pages(where) {
    const more = found.next && (!found.missing.size || found.items.length >= LIMIT);
    const isFirst = !query.get("cursor");
    return h(
      "nav",
      { class: "pages", key: where, "aria-label": `Pages, ${where} the rows` },
      h(
        "span",
        {},
        isAsking
          ? "Asking the worker …"
          : `${count(found.items.length, "row")}${more || isFirst ? "" : ", the last ones"}`,
      ),
      isFirst ? null : link(hashWith("cursor", null), "← First page"),
      more
        ? link(hashWith("cursor", found.next), found.items.length < LIMIT ? "Look further →" : "Next page →")
        : null,
    );
  }

  function table() {
    if (found.items.length === 0) return h("p", { class: "none", key: "none" }, nothing());
    const damaged = found.items.some((row) => row.damaged);
    const columns = damaged ? [...COLUMNS, "damaged"] : COLUMNS;
    let before = null;
    return h(
      "table",
      { class: "stock", key: "rows", "aria-busy": String(isAsking), onkeydown: moveAmongRows },
      h("caption", { class: "unseen" }, "What is on hand. The arrow keys go from row to row."),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th", { scope: "col" }, "SKU"),
          h("th", { scope: "col" }, "Location"),
          h("th", { scope: "col", class: "n" }, "On hand"),
          columns.map((name) => h("th", { scope: "col", class: "n wide" }, capital(name))),
          h("th", { scope: "col", class: "wide when" }, "Changed"),
        ),
      ),
      h(
        "tbody",
        {},
        found.items.map((row) => {
          const repeats = row.sku === before;
          before = row.sku;
          return line(row, repeats, columns);
        }),
      ),
    );
  }

  function nothing() {
    if (found.missing.size) return "No row of the partitions that answered is such a one.";
    if (found.next) return "None of the rows looked at so far is such a one; there are more to look at.";
    return Object.keys(FILTERS).some((name) => query.get(name))
      ? "No row is such a one."
      : "There are no rows yet: no fact has been counted.";
  }

  function line(row, repeats, columns) {
    const address = hashOf(row);
    const mood = row.on_hand < 0 ? "bad" : row.on_hand === 0 ? "dim" : "";
    return h(
      "tr",
      { key: address, class: fresh.has(address) ? "changed" : null },
      h("th", { scope: "row", class: repeats ? "id same" : "id" }, h("a", { href: address }, row.sku)),
      h("td", {}, row.location),
      h(
        "td",
        { class: `n stock ${mood}` },
        row.on_hand < 0 ? h("span", { class: "tag" }, "▼", h("span", {}, " below zero")) : null,
        h("b", {}, number(row.on_hand)),
      ),
      columns.map((name) =>
        h(
          "td",
          { class: row[name] ? "n wide" : "n wide dim" },
          name === "adjusted" ? signed(row[name]) : number(row[name] ?? 0),
        ),
      ),
      h("td", { class: "wide when" }, momentOf(row.updated_at)),
    );
  }

  function hashWith(name, value) {
    const other = new URLSearchParams(query);
    if (value === null) other.delete(name);
    else other.set(name, value);
    return `#/${other.size ? `?${other}` : ""}`;
  }

  return {
    title: () => "Stock",
    open(_, asked) {
      query = asked;
      isAsking = true;
      changed = new Map();
      waitAfter = pace(EVERY_MS);
    },
    step,
    draw,
    key: keyOfSkus,
    hasData: () => found !== null,
    close: () => clearTimeout(timer),
  };
}

const capital = (word) => word[0].toUpperCase() + word.slice(1);

/** Where a row is shown. */
export const hashOf = (row) => `#/row/${path(row.sku, row.location)}`;

const link = (href, text, isHere = false) =>
  h("a", { href, key: href, "aria-current": isHere ? "true" : null }, text);

/** One that promises no more than either. */
function worst(a, b) {
  if (a === null) return b;
  const [low, high] = RANKS.indexOf(b.role) < RANKS.indexOf(a.role) ? [b, a] : [a, b];
  return {
    ...low,
    lag_events: Math.max(low.lag_events, high.lag_events),
    as_of: low.as_of < high.as_of ? low.as_of : high.as_of,
  };
}

/** Up and down between the links of rows, Home and End to the first and the last. */
export function moveAmongRows(event) {
  const links = [...event.currentTarget.querySelectorAll("tbody th a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (at < 0 || to === undefined || !links[to]) return;
  event.preventDefault();
  links[to].focus();
}
