// The demo's panel above the page: a sum that must stay whole, and a button per worker that kills
// it. It asks the demo, not the workers: `sent` is the producer's own count.

import { h, show } from "../page/dom.js";
import { count, number, outside } from "../page/words.js";

const EVERY_MS = 400;
const PATIENCE_MS = 4000;
const SUM = [
  ["sent", "Sent"],
  ["counted", "Counted"],
  ["repeated", "Repeated"],
  ["refused", "Refused"],
  ["in_flight", "In flight"],
];
const STATES = {
  answers: ["●", "good", "answers"],
  starts: ["◔", "warn", "starts"],
  dead: ["✕", "bad", "is dead"],
};

const section = document.createElement("section");
section.id = "demo";
section.setAttribute("aria-label", "The demo");
document.getElementById("head").after(section);

let now = null;
let hasEnded = false;
let complaint = "";
let said = "";

async function look() {
  const before = now;
  try {
    const response = await fetch("demo/state", {
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    if (!response.ok) throw new Error(`${response.status}`);
    now = await response.json();
    hasEnded = false;
    if (before !== null) changes(before.workers, now.workers);
  } catch {
    hasEnded = true; // or it is away for a moment: it is asked again
  }
  draw();
}

/** What is said to those who hear the page; the numbers never are. */
function changes(before, after) {
  after.forEach((one, i) => {
    const was = before[i]?.state;
    if (was === undefined || was === one.state) return;
    if (one.state === "dead") said = `Worker ${one.name} is dead.`;
    else if (one.state === "answers") said = `Worker ${one.name} answers again.`;
  });
}

async function kill(name) {
  complaint = "";
  try {
    const response = await fetch(`demo/kill/${encodeURIComponent(name)}`, { method: "POST" });
    if (!response.ok) complaint = await response.text();
  } catch {
    complaint = "The demo does not answer.";
  }
  if (complaint) said = complaint;
  await look();
}

// ---- what is seen

function draw() {
  section.className = hasEnded ? "ended" : "";
  show(
    section,
    h("h2", { class: "unseen" }, "The demo"),
    now ? [sum(now.meter), verdict(now.meter), h("ul", {}, now.workers.map(worker))] : null,
    h("p", { class: complaint ? "warn" : "dim" }, hint()),
    h("div", { class: "unseen", role: "status", "aria-live": "polite" }, said),
  );
}

function sum(meter) {
  // What others appended was sent, too.
  const shown = { ...meter, sent: meter.sent + meter.others };
  return h(
    "dl",
    {},
    SUM.map(([name, text]) =>
      h("div", { class: name }, h("dt", {}, text), h("dd", {}, number(shown[name]))),
    ),
    h(
      "div",
      { class: meter.drift === 0 ? "drift good" : "drift bad" },
      h("dt", {}, "Drift"),
      h("dd", {}, number(meter.drift)),
    ),
  );
}

function verdict({ drift, others }) {
  const found =
    drift > 0
      ? `✕ ${count(drift, "record")} acknowledged and without a fate: lost.`
      : drift < 0
        ? `✕ ${count(-drift, "record")} more counted than sent.`
        : "✓ Nothing lost, nothing counted twice.";
  return h(
    "p",
    { class: drift === 0 ? "good" : "bad" },
    found,
    others
      ? h("span", { class: "dim" }, ` ${number(others)} of those sent are not the demo's: found in the log.`)
      : null,
  );
}

function worker(one) {
  const [glyph, mood, word] = STATES[one.state];
  const may = now.open && !hasEnded && one.state !== "dead";
  return h(
    "li",
    { key: one.name },
    h(
      "button",
      {
        type: "button",
        // Not `disabled`, which would take the focus from whoever has just pressed it.
        "aria-disabled": may ? null : "true",
        onclick: () => (may ? kill(one.name) : null),
      },
      `Kill worker ${one.name}`,
    ),
    h(
      "p",
      {},
      h("span", { class: mood }, h("span", { "aria-hidden": "true" }, `${glyph} `), word),
      one.back_in_s === null ? null : `, started again in ${Math.ceil(one.back_in_s)} s`,
      h("span", { class: "dim" }, ` · ${one.state === "dead" ? "was " : ""}pid ${one.pid} · `),
      outside(one.url, { class: "id" }),
    ),
  );
}

function hint() {
  if (hasEnded) return "The demo does not answer: what is above is its last word.";
  if (complaint) return complaint;
  if (now === null) return "Asking the demo …";
  return now.open
    ? "A kill is kill -9: no chance to say goodbye. Traffic goes on, another worker takes over, and the dead one is started again."
    : "The demo first kills a worker itself and compares every row with the log. Then the buttons are yours.";
}

async function keepLooking() {
  for (;;) {
    if (!document.hidden) await look();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

draw();
keepLooking();
