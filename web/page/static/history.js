// The facts of one row from a ledger: folded here step by step, as a line and as a table.

import { Refused, ask, path } from "./api.js";
import { h } from "./dom.js";
import { factsTable } from "./facts.js";
import { NOTHING, apply, cross, differences, hex, onHand } from "./fold.js";
import { stepLine } from "./line.js";
import { problemBox } from "./problems.js";
import { count, momentOf, number, said, signed } from "./words.js";

const PAGE = 1000;
/** Facts read without being asked; a row of more is read on by a button. */
const FIRST_FACTS = 5000;
const SHOWN = 100;
const AGAIN_MS = 10_000;
/** A ledger answers from SQL, and a worker passes it on. */
const PATIENCE_MS = 12_000;
/** A ledger follows the log: it may be some seconds behind the row. */
const LEDGER_MS = 2000;

export function history(shell, sku, location) {
  let told = null; // of the newest page: row, history, opening
  let facts = []; // those that were applied, repeated or refused, oldest first
  let rows = [NOTHING]; // after each of them
  let cursor = null;
  let refused = null;
  let notBefore = 0; // performance.now() from which the ledger is asked again
  let seenEvents = null; // of the row that the timeline was read for
  let limit = FIRST_FACTS;
  let stepAt = null; // how many facts are counted; null: all
  let shownFacts = SHOWN;

  /** Read what there is, if the row has changed since. */
  async function read(row, signal) {
    const isWhole = told !== null && cursor === null;
    const hasAll = told !== null && told.row?.events >= row.events;
    if (performance.now() < notBefore) return;
    if (isWhole && hasAll && seenEvents === row.events) return;
    if (told !== null && cursor !== null && facts.length >= limit) return;
    const started = performance.now();
    try {
      await readFacts(signal);
      refused = null;
      seenEvents = row.events;
      // A long row costs the ledger more: it is asked less often.
      notBefore = performance.now() + Math.max(LEDGER_MS, 4 * (performance.now() - started));
    } catch (problem) {
      if (!(problem instanceof Refused)) throw problem;
      refused = problem;
      notBefore =
        performance.now() + Math.max(problem.retryS * 1000, problem.status === 503 ? 2000 : AGAIN_MS);
    }
  }

  async function readFacts(signal) {
    // A cursor is of the prefix of its first page: newer facts are read anew, from the beginning.
    const isGoingOn = cursor !== null;
    let next = isGoingOn ? cursor : null;
    let [all, after] = isGoingOn ? [facts, rows] : [[], [NOTHING]];
    do {
      const query = { limit: PAGE, all: true, cursor: next };
      const { body } = await ask(`v1/inventory/${path(sku, location)}/timeline`, query, {
        signal,
        patienceMs: PATIENCE_MS,
      });
      all = [...all, ...body.facts];
      after = [...after];
      for (const fact of body.facts) after.push(apply(after.at(-1), fact));
      next = body.next_cursor;
      told = body;
    } while (next !== null && all.length < limit);
    [facts, rows, cursor] = [all, after, next];
    if (stepAt !== null) stepAt = Math.min(stepAt, facts.length);
  }

  function draw(row) {
    return h(
      "section",
      { class: "why", key: "why" },
      h("h2", {}, `Why is it ${number(row.on_hand)}?`),
      refused ? noHistory() : null,
      told === null && refused === null ? h("p", { class: "dim" }, "Asking for its facts …") : null,
      told !== null && !told.row
        ? h("p", { class: "dim" }, "The ledger has counted no fact of it yet.")
        : null,
      told?.row && facts.length ? [proof(row), stepper(), line(), table()] : null,
    );
  }

  function noHistory() {
    const left = Math.max(0, notBefore - performance.now());
    const start =
      refused.kind === "history-not-running"
        ? "The sums above are right all the same. A ledger reads the log from its beginning; this page shows the facts as soon as it answers."
        : told
          ? "The facts below are from before."
          : "";
    return problemBox(refused, left, start);
  }

  // ---- the proof

  function proof(row) {
    const folded = rows.at(-1);
    if (cursor !== null) return unfinished();
    if (told.history.begins) return fromAnOpening(row);
    const wrong = differences(folded, told.row);
    const off = facts.findIndex(
      (fact, i) => fact.outcome === "applied" && fact.balance !== onHand(rows[i + 1]),
    );
    if (off >= 0) wrong.push(`the balance after fact ${off + 1}`);
    const mine = `${number(onHand(folded))} on hand, ${count(folded.events, "fact")}, checksum `;
    return h(
      "div",
      { class: "proof", key: "proof" },
      verdict(
        wrong,
        [`Added up in this browser: ${mine}`, h("span", { class: "id" }, hex(folded.checksum)), "."],
        "So says the ledger's row at the same position, and so does its balance after each fact.",
        "The ledger's row at the same position is another one",
      ),
      besideTheTable(row, folded),
      h(
        "p",
        { class: "dim" },
        "Position ",
        h("span", { class: "id wrap" }, told.history.position),
        " · ledger ",
        h("span", { class: "id" }, told.history.ledger),
      ),
    );
  }

  /** The row in RocksDB was folded by other code, in another process. */
  function besideTheTable(row, folded) {
    const more = row.events - folded.events;
    if (more > 0)
      return h(
        "p",
        { class: "warn" },
        `◐ The worker's row has ${count(more, "fact")} more than the ledger has yet.`,
      );
    if (more < 0)
      return h(
        "p",
        { class: "warn" },
        `◐ The ledger has ${count(-more, "fact")} more than the worker's row yet.`,
      );
    const wrong = differences(folded, row);
    if (wrong.length > 0 && cross(row.freshness.position, told.history.position))
      return h(
        "p",
        { class: "warn" },
        "◐ The worker's row has as many facts as the ledger, and not the same ones yet: each is ahead in another topic.",
      );
    return verdict(
      wrong,
      [],
      "The worker's row, which never saw the ledger, says the same.",
      "The worker's row is another one",
    );
  }

  function verdict(wrong, what, same, other) {
    return wrong.length === 0
      ? h("p", { class: "good" }, "✓ ", what, " ", same)
      : h(
          "p",
          { class: "bad" },
          "✕ ",
          what,
          ` ${other}: ${wrong.join(", ")}. `,
          "Run ",
          h("code", {}, "onhand audit"),
          ".",
        );
  }

  function fromAnOpening(row) {
    const sum = facts.reduce((n, fact) => n + fact.change, told.opening);
    return h(
      "div",
      { class: "proof", key: "proof" },
      h(
        "p",
        {},
        "Facts until ",
        momentOf(told.history.begins),
        ` are kept as one sum, ${number(told.opening)} on hand. With the changes since it is ${number(sum)}; the checksum cannot be counted again from here.`,
      ),
      h(
        "p",
        { class: sum === told.row.on_hand ? "good" : "bad" },
        sum === told.row.on_hand
          ? "✓ The ledger's row says the same."
          : `✕ The ledger's row says ${number(told.row.on_hand)}.`,
      ),
    );
  }

  function unfinished() {
    return h(
      "p",
      { key: "proof" },
      `${count(facts.length, "fact")} are read, the oldest ones; the sum can be compared when all are. `,
      h(
        "button",
        {
          type: "button",
          onclick: () => {
            limit += 10 * FIRST_FACTS;
            notBefore = 0;
            shell.wake();
          },
        },
        "Read the others",
      ),
    );
  }

  // ---- step by step

  function stepper() {
    const at = stepAt ?? facts.length;
    const go = (to) => {
      stepAt = to >= facts.length ? null : Math.max(0, to);
      shell.redraw();
    };
    return h(
      "div",
      { class: "stepper", key: "stepper", role: "group", "aria-label": "Step by step" },
      h(
        "button",
        { type: "button", disabled: at === 0, onclick: () => go(at - 1), "aria-label": "One record back" },
        "−",
      ),
      h("input", {
        type: "range",
        min: 0,
        max: facts.length,
        value: at,
        "aria-label": "Records that are counted",
        "aria-valuetext": sentence(at),
        oninput: (event) => go(Number(event.target.value)),
      }),
      h(
        "button",
        {
          type: "button",
          disabled: at === facts.length,
          onclick: () => go(at + 1),
          "aria-label": "One record on",
        },
        "+",
      ),
      h("output", {}, sentence(at)),
    );
  }

  function sentence(at) {
    if (at === 0) return `Before the first record: ${number(told.opening)} on hand.`;
    const fact = facts[at - 1];
    const total = told.opening + onHand(rows[at]);
    const which = `Record ${number(at)} of ${number(facts.length)}`;
    if (fact.outcome !== "applied")
      return `${which}: ${fact.outcome}, so it changed nothing; ${number(total)} on hand.`;
    return `${which}: ${said(fact.type)} ${signed(fact.change)}, which makes ${number(total)}.`;
  }

  function line() {
    const steps = facts.map((fact, i) => ({
      time: Date.parse(fact.recorded_at),
      balance: told.opening + onHand(rows[i + 1]),
    }));
    const last = steps.at(-1).time;
    return stepLine(steps, told.opening, Math.max(last + 1000, Date.now()), stepAt ?? facts.length);
  }

  function table() {
    const at = stepAt ?? facts.length;
    const until = stepAt === null ? facts.length : Math.min(facts.length, Math.max(at, shownFacts));
    const first = Math.max(0, until - shownFacts);
    const shown = facts
      .slice(first, until)
      .map((fact, i) => [first + i + 1, fact])
      .reverse();
    return factsTable(
      { "": ["Recorded", "What"], n: ["Change", "Balance"], wide: ["Source and id", "Position"] },
      shown.map(([n, fact]) => factLine(n, fact, n === at && stepAt !== null, n > at)),
      first > 0
        ? h(
            "button",
            {
              type: "button",
              onclick: () => {
                shownFacts += SHOWN;
                shell.redraw();
              },
            },
            `Show ${Math.min(SHOWN, first)} older ones`,
          )
        : null,
    );
  }

  function factLine(n, fact, isHere, isLater) {
    const applied = fact.outcome === "applied";
    const late = fact.occurred_at && Date.parse(fact.recorded_at) - Date.parse(fact.occurred_at) > 3_600_000;
    const name = `${fact.source ?? "?"} / ${fact.id ?? "?"}`;
    const more = [
      fact.reason,
      fact.reference && `ref. ${fact.reference}`,
      fact.actor && `by ${fact.actor}`,
    ].filter(Boolean);
    return h(
      "tr",
      {
        key: fact.position,
        class: isHere ? "here" : isLater ? "later" : applied ? null : "dim",
        "aria-current": isHere ? "step" : null,
      },
      h(
        "td",
        { class: "when" },
        momentOf(fact.recorded_at),
        late ? [" ", h("span", { class: "tag" }, "late: of ", momentOf(fact.occurred_at))] : null,
      ),
      h(
        "td",
        {},
        said(fact.type),
        applied
          ? null
          : h(
              "span",
              { class: "tag" },
              fact.outcome === "repeated" ? `repeats ${fact.of}` : `${fact.outcome} ${fact.refused ?? ""}`,
            ),
        more.length ? h("small", {}, ` ${more.join(" · ")}`) : null,
        h("small", { class: "narrow id" }, name),
      ),
      h("td", { class: "n" }, applied ? signed(fact.change) : "–"),
      h("td", { class: "n" }, h("b", {}, number(told.opening + onHand(rows[n])))),
      h("td", { class: "id wide" }, name),
      h("td", { class: "id dim wide" }, fact.position),
    );
  }

  return { read, draw };
}
