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
  if (memory >= 0 && seconds >= 0) return;
  throw failure("argument", `a limit is 0 or more, not memory=${memory}, seconds=${seconds}`, { op: "limits" });
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
  const bytes = Math.min(Math.ceil(memory), 2 ** 32 - 1);
  return instance.begin().own("cdl_limits_free", "cdl_limits_new", bytes, seconds);
}
