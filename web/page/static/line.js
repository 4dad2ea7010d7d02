// A step line of what was on hand after each fact, as inline SVG.

import { h } from "./dom.js";
import { count, moment, number } from "./words.js";

const WIDTH = 1000;
/** As style.css has it, in px: the last number stands beside the end of the line. */
const HEIGHT = 160;

/**
 * Draw it.
 *
 * @param {{time: number, balance: number}[]} steps in the order of time, ms since the epoch.
 * @param {number} opening what was on hand before the first of them.
 * @param {number} until ms since the epoch: the line ends there.
 * @param {number} marked how many of the steps are counted; the mark stands behind them.
 */
export function stepLine(steps, opening, until, marked) {
  const balances = [opening, ...steps.map((one) => one.balance)];
  // No spread: a row of 100,000 facts has more than a call takes arguments.
  const top = balances.reduce((a, b) => Math.max(a, b), 0);
  const low = balances.reduce((a, b) => Math.min(a, b), 0);
  const from = steps[0].time;
  const range = Math.max(1, until - from);
  const x = (time) => round(((Math.max(from, time) - from) / range) * WIDTH);
  const y = (n) => round(HEIGHT - ((n - low) / Math.max(1, top - low)) * HEIGHT);
  let d = `M0 ${y(opening)}`;
  for (const { time, balance } of steps) d += `H${x(time)}V${y(balance)}`;
  d += `H${WIDTH}`;
  const last = balances.at(-1);
  const text = `Step line of ${count(steps.length, "fact")} from ${moment(from)} until ${moment(until)}: on hand between ${number(low)} and ${number(top)}, now ${number(last)}.`;
  const at = marked > 0 && marked < steps.length ? x(steps[marked - 1].time) : null;
  return h(
    "figure",
    { class: "line" },
    h(
      "div",
      { class: "axis", "aria-hidden": "true" },
      h("span", {}, number(top)),
      h("span", {}, low < 0 ? number(low) : "0"),
    ),
    h(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": text },
      h("line", { class: "zero", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) }),
      h("path", { class: "steps", d }),
      at === null ? null : h("line", { class: "mark", x1: at, x2: at, y1: 0, y2: HEIGHT }),
    ),
    h("b", { class: "end", "aria-hidden": "true", style: { top: `${y(last)}px` } }, number(last)),
    h("figcaption", {}, h("span", {}, moment(from)), h("span", {}, `until ${moment(until)}`)),
  );
}

const round = (n) => Math.round(n * 10) / 10;
