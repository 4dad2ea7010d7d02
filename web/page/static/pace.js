// How soon a question is asked again: what costs the worker much is asked less often.

/** A pause is so many times as long as what is paused after took. */
const TIMES = 4;

/**
 * Made anew for each question, and called with what each answer to it took.
 *
 * The quicker of the last two counts. A single slow answer is no work: behind a kill it waited for
 * somebody who is gone, and a pause of four times that would show what is new a second later.
 *
 * @param {number} everyMs of a question that costs little.
 * @returns {(tookMs: number) => number} ms until it is asked again.
 */
export function pace(everyMs) {
  let beforeMs = Infinity;
  return (tookMs) => {
    const costMs = Math.min(beforeMs, tookMs);
    beforeMs = tookMs;
    return Math.max(everyMs, TIMES * costMs);
  };
}
