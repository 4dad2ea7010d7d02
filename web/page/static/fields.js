// The filters of a view: each stands in the address under its own name.

import { h } from "./dom.js";

/** A box to type in. `query`: what the address says now. */
export const field = (query, name, label, more) =>
  labelled(
    name,
    label,
    h("input", {
      id: `by-${name}`,
      name,
      type: "search",
      value: query.get(name) ?? "",
      autocomplete: "off",
      spellcheck: "false",
      ...more,
    }),
  );

/** One of some values, or none of them. `shown`: a value in words; `none`: what that one is called. */
export const choice = (query, name, label, values, shown = (value) => value, none = "any") =>
  labelled(
    name,
    label,
    h(
      "select",
      { id: `by-${name}`, name, value: query.get(name) ?? "" },
      h("option", { value: "" }, none),
      values.map((value) => h("option", { value, key: value }, shown(value))),
    ),
  );

/** The form of a view: what is chosen stands in the address at once.
 *
 * `names`: of its controls, and in the address. `mend`: takes away what does not go together.
 */
export function filters(shell, path, names, controls, { mend = () => {}, behind = null } = {}) {
  const change = (event) => {
    event.preventDefault();
    const asked = new URLSearchParams();
    for (const name of names) {
      const text = event.currentTarget.elements.namedItem(name)?.value.trim();
      if (text) asked.set(name, text);
    }
    mend(asked);
    shell.replace(`#/${path}${asked.size ? `?${asked}` : ""}`);
  };
  return h(
    "form",
    { class: "fields", role: "search", key: "filters", onchange: change, onsubmit: change },
    controls,
    h("button", { class: "unseen" }, "Show"),
    behind,
  );
}

const labelled = (name, label, control) => h("div", {}, h("label", { for: `by-${name}` }, label), control);

/** The key / goes to the box for SKUs. */
export function keyOfSkus(event) {
  if (event.key !== "/") return;
  event.preventDefault();
  document.getElementById("by-sku")?.select();
}
