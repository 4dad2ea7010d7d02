// The one way to the worker: its public calls, with the visitor's token if there is one.

const TOKEN = "onhand-token";
/** A worker that says nothing for so long counts as gone, also one that is frozen. */
const PATIENCE_MS = 4000;

/** The worker answered, and said no: an RFC 9457 problem. */
export class Refused extends Error {
  constructor(status, body, retryS) {
    super(body.detail ?? `The answer was ${status}.`);
    Object.assign(this, { status, body, retryS });
    this.kind = String(body.type ?? "").replace("/problems/", "");
    this.title = body.title ?? `Status ${status}`;
  }
}

/** No answer came, or none that this service gives. */
export class Unreachable extends Error {}

let token = read();
let heard = () => {};

/** Have this called whenever the worker says anything, be it no. */
export function whenHeard(listener) {
  heard = listener;
}

function read() {
  try {
    return sessionStorage.getItem(TOKEN) ?? "";
  } catch {
    return ""; // a browser may forbid it: then it is kept in memory alone
  }
}

export const hasToken = () => token !== "";

/** Keep it until the tab is closed; an empty one forgets it. False where it can be none. */
export function useToken(text) {
  if (!/^[\x21-\x7e]*$/.test(text)) return false;
  token = text;
  try {
    if (text === "") sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, text);
  } catch {
    // As above.
  }
  return true;
}

/** Parts of a path, each encoded whole: a `/` in a SKU is %2F. */
export const path = (...parts) => parts.map(encodeURIComponent).join("/");

/**
 * GET it.
 *
 * @param {string} where path below the page's own, without the first slash.
 * @param {object} query parameters; those that are empty are left out.
 * @param {object} more signal: ends the wait; patienceMs: how long it may take.
 * @returns {Promise<{body: object, date: number, at: number}>} date: of the answer by the
 *   worker's clock, ms since the epoch, in whole seconds; at: when it came, as performance.now().
 * @throws {Refused|Unreachable} or AbortError, where the signal ended it.
 */
export async function ask(where, query = {}, { signal, patienceMs = PATIENCE_MS } = {}) {
  const url = new URL(where, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== "" && value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  url.hash = "";
  const headers = { Accept: "application/json" };
  if (token !== "") headers.Authorization = `Bearer ${token}`;
  const patience = AbortSignal.timeout(patienceMs);
  const either = signal ? AbortSignal.any([signal, patience]) : patience;
  let response;
  let text;
  try {
    response = await fetch(url, { headers, cache: "no-store", redirect: "error", signal: either });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(patience.aborted ? "It did not answer in time." : "It is not there.");
  }
  const at = performance.now();
  const date = Date.parse(response.headers.get("Date") ?? "") || Date.now();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    throw new Unreachable(`What answered (${response.status}) is no Onhand.`);
  }
  heard();
  if (response.ok) return { body, date, at };
  const retryS = Number(response.headers.get("Retry-After")) || 0;
  throw new Refused(response.status, body ?? {}, retryS);
}
