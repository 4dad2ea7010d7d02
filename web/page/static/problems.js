// How a refusal is shown: in the worker's own words, with what to do, and when it is asked again.

import { h } from "./dom.js";
import { prose, span } from "./words.js";

let pages = {};

/** What the pages under /problems/ say; a file of this page, which needs no token. */
export async function readRemedies() {
  try {
    const response = await fetch(new URL("page/problems.json", document.baseURI));
    if (response.ok) pages = await response.json();
  } catch {
    // The worker is gone already: then there is no refusal to explain either.
  }
}

/** What to do about a problem of this kind. */
export const remedy = (kind) => pages[kind]?.do ?? null;

/**
 * One refusal.
 *
 * @param {import("./api.js").Refused} problem what the worker said.
 * @param {number|null} nextMs ms until it is asked again; null: it is not.
 * @param {string} more a sentence of whoever shows it.
 */
export function problemBox(problem, nextMs, more = "") {
  const faults = problem.body.errors ?? [];
  const held = problem.body.partitions ?? [];
  const what = remedy(problem.kind);
  return h(
    "section",
    { class: "problem", key: `problem-${problem.kind}` },
    h("h2", {}, problem.title),
    h("p", {}, prose(problem.message)),
    faults.length > 1
      ? h(
          "ul",
          {},
          faults.map((one) => h("li", {}, `${one.parameter ?? ""} ${one.detail}`)),
        )
      : null,
    held.map((one) => restoring(one)),
    what ? h("p", { class: "remedy" }, h("b", {}, "What to do: "), prose(what)) : null,
    more ? h("p", {}, more) : null,
    h(
      "p",
      { class: "dim" },
      h("span", { class: "id" }, `${problem.status} ${problem.kind}`),
      nextMs === null ? null : ` · asked again ${nextMs < 1000 ? "now" : `in ${span(nextMs)}`}`,
    ),
  );
}

function restoring(held) {
  if (!held.restore) return null;
  const { done, total } = held.restore;
  return h(
    "p",
    {},
    `Partition ${held.partition} ${held.state}: `,
    h("progress", { max: Math.max(1, total), value: done, "aria-label": `partition ${held.partition}` }),
    ` ${done} of about ${total} records`,
  );
}
