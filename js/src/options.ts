/** The options of calls, which JavaScript itself does not check. */

import { described } from "./convert.js";
import { failure } from "./errors.js";
import { checkLimits } from "./limits.js";

const LIMITS = ["memory", "seconds"];
const SESSION = ["device", "strict", "debug", "worker", ...LIMITS];
const SOURCE = ["signal", "onProgress"];

/** The names of the options that each call takes. */
const KNOWN = {
  load: [...SESSION, ...SOURCE],
  open: [...LIMITS, ...SOURCE],
  restore: ["strict"],
  run: ["signal", ...LIMITS],
  runSync: LIMITS,
  session: SESSION,
  text: ["graph"],
} satisfies Record<string, readonly string[]>;

/** Refuses options that a call has not, and limits that are none, with the error `argument`. */
export function checkOptions(op: keyof typeof KNOWN, given: object | undefined): void {
  if (given === undefined) return;
  const known: readonly string[] = KNOWN[op];
  if (typeof given !== "object" || given === null) {
    const text = `${described(given)} is no object of options; there are: ${known.join(", ")}`;
    throw failure("argument", text, { op, argument: "options" });
  }
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    throw failure("argument", `there is no option '${name}'; there are: ${known.join(", ")}`, { op, argument: name });
  }
  checkLimits(given);
}
