// Light, dark, or as the device has it; remembered in this browser.

import { h } from "./dom.js";

const KEY = "onhand-theme";
const NEXT = { "": "light", light: "dark", dark: "" };
const SAID = { "": "as the device", light: "light", dark: "dark" };

const kept = () => {
  try {
    return localStorage.getItem(KEY) ?? "";
  } catch {
    return "";
  }
};
let chosen = kept() in NEXT ? kept() : "";

/** Put it on the document. */
export function theme() {
  document.documentElement.dataset.theme = chosen;
}

/** One button that goes round. */
export function themeButton(redraw) {
  return h(
    "button",
    {
      type: "button",
      class: "theme",
      title: `Colours: ${SAID[chosen]}`,
      "aria-label": `Colours: ${SAID[chosen]}. Change them.`,
      onclick() {
        chosen = NEXT[chosen];
        try {
          localStorage.setItem(KEY, chosen);
        } catch {
          // Then it holds until the page is closed.
        }
        theme();
        redraw();
      },
    },
    { "": "◐", light: "○", dark: "●" }[chosen],
  );
}
