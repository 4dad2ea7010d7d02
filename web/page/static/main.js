// The frame of the page: which view is shown, when it asks again, and what is said while the
// worker does not answer. Views only ask and draw: each has a `title`, a `step` that asks once and
// says when to ask again, `draw` and `hasData`; and `open`, `key` and `close` where it needs them.

import { Refused, Unreachable, ask, hasToken, useToken, whenHeard } from "./api.js";
import { alerts } from "./alerts.js";
import { audit } from "./audit.js";
import { board } from "./board.js";
import { calls } from "./calls.js";
import { cluster } from "./cluster.js";
import { documents } from "./documents.js";
import { h, show } from "./dom.js";
import { feed } from "./feed.js";
import { letters } from "./letters.js";
import { problemBox, readRemedies } from "./problems.js";
import { row } from "./row.js";
import { theme, themeButton } from "./theme.js";
import { tokenPanel } from "./token.js";
import { moment, outside } from "./words.js";

/** While the worker is gone it is asked so often, so that the page goes on within a moment. */
const GONE_MS = 1000;
/** What waiting does not change, such as a missing scope, is still asked again now and then. */
const REFUSED_MS = 15_000;
const TOGETHER_MS = 1000;
/** Workers come and go; whom to offer when this one is gone must be known before it is. */
const LEARN_MS = 30_000;
const VIEWS = { "": board, row, feed, alerts, documents, "dead-letters": letters, cluster, audit, calls };
const PARTS = { row: 2 };
const NAV = [
  ["#/", "Stock"],
  ["#/feed", "Feed"],
  ["#/alerts", "Alerts"],
  ["#/documents", "Documents"],
  ["#/dead-letters", "Dead letters"],
  ["#/cluster", "Cluster"],
  ["#/audit", "Audit"],
  ["#/calls", "Calls"],
];

const main = document.getElementById("main");
const workers = new Set(); // addresses that answers have named
let mayLearn = true; // until a token was refused for it
let view = null;
let place = { name: "", address: "" };
let running = new AbortController();
let wake = () => {};
let lastBoard = "#/";
let problem = null;
let nextAt = null; // performance.now() of the next try after a refusal
let goneSince = null; // Date.now() of the first try that got no answer
let lastAnswer = null;
let fault = null;
let saidAt = -Infinity;

const shell = {
  redraw,
  /** For those who hear the page. What is said within a moment of another thing follows it. */
  announce(text) {
    const said = document.getElementById("said");
    const now = performance.now();
    said.textContent = now - saidAt < TOGETHER_MS ? `${said.textContent} ${text}` : text;
    saidAt = now;
  },
  heardOf(urls) {
    for (const url of urls) workers.add(url);
  },
  go(hash) {
    location.hash = hash;
  },
  /** As `go`, without a step in the browser's history for each letter that is typed. */
  replace(hash) {
    if (location.hash !== hash) location.replace(hash);
    else restart();
  },
  lastBoard: () => lastBoard,
  wake: () => wake(),
  failed,
  get problem() {
    return problem;
  },
};

// ---- which view

function route() {
  const hash = location.hash || "#/";
  const [address, asked = ""] = split(hash.slice(1).replace(/^\//, ""), "?");
  const [name, ...rest] = address.split("/");
  let parts;
  try {
    parts = rest.map(decodeURIComponent);
  } catch {
    parts = [];
  }
  if (!(name in VIEWS) || parts.length !== (PARTS[name] ?? 0)) {
    shell.replace("#/");
    return;
  }
  const isFirst = view === null;
  const isSame = !isFirst && place.name === name && place.address === address;
  if (!isSame) {
    view?.close?.();
    view = VIEWS[name](shell);
  }
  place = { name, address };
  if (name === "") lastBoard = hash;
  view.open?.(parts, new URLSearchParams(asked));
  document.title = `${view.title()} · Onhand`;
  problem = null;
  fault = null;
  restart();
  if (!isSame && !isFirst) {
    window.scrollTo(0, 0);
    main.querySelector("h1")?.focus({ preventScroll: true });
  }
}

function split(text, at) {
  const i = text.indexOf(at);
  return i < 0 ? [text] : [text.slice(0, i), text.slice(i + 1)];
}

// ---- when it asks

function restart() {
  running.abort();
  running = new AbortController();
  redraw();
  keepAsking(view, running.signal);
}

async function keepAsking(mine, signal) {
  while (!signal.aborted) {
    let waitMs;
    try {
      waitMs = await mine.step(signal);
      if (signal.aborted) return;
      problem = null;
    } catch (error) {
      if (signal.aborted) return;
      waitMs = failed(error);
    }
    nextAt = performance.now() + waitMs;
    redraw();
    await pause(waitMs, signal);
  }
}

/** Until the time is over and somebody looks; a hidden page asks nothing. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", looked);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const looked = () => {
      if (!document.hidden) done();
    };
    const timer = setTimeout(() => {
      if (document.hidden) document.addEventListener("visibilitychange", looked);
      else done();
    }, ms);
    signal.addEventListener("abort", done);
    wake = done;
  });
}

function answered() {
  lastAnswer = Date.now();
  if (goneSince !== null) shell.announce("The worker answers again.");
  goneSince = null;
}

/** Who else there is. Where that is not for this visitor, answers still name some. */
async function learn() {
  if (document.hidden || goneSince !== null || !mayLearn) return;
  try {
    const { body } = await ask("v1/cluster");
    workers.clear();
    shell.heardOf(body.workers.filter((one) => one.alive).map((one) => one.url));
  } catch (error) {
    if (error instanceof Refused) mayLearn = ![401, 403].includes(error.status);
    else if (!(error instanceof Unreachable)) throw error;
  }
}

/** What to do about it: ms until the next try. */
function failed(error) {
  if (error instanceof Unreachable) {
    goneSince ??= Date.now();
    return GONE_MS;
  }
  if (error instanceof Refused) {
    if (problem?.kind !== error.kind) shell.announce(`${error.title}. ${error.message}`);
    problem = error;
    return error.retryS > 0 ? error.retryS * 1000 : REFUSED_MS;
  }
  console.error(error);
  fault = error;
  return REFUSED_MS;
}

// ---- what is seen

function redraw() {
  main.classList.toggle("old", goneSince !== null);
  show(document.getElementById("head"), head());
  show(document.getElementById("alerts"), gone(), broken());
  show(
    main,
    refusal(),
    h("div", { key: `${place.name} ${place.address}`, class: `view ${place.name || "board"}` }, view.draw()),
  );
  show(document.getElementById("foot"), foot());
}

function head() {
  const isGone = goneSince !== null;
  return [
    h("a", { class: "name", href: "#/" }, "Onhand"),
    h(
      "nav",
      { "aria-label": "Views" },
      NAV.map(([href, text]) => {
        const name = href.slice(2);
        return h(
          "a",
          {
            href,
            "data-name": text,
            "aria-current":
              name === place.name ? "page" : name === "" && place.name === "row" ? "true" : null,
          },
          text,
        );
      }),
    ),
    h(
      "p",
      { class: isGone ? "state bad" : "state" },
      h("span", { "aria-hidden": "true" }, isGone ? "✕" : "●"),
      " ",
      h("span", { class: "id" }, location.host),
      isGone ? " does not answer" : "",
    ),
    hasToken() ? h("button", { type: "button", onclick: forget }, "Forget the token") : null,
    themeButton(redraw),
  ];
}

function tokenTaken() {
  restart();
  mayLearn = true;
  learn();
}

function forget() {
  useToken("");
  // What the token had shown goes with it.
  location.reload();
}

function gone() {
  if (goneSince === null) return null;
  const others = [...workers].filter((url) => url.replace(/\/$/, "") !== location.origin);
  return h(
    "section",
    { role: "alert", class: "problem", key: "gone" },
    h("h2", {}, `This worker has not answered since ${moment(goneSince)}`),
    h(
      "p",
      {},
      lastAnswer === null
        ? "It has not answered yet. "
        : `What is below is from ${moment(lastAnswer)} and may have changed. `,
      "It is asked again every second, and this page goes on by itself when it is back.",
    ),
    others.length
      ? h(
          "p",
          {},
          "Any other worker shows the same: ",
          others.map((url, i) => [
            i ? ", " : "",
            outside(url.replace(/\/$/, "") + "/", { key: url, "data-worker": true }),
          ]),
          hasToken() ? ". Each asks for the token again." : ".",
        )
      : h("p", {}, "No answer has named another worker yet."),
  );
}

function broken() {
  if (fault === null) return null;
  return h(
    "section",
    { role: "alert", class: "problem", key: "fault" },
    h("h2", {}, "This page has a fault"),
    h(
      "p",
      {},
      `${fault.message ?? fault}. Please report it with what the browser's console says. The stock is not touched: this page only reads.`,
    ),
  );
}

function refusal() {
  if (problem === null) return null;
  const wantsToken = problem.status === 401 || problem.kind === "missing-scope";
  const old = view.hasData() && lastAnswer !== null ? "What is below is from before." : "";
  return [
    problemBox(problem, nextAt === null ? null : Math.max(0, nextAt - performance.now()), old),
    wantsToken ? tokenPanel(tokenTaken, redraw) : null,
  ];
}

function foot() {
  return [
    h(
      "p",
      { class: "dim" },
      "This page reads the public calls of this worker every few seconds, and writes nothing. ",
      h("kbd", {}, "/"),
      " filter · ",
      h("kbd", {}, "↑"),
      h("kbd", {}, "↓"),
      " rows · ",
      h("kbd", {}, "Esc"),
      " back",
    ),
  ];
}

// ---- keys, and the start

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
  if (!isTyping || event.key === "Escape") view.key?.(event);
}

theme();
whenHeard(answered);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // an address would be taken for a view
  main.focus();
});
window.addEventListener("hashchange", route);
window.addEventListener("keydown", pressed);
// Ages grow, and what is asked again soon comes nearer.
setInterval(() => {
  if (!document.hidden) redraw();
}, 1000);
readRemedies().then(redraw);
route();
learn();
setInterval(learn, LEARN_MS);
