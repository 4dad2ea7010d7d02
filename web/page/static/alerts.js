// Alerts: what the webhook was told last of each row, and whether it was taken.

import { ask } from "./api.js";
import { hashOf } from "./board.js";
import { h } from "./dom.js";
import { factsTable } from "./facts.js";
import { choice, filters } from "./fields.js";
import { count, head, moment, momentOf, number, prose } from "./words.js";

const LIMIT = 200;
const EVERY_MS = 5000;
/** Kafka is read for each answer. */
const PATIENCE_MS = 12_000;
const FILTERS = ["told", "state"];
const STATES = { pending: "not taken yet", sent: "taken", dead: "nobody took it" };

export function alerts(shell) {
  let query = new URLSearchParams();
  let found = null;

  async function step(signal) {
    const wish = { limit: LIMIT };
    for (const name of FILTERS) wish[name] = query.get(name);
    const { body } = await ask("v1/alerts", wish, { signal, patienceMs: PATIENCE_MS });
    if (found?.items.length !== body.items.length) shell.announce(`${count(body.items.length, "alert")}.`);
    found = body;
    return EVERY_MS;
  }

  function draw() {
    return [
      head(shell, "Alerts", found && summary()),
      found ? [rules(), form(), list()] : null,
    ];
  }

  function summary() {
    const n = (state) => found.items.filter((one) => one.state === state).length;
    const raised = found.items.filter((one) => one.told === "raised").length;
    const told = `${number(raised)} raised · ${number(n("pending"))} not taken yet · ${number(n("dead"))} that nobody took`;
    const [mood, glyph] = n("dead") ? ["bad", "✕"] : n("pending") ? ["warn", "◐"] : ["calm", "●"];
    return h(
      "p",
      { class: `freshness ${mood}` },
      h("span", { "aria-hidden": "true" }, glyph),
      ` What the webhook was told last of each row · ${told} · as of `,
      momentOf(found.as_of),
    );
  }

  function rules() {
    if (found.rules.length === 0) {
      return h(
        "p",
        { class: "none", key: "rules" },
        prose("This worker tells nobody: it was started without `ONHAND_ALERTS`, a file of rules."),
      );
    }
    return h(
      "ul",
      { class: "plain rules", key: "rules", "aria-label": "Rules of this worker" },
      found.rules.map(({ name, below, above }) =>
        h(
          "li",
          { key: name },
          h("b", {}, name),
          h("span", { class: "dim" }, ` raised below ${number(below)}, cleared above ${number(above)}`),
        ),
      ),
    );
  }

  function form() {
    if (found.rules.length === 0) return null;
    return filters(shell, "alerts", FILTERS, [
      choice(query, "told", "Told", ["raised", "cleared"]),
      choice(query, "state", "Webhook", Object.keys(STATES), (state) => STATES[state]),
    ]);
  }

  function list() {
    if (found.rules.length === 0) return null;
    if (found.items.length === 0) {
      const isWished = FILTERS.some((name) => query.get(name));
      const none = isWished ? "No alert is such a one." : "Nothing was told yet.";
      return h("p", { class: "none", key: "none" }, none);
    }
    return factsTable(
      { "": ["Since", "SKU and location", "Told"], wide: ["Webhook"] },
      found.items.map(line),
      found.since
        ? h(
            "p",
            { class: "dim" },
            prose(`Older than ${moment(found.since)} are not here: \`onhand alerts list\` shows all.`),
          )
        : null,
      "Alerts",
    );
  }

  return {
    title: () => "Alerts",
    open(_, asked) {
      query = asked;
    },
    step,
    draw,
    hasData: () => found !== null,
  };
}

function line(one) {
  const isRaised = one.told === "raised";
  return h(
    "tr",
    { key: `${one.rule} ${hashOf(one)}` },
    h("td", { class: "when" }, momentOf(one.at)),
    h("td", { class: "id wrap" }, h("a", { href: hashOf(one) }, `${one.sku} at ${one.location}`)),
    h(
      "td",
      {},
      h("span", { class: isRaised ? "bad" : "dim" }, isRaised ? "▼ raised: " : "▲ cleared: "),
      h("b", {}, one.rule),
      one.on_hand === null ? null : h("small", {}, ` at ${number(one.on_hand)} on hand`),
      h("div", { class: "narrow" }, delivery(one)),
    ),
    h("td", { class: "wide" }, delivery(one)),
  );
}

function delivery({ state, attempts, next_try, failed }) {
  if (state === "sent") return h("span", { class: "dim" }, "✓ taken");
  const [mood, glyph] = state === "dead" ? ["bad", "✕"] : ["warn", "◐"];
  const tries = attempts ? `, tried ${count(attempts, "time")}` : "";
  return [
    h("span", { class: mood }, `${glyph} ${STATES[state]}${tries}`),
    failed ? h("small", {}, ` ${failed}`) : null,
    next_try ? [h("small", {}, ", again at "), momentOf(next_try)] : null,
    state === "dead" ? h("small", {}, prose(" · `onhand alerts resend`")) : null,
  ];
}
