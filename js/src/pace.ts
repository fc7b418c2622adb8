/** Keeps the event loop turning: runs give way to it after every few milliseconds of work. */

import { PIECE_SECONDS, nextTurn } from "./platform.js";

let busy = 0;

/** Does a piece of work and counts the time that it takes. */
export function timed<T>(work: () => T): T {
  const start = performance.now();
  try {
    return work();
  } finally {
    busy += performance.now() - start;
  }
}

/** Whether the event loop has waited for a whole piece. */
export function isDue(): boolean {
  return busy >= PIECE_SECONDS * 1000;
}

/** Lets the event loop turn. */
export function giveWay(): Promise<void> {
  busy = 0;
  return nextTurn();
}

/** Waits for something, but not beyond an abort or a time on the clock of `performance.now`; whether it has come. */
export async function until(
  awaited: Promise<void>,
  signal: AbortSignal | undefined,
  deadline: number,
): Promise<boolean> {
  let end!: () => void;
  const ended = new Promise<false>((resolve) => (end = () => resolve(false)));
  const timer = deadline === Infinity ? undefined : setTimeout(end, Math.max(deadline - performance.now(), 0) + 1);
  signal?.addEventListener("abort", end, { once: true });
  try {
    return await Promise.race([awaited.then(() => true), ended]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }
}
