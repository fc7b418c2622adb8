// Errors in plain words.

import { CaudalError } from "./caudal/index.js";
import { Unusable } from "./classifier.js";

/** What an error means to whoever uses the page, by the code that every language gives. */
const MEANINGS = /** @type {Record<string, string>} */ ({
  format: "It is not a caudal file, or it is damaged.",
  newer: "It was made by a newer version of caudal.",
  memory: "It needs more memory than the page allows.",
  io: "It could not be fetched.",
  device: "The GPU was lost or gave up. The program is open again: try once more.",
  closed: "The program has ended; open the file again.",
});

/**
 * One or two sentences about an error, with the library's own in brackets.
 * @param {string} what happened or did not
 * @param {unknown} error
 */
export function explain(what, error) {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Unusable) return `${what}. ${message}`;
  const meaning = error instanceof CaudalError ? MEANINGS[error.code] : undefined;
  return meaning ? `${what}. ${meaning} (${message})` : `${what}: ${message}`;
}
