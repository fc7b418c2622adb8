/** Whose turn it is to write the state of a session: one after the other, in the order of their calls. */
export class Turns {
  #taken = false;
  readonly #waiting: (() => void)[] = [];

  /** Takes the turn at once, if it is free. */
  tryTake(): boolean {
    const free = !this.#taken;
    this.#taken = true;
    return free;
  }

  /** Waits for the turn; an abort ends the wait with the signal's reason. */
  take(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1);
        reject(signal!.reason);
      };
      const turn = () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.push(turn);
    });
  }

  /** Hands the turn on. */
  give(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#taken = false;
  }
}
