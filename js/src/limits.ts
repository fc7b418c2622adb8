import { shown } from "./convert.js";
import { failure } from "./errors.js";
import type { Handle, Instance } from "./instance.js";

/** What calls may spend. */
export interface Limits {
  /** Bytes that all calls together may hold at once, beside their inputs; 0 is no limit. */
  memory?: number | undefined;
  /** Seconds that each call may take, from its start; 0 is no limit. */
  seconds?: number | undefined;
}

/** Refuses limits that are none, with the error `argument`. */
export function checkLimits({ memory = 0, seconds = 0 }: Limits): void {
  if (Number.isInteger(memory) && memory >= 0 && typeof seconds === "number" && seconds >= 0) return;
  const whole = typeof memory === "number" && memory % 1 ? ", and memory is whole bytes" : "";
  const text = `a limit is 0 or more${whole}, not memory=${shown(memory)}, seconds=${shown(seconds)}`;
  throw failure("argument", text, { op: "Limits" });
}

/**
 * The core's limits; undefined where there are none.
 *
 * @throws CaudalError `argument`: a negative number, or none.
 */
export function limitsOf(instance: Instance, given: Limits): Handle | undefined {
  const { memory = 0, seconds = 0 } = given;
  checkLimits(given);
  if (memory === 0 && seconds === 0) return undefined;
  // An instance has no more than 32 bits of memory.
  return instance.begin().own("cdl_limits_free", "cdl_limits_new", Math.min(memory, 2 ** 32 - 1), seconds);
}
