// What stands in for the core where the driver on WebGPU is tested by itself, in Node and in browsers: it says what the
// lists of tests/gpu/commands.json say.

const KINDS = { create: 0, destroy: 1, upload: 2, pipeline: 3, dispatch: 4, copy: 5, clear: 6, release: 8, fetch: 9, take: 10, settle: 11 };
const ACCESS = { read: 0, write: 1, uniform: 2 };

/** A memory, into which words are laid. */
class Core {
  memory = new ArrayBuffer(1 << 16);
  failures = [];
  #end = 8;

  buffer() {
    return this.memory;
  }

  failed(isMemory, text) {
    this.failures.push(isMemory ? `memory: ${text}` : text);
  }

  lay(bytes) {
    const pointer = this.#end;
    new Uint8Array(this.memory).set(bytes, pointer);
    this.#end += (bytes.length + 7) & ~7;
    return pointer;
  }

  words([kind, ...fields]) {
    const number = KINDS[kind];
    switch (kind) {
      case "upload": {
        const data = new Uint8Array(Uint32Array.from(fields[2]).buffer);
        return [number, fields[0], fields[1], this.lay(data), data.length];
      }
      case "pipeline": {
        const text = new TextEncoder().encode(fields[2]);
        return [number, fields[0], this.lay(text), text.length, fields[1].length, ...fields[1].map((name) => ACCESS[name])];
      }
      case "dispatch":
        return [number, fields[0], ...fields[1], fields[2].length, ...fields[2].flat()];
      case "fetch":
        return [number, fields[0], fields[1].length, ...fields[1].flat()];
      default:
        return [number, ...fields.flat()];
    }
  }

  /** Has a driver execute commands; gives its answer. */
  execute(driver, ...commands) {
    const words = Uint32Array.from(commands.flatMap((command) => this.words(command)));
    return driver.execute(this.lay(new Uint8Array(words.buffer)), words.length);
  }

  /** Asks until the answer is not "pending". */
  async settled(driver, command) {
    for (;;) {
      const answer = this.execute(driver, command);
      if (answer !== 1) return answer;
      await driver.awaited;
    }
  }
}

/** What a list of commands comes to on a device of its own: the driver's answer, the words that were read, what failed. */
export async function outcome(Driver, gpu, { commands, read, words }) {
  const own = await (await gpu.requestAdapter()).requestDevice();
  const core = new Core();
  const driver = new Driver(own, core);
  const answer = core.execute(driver, ...commands);
  await core.settled(driver, ["settle"]);
  let found;
  if (read) {
    core.execute(driver, ["fetch", 0, read]);
    const room = core.lay(new Uint8Array(4 * words.length));
    await core.settled(driver, ["take", 0, room]);
    found = Array.from(new Uint32Array(core.memory, room, words.length));
  } else {
    // What only refuses a command is known after it.
    for (let turn = 0; turn < 100 && core.failures.length === 0; turn++) await new Promise((next) => setTimeout(next, 5));
  }
  driver.release();
  own.destroy();
  return { answer, words: found, failures: core.failures };
}
