// Where tokens are asked for: the visitor types one, and this tab keeps it until it is closed.

import { hasToken, useToken } from "./api.js";
import { h } from "./dom.js";
import { prose } from "./words.js";

const HINT =
  "It stays in this tab until you close it, and goes to this worker alone. The scope `read` shows stock, history, alerts and documents, `operate` the cluster and the audit, `dead-letters` what was refused.";

let complaint = "";

/** Ask for a token. `used`: called when there is one. */
export function tokenPanel(used, redraw) {
  function submit(event) {
    event.preventDefault();
    const field = event.target.elements.namedItem("token");
    const text = field.value.trim();
    if (text === "" || !useToken(text)) {
      complaint = "That is no token: it has letters, digits, - and _, and no spaces.";
      redraw();
      return;
    }
    complaint = "";
    field.value = "";
    used();
  }
  return h(
    "form",
    { class: "panel", key: "token", onsubmit: submit, autocomplete: "off" },
    h("label", { for: "token" }, hasToken() ? "Use another token" : "Token"),
    h(
      "div",
      { class: "fields" },
      h("input", {
        id: "token",
        name: "token",
        type: "password",
        autocomplete: "off",
        spellcheck: "false",
        "aria-describedby": "token-says",
      }),
      h("button", {}, "Use it"),
    ),
    h("p", { id: "token-says", class: complaint ? "warn" : "dim" }, complaint || prose(HINT)),
  );
}
