// The cluster as this worker has heard of it: who owns what, who stands by, how far each is.

import { Refused, ask } from "./api.js";
import { h } from "./dom.js";
import { field, filters, keyOfSkus } from "./fields.js";
import { OLD_MS, age, count, momentOf, number, outside, prose, span } from "./words.js";
import { partitionOf, whose } from "./whose.js";

const EVERY_MS = 1000;
/** The record of versions changes a few times a year, and warnings of topics seldom. */
const SLOW_EVERY_MS = 5000;
const MAX_MOVES = 12;
const STATES = {
  active: ["●", "owner"],
  standby: ["○", "standby"],
  former: ["◐", "former owner"],
  loading: ["◔", "loading"],
  stopped: ["✕", "stands still"],
  none: ["·", "not here"],
};

export function cluster(shell) {
  let query = new URLSearchParams();
  let now = null;
  let answer = null;
  let upgrade = null;
  let warnings = [];
  let askedSlow = -Infinity;
  let moves = [];

  async function step(signal) {
    answer = await ask("v1/cluster", {}, { signal });
    noteMoves(now, answer.body);
    now = answer.body;
    shell.heardOf(now.workers.filter((one) => one.alive).map((one) => one.url));
    if (performance.now() - askedSlow > SLOW_EVERY_MS) await readSlow(signal);
    return EVERY_MS;
  }

  async function readSlow(signal) {
    askedSlow = performance.now();
    upgrade = (await ask("v1/upgrade", {}, { signal })).body;
    try {
      warnings = (await ask("ready", {}, { signal })).body.warnings;
    } catch (problem) {
      if (!(problem instanceof Refused)) throw problem;
      warnings = [problem.message];
    }
  }

  /** The call tells how it is: what moved is what differs from how it was a second ago. */
  function noteMoves(before, after) {
    if (before === null) return;
    const groups = new Map();
    after.partitions.forEach(({ partition, active }, i) => {
      const [was, is] = [before.partitions[i]?.active?.worker ?? "nobody", active?.worker ?? "nobody"];
      if (was !== is) groups.set(`${was} → ${is}`, [...(groups.get(`${was} → ${is}`) ?? []), partition]);
    });
    const found = [...groups].map(([way, partitions]) => ({ at: Date.now(), way, partitions }));
    if (found.length === 0) return;
    moves = [...found, ...moves].slice(0, MAX_MOVES);
    shell.announce(found.map(said).join(" "));
  }

  const said = ({ way, partitions }) =>
    `${partitions.length > 1 ? "Partitions" : "Partition"} ${partitions.join(", ")}: ${way.replace("→", "to")}.`;

  function draw() {
    return [
      h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Cluster"), now ? whole() : null),
      warnings.length
        ? h(
            "section",
            { class: "problem", key: "warnings" },
            warnings.map((text) => h("p", {}, prose(text))),
          )
        : null,
      now ? [workers(), legend(), answers(), moved(), partitions()] : null,
      upgrade ? versions() : null,
    ];
  }

  function whole() {
    const owned = now.partitions.filter((one) => one.active).length;
    const all = now.partitions.length;
    const lag = now.partitions.reduce((n, one) => n + (one.active?.lag_events ?? 0), 0);
    const alive = now.workers.filter((one) => one.alive).length;
    return h(
      "p",
      { class: owned === all ? "freshness calm" : "freshness warn" },
      h("span", { "aria-hidden": "true" }, owned === all ? "●" : "◐"),
      ` ${number(owned)} of ${count(all, "partition")} have an owner · ${count(alive, "worker")} alive · ${lag ? `at most ${count(lag, "fact")}` : "nothing"} left to count · as this worker has heard by `,
      momentOf(answer.date),
    );
  }

  // ---- workers

  function workers() {
    const held = holdings(now);
    return h(
      "section",
      { key: "workers" },
      h("h2", {}, "Workers"),
      h(
        "ul",
        { class: "workers" },
        now.workers.map((one) => worker(one, held.get(one.url) ?? new Map())),
      ),
    );
  }

  function worker(one, held) {
    const heard = one.this
      ? "this worker"
      : one.alive
        ? `heard ${span(one.silent_s * 1000)} ago`
        : `✕ silent for ${span(one.silent_s * 1000)}`;
    return h(
      "li",
      { key: one.url, class: one.alive ? null : "gone" },
      h(
        "p",
        {},
        one.this ? h("b", { class: "id" }, one.url) : outside(one.url, { class: "id" }),
        h("span", { class: one.alive ? "dim" : "bad" }, ` ${heard}`),
        h(
          "span",
          { class: "dim" },
          ` · version ${one.version} · build ${one.build}`,
          one.alive ? ` · ${one.state} · owns ${one.active}, stands by for ${one.standby}` : null,
        ),
      ),
      h(
        "ol",
        { class: "cells" },
        now.partitions.map(({ partition }) => cell(partition, held.get(partition) ?? "none")),
      ),
    );
  }

  function cell(partition, state) {
    const [glyph, word] = STATES[state];
    return h(
      "li",
      { class: state, title: `partition ${partition}: ${word}` },
      h("small", { "aria-hidden": "true" }, partition),
      h("span", { "aria-hidden": "true" }, glyph),
      state === "none" ? null : h("span", { class: "unseen" }, `partition ${partition}: ${word}`),
    );
  }

  function legend() {
    return h(
      "p",
      { class: "dim legend", key: "legend", "aria-hidden": "true" },
      Object.entries(STATES)
        .filter(([state]) => state !== "none")
        .map(([, [glyph, word]]) => h("span", {}, `${glyph} ${word} `)),
    );
  }

  /** Of the SKU that was asked for; null where none was. */
  function asked() {
    const sku = query.get("sku");
    return sku ? now.partitions.at(partitionOf(sku, now.partitions.length)) : null;
  }

  function answers() {
    return h(
      "section",
      { key: "answers" },
      h("h2", {}, "Who answers for a SKU"),
      filters(shell, "cluster", ["sku"], [field(query, "sku", "SKU")]),
      asked() ? whose(query.get("sku"), asked()) : null,
    );
  }

  function moved() {
    return h(
      "section",
      { key: "moves" },
      h("h2", {}, "Moves since this view was opened"),
      moves.length === 0 ? h("p", { class: "dim" }, "No partition has changed its owner.") : null,
      h(
        "ul",
        { class: "plain" },
        moves.map((one) =>
          h(
            "li",
            { key: `${one.at} ${one.way}` },
            momentOf(one.at),
            " ",
            h("span", { class: "id" }, one.way),
            ` · ${one.partitions.length > 1 ? "partitions" : "partition"} `,
            h("b", {}, one.partitions.join(" ")),
          ),
        ),
      ),
    );
  }

  // ---- partitions

  function partitions() {
    return h(
      "section",
      { key: "partitions" },
      h("h2", {}, "Partitions"),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "region", "aria-label": "Partitions" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th", { scope: "col", class: "n" }, "#"),
              ["Owner", "Behind", "Age", "Standbys", "Not yet answering"].map((name) =>
                h("th", { scope: "col" }, name),
              ),
            ),
          ),
          h("tbody", {}, now.partitions.map(partitionLine)),
        ),
      ),
    );
  }

  function partitionLine({ partition, active, standbys, loading }) {
    return h(
      "tr",
      { key: String(partition), class: active ? (partition === asked()?.partition ? "here" : null) : "lost" },
      h("th", { scope: "row", class: "n" }, partition),
      h("td", { class: "id" }, active?.worker ?? h("span", { class: "bad" }, "✕ nobody")),
      h("td", {}, active ? behind(active) : null),
      h("td", {}, active ? ageOf(active) : null),
      h(
        "td",
        {},
        standbys.map((one) =>
          h(
            "div",
            {},
            h("span", { class: "id" }, one.worker),
            ` ${one.role === "standby" ? "" : `${one.role} owner, `}`,
            behind(one),
            h("span", { class: "dim" }, " behind, "),
            ageOf(one),
          ),
        ),
      ),
      h(
        "td",
        {},
        loading.map((one) =>
          h(
            "div",
            {},
            h("span", { class: "id" }, one.worker),
            ` ${one.stopped_because ? "✕ stands still" : one.state} `,
            one.restore
              ? [
                  h("progress", {
                    max: Math.max(1, one.restore.total),
                    value: one.restore.done,
                    "aria-label": `restore of partition ${partition}`,
                  }),
                  ` ${number(one.restore.done)} of ${number(one.restore.total)}`,
                ]
              : null,
            one.stopped_because ? h("p", { class: "bad" }, one.stopped_because) : null,
          ),
        ),
      ),
    );
  }

  function behind(holder) {
    const held = (holder.held_up ?? []).map((up) =>
      h(
        "p",
        { class: "warn" },
        `held up at ${up.position} by ${up.cause === "transaction" ? "somebody's open transaction" : "what nobody can read"} for ${span(age(up.since, answer))}`,
      ),
    );
    return [
      h(
        "span",
        { class: holder.lag_events ? null : "dim" },
        holder.lag_events ? `≤ ${number(holder.lag_events)}` : "nothing",
      ),
      held,
      holder.stopped_because ? h("p", { class: "bad" }, holder.stopped_because) : null,
    ];
  }

  function ageOf(holder) {
    const old = age(holder.as_of, answer);
    return h(
      "span",
      { class: old > OLD_MS ? "warn" : "dim" },
      span(old),
      old > OLD_MS ? " without Kafka" : null,
    );
  }

  // ---- versions

  function versions() {
    const last = upgrade.records.at(-1)?.record;
    if (!last) return null;
    const named = [
      ["active", last.active],
      ["staged", last.staged],
      ["previous", last.previous],
    ].filter(([, n]) => n);
    return h(
      "section",
      { key: "versions" },
      h("h2", {}, "Versions"),
      h(
        "ul",
        { class: "plain" },
        named.map(([state, n]) =>
          h(
            "li",
            {},
            h("b", {}, `Version ${n}`),
            ` is ${state}`,
            last.versions?.[n] ? `, by rules ${last.versions[n].rules}` : null,
            n === upgrade.version ? " · this worker's" : null,
          ),
        ),
      ),
      h(
        "details",
        {},
        h("summary", {}, `The record, ${count(upgrade.records.length, "entry", "entries")}`),
        h(
          "ol",
          { class: "plain", reversed: true },
          upgrade.records
            .toReversed()
            .map(({ offset, recorded_ms, record }) =>
              h(
                "li",
                { key: String(offset) },
                momentOf(recorded_ms),
                ` epoch ${record.epoch}: ${record.change}, version ${record.active} active`,
                record.by ? h("span", { class: "dim" }, ` · ${record.by}`) : null,
                record.note ? ` · ${record.note}` : null,
              ),
            ),
        ),
      ),
    );
  }

  return {
    title: () => "Cluster",
    open(_, wish) {
      query = wish;
    },
    step,
    draw,
    key: keyOfSkus,
    hasData: () => now !== null,
  };
}

/** By worker, what it is for each partition. */
function holdings({ partitions }) {
  const held = new Map();
  const put = (url, partition, state) => {
    if (!held.has(url)) held.set(url, new Map());
    held.get(url).set(partition, state);
  };
  for (const { partition, active, standbys, loading } of partitions) {
    for (const one of loading) put(one.worker, partition, one.stopped_because ? "stopped" : "loading");
    for (const one of standbys) put(one.worker, partition, one.role === "standby" ? "standby" : "former");
    if (active) put(active.worker, partition, active.stopped_because ? "stopped" : "active");
  }
  return held;
}
