// Numbers, times and freshness as people read them.

import { h } from "./dom.js";

const NUMBER = new Intl.NumberFormat("en");
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** 1,234 or −7: with a real minus. */
export const number = (n) => NUMBER.format(n).replace("-", "−");

/** +24, −7, or 0. */
export const signed = (n) => (n > 0 ? `+${number(n)}` : number(n));

/** `1 row`, `2 rows`. */
export const count = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

/** A moment of this device's zone; the day stands before it where it is not today. */
export function moment(when) {
  const time = new Date(when);
  const today = time.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(time) : `${DAY.format(time)}, ${CLOCK.format(time)}`;
}

/** The same as an element that has the exact time, too. */
export function momentOf(when) {
  const exact = new Date(when).toISOString();
  return h("time", { datetime: exact, title: exact }, moment(when));
}

/** How long that is: `3 s`, `4 min`, `5 h`, `6 days`. */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.floor(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

/** ms from `when` until now, by the clock of the worker that gave the answer. */
export const age = (when, answer) =>
  Math.max(0, answer.date - Date.parse(when)) + performance.now() - answer.at;

/** After so long without a word from Kafka an answer is old, whoever gave it. */
export const OLD_MS = 6000;

const ROLES = {
  active: ["●", "calm", "the owner", "the owners"],
  former: ["◐", "warn", "the former owner, while another takes over", "former owners among others"],
  standby: ["◐", "warn", "a standby, a copy of the owner", "standbys among others"],
};

/** Who answered, how far behind, and how old that is. `many`: the worst of many partitions. */
export function freshness(told, answer, many = false) {
  const [glyph, mood, one, several] = ROLES[told.role] ?? ["?", "warn", told.role, told.role];
  const old = age(told.as_of, answer);
  const behind =
    told.lag_events === 0 ? "nothing left to count" : `at most ${count(told.lag_events, "fact")} behind`;
  return h(
    "p",
    { class: `freshness ${old > OLD_MS ? "warn" : mood}` },
    h("span", { "aria-hidden": "true" }, glyph),
    ` Answered by ${many ? several : one}`,
    many ? null : [" ", h("span", { class: "id" }, told.worker)],
    ` · ${behind} · as of `,
    momentOf(told.as_of),
    old > OLD_MS ? `, ${span(old)} ago: Kafka has not been heard since, so there may be more` : null,
    ` · version ${told.version}`,
  );
}

/** The head of a view: its name, and how fresh it is (`told`), once the worker has answered. */
export const head = (shell, name, told, asking = "Asking the worker …") =>
  h(
    "div",
    { class: "title" },
    h("h1", { tabindex: "-1" }, name),
    told ?? (shell.problem ? null : h("p", { class: "dim" }, asking)),
  );

/** A text in which what stands between backticks is code. */
export const prose = (text) => text.split("`").map((part, i) => (i % 2 === 1 ? h("code", {}, part) : part));

/** A link to another worker. Its address comes from a heartbeat: what is no http is only text. */
export function outside(url, attributes = {}) {
  const isWeb = /^https?:\/\//i.test(url) && URL.canParse(url);
  return isWeb ? h("a", { href: url, ...attributes }, url) : h("span", attributes, url);
}

/** The last part of a type, as people say it: `inventory.sale.completed.v1` is `sold`. */
const SAID = {
  "inventory.shipment.received.v1": "received",
  "inventory.shipment.dispatched.v1": "dispatched",
  "inventory.sale.completed.v1": "sold",
  "inventory.sale.returned.v1": "returned",
  "inventory.sale.voided.v1": "sale voided",
  "inventory.stock.adjusted.v1": "adjusted",
};
export const TYPES = Object.keys(SAID);
export const said = (type) => SAID[type] ?? type ?? "unknown";
