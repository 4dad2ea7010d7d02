// All calls of this worker, for those who write a program against it.

import { ask, hasToken } from "./api.js";
import { h } from "./dom.js";
import { prose } from "./words.js";

const EVERY_MS = 60_000;

export function calls() {
  let found = null;

  async function step(signal) {
    found = (await ask("", {}, { signal })).body;
    return EVERY_MS;
  }

  /** A browser sends no token with a link: where there are tokens, a path is only text. */
  function linked(path) {
    return hasToken() ? h("code", {}, path) : h("a", { href: path.slice(1) }, path);
  }

  function where({ method, path }) {
    const isOpen = method === "GET" && !path.includes("{") && !hasToken();
    return h("code", {}, `${method} `, isOpen ? linked(path) : path);
  }

  function draw() {
    if (found === null) return [h("div", { class: "title" }, h("h1", { tabindex: "-1" }, "Calls"))];
    return [
      h(
        "div",
        { class: "title" },
        h("h1", { tabindex: "-1" }, "Calls"),
        h(
          "p",
          { class: "dim" },
          "Everything on this page comes from these. All about them, and about the topics, is at ",
          linked(found.docs),
          "; for programs in ",
          linked(found.openapi),
          " and ",
          linked(found.asyncapi),
          ".",
        ),
      ),
      h(
        "dl",
        { class: "calls", key: "calls" },
        found.calls.map((one) => [
          h("dt", { key: `t ${one.method} ${one.path}` }, where(one)),
          h("dd", { key: `d ${one.method} ${one.path}` }, prose(one.summary)),
        ]),
      ),
    ];
  }

  return { title: () => "Calls", step, draw, hasData: () => found !== null };
}
