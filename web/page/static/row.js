// One SKU at one location: what is on hand now, and why, added up once more in this browser.

import { Refused, Unreachable, ask, path } from "./api.js";
import { hashOf } from "./board.js";
import { h } from "./dom.js";
import { SIGNS } from "./fold.js";
import { history } from "./history.js";
import { problemBox } from "./problems.js";
import { count, freshness, momentOf, number } from "./words.js";

/** So that a worker that is gone is noticed, and another one asked, within two seconds. */
const EVERY_MS = 1000;
/** The other locations of a SKU are for finding one's way: they need not be of this second. */
const SKU_EVERY_MS = 10_000;
const MAX_LOCATIONS = 60;

export function row(shell) {
  let sku = "";
  let location = "";
  let now = null; // the worker's row, and its answer
  let unknown = null; // the answer that there is none
  let others = [];
  let askedSku = -Infinity;
  let past = null;
  let isReading = null;

  async function step(signal) {
    try {
      const answer = await ask(`v1/inventory/${path(sku, location)}`, {}, { signal });
      take({ row: answer.body, answer });
    } catch (problem) {
      if (!(problem instanceof Refused) || problem.kind !== "unknown-key") throw problem;
      now = null;
      unknown = problem;
      return EVERY_MS;
    }
    shell.redraw();
    readPast(signal);
    if (performance.now() - askedSku > SKU_EVERY_MS) await readSku(signal);
    return EVERY_MS;
  }

  /** Beside the row: a ledger may take its time, and a frozen worker is noticed by the row. */
  function readPast(signal) {
    const reading = past;
    if (isReading === reading) return;
    isReading = reading;
    reading
      .read(now.row, signal)
      .catch((error) => {
        if (!signal.aborted && !(error instanceof Unreachable)) shell.failed(error);
      })
      .finally(() => {
        isReading = null;
        shell.redraw();
      });
  }

  function take(next) {
    const before = now?.row.on_hand;
    now = next;
    unknown = null;
    shell.heardOf([now.row.freshness.worker]);
    if (before !== undefined && before !== now.row.on_hand) {
      shell.announce(`${number(now.row.on_hand)} on hand now.`);
    }
  }

  async function readSku(signal) {
    askedSku = performance.now();
    try {
      others = (await ask(`v1/inventory/${path(sku)}`, {}, { signal })).body.items;
    } catch (problem) {
      if (!(problem instanceof Refused || problem instanceof Unreachable)) throw problem;
    }
  }

  function draw() {
    return [
      h("p", { class: "back" }, h("a", { href: shell.lastBoard() }, "← Stock")),
      h(
        "div",
        { class: "title" },
        h("h1", { tabindex: "-1" }, h("span", { class: "id" }, sku), h("small", {}, " at "), location),
        now ? freshness(now.row.freshness, now.answer) : null,
      ),
      unknown
        ? problemBox(unknown, null, "Zero is not the same: no fact has ever named this SKU at this location.")
        : null,
      now ? sums(now.row) : null,
      now ? past.draw(now.row) : null,
      others.length > 1 ? locations() : null,
    ];
  }

  function sums(told) {
    const names = Object.keys(SIGNS).filter((name) => name !== "damaged");
    return h(
      "section",
      { class: "sums", key: "sums", "aria-label": "On hand now" },
      h(
        "p",
        { class: told.on_hand < 0 ? "big bad" : "big" },
        h("b", {}, number(told.on_hand)),
        " ",
        h("span", {}, "on hand"),
      ),
      h(
        "ul",
        { class: "equation" },
        names.map((name, i) =>
          h(
            "li",
            { class: told[name] ? "" : "dim" },
            sign(i, SIGNS[name] * (told[name] || 1)),
            h("b", {}, number(i === 0 ? told[name] : Math.abs(told[name]))),
            ` ${name}`,
          ),
        ),
        h("li", {}, h("i", {}, "="), h("b", {}, number(told.on_hand)), " on hand"),
        told.damaged
          ? h(
              "li",
              { class: "dim" },
              h("b", {}, number(told.damaged)),
              " came back damaged, and are not on hand",
            )
          : null,
      ),
      h(
        "p",
        { class: "dim" },
        `From ${count(told.events, "fact")}, the last recorded `,
        momentOf(told.updated_at),
        " · checksum ",
        h("span", { class: "id" }, told.checksum),
        " · position ",
        h("span", { class: "id wrap" }, told.freshness.position),
      ),
    );
  }

  function locations() {
    const some = others.slice(0, MAX_LOCATIONS);
    return h(
      "section",
      { class: "locations", key: "locations" },
      h("h2", {}, "At all locations"),
      h(
        "ul",
        {},
        some.map((one) =>
          h(
            "li",
            { key: one.location },
            h(
              "a",
              { href: hashOf(one), "aria-current": one.location === location ? "page" : null },
              one.location,
              " ",
              h("b", { class: one.on_hand < 0 ? "bad" : null }, number(one.on_hand)),
            ),
          ),
        ),
      ),
      others.length > some.length
        ? h(
            "p",
            {},
            h(
              "a",
              { href: `#/?sku=${encodeURIComponent(sku)}` },
              `All ${number(others.length)} on the board`,
            ),
          )
        : null,
    );
  }

  return {
    title: () => `${sku} at ${location}`,
    open(parts) {
      [sku, location] = parts;
      past = history(shell, sku, location);
    },
    step,
    draw,
    key(event) {
      if (event.key === "Escape") shell.go(shell.lastBoard());
    },
    hasData: () => now !== null,
  };
}

const sign = (i, n) => (i === 0 ? null : h("i", {}, n < 0 ? "−" : "+"));
