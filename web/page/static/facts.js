// The table of facts, newest first, of the feed and of one row; and of rows as they change.

import { h } from "./dom.js";

/** `columns`: names by their class, from left to right. `below`: what stands behind the table. */
export const factsTable = (columns, lines, below, what = "Facts") =>
  h(
    "div",
    { class: "scroll", key: "facts", tabindex: "0", role: "region", "aria-label": `${what}, newest first` },
    h(
      "table",
      { class: "facts" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          Object.entries(columns).map(([kind, names]) =>
            names.map((name) => h("th", { scope: "col", class: kind || null }, name)),
          ),
        ),
      ),
      h("tbody", {}, lines),
    ),
    below,
  );
