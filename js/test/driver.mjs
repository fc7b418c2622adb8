// The driver on WebGPU by itself, told what the lists of tests/gpu/commands.json say.
import { buildSync } from "esbuild";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("../src/driver.ts", import.meta.url));
const bundle = buildSync({ entryPoints: [source], bundle: true, format: "esm", write: false });
export const { Driver } = await import(`data:text/javascript,${encodeURIComponent(bundle.outputFiles[0].text)}`);

const KINDS = { create: 0, destroy: 1, upload: 2, pipeline: 3, dispatch: 4, copy: 5, clear: 6, release: 8, fetch: 9, take: 10, settle: 11 };
const ACCESS = { read: 0, write: 1, uniform: 2 };

/** What stands in for the core: a memory, into which words are laid. */
export class Core {
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
