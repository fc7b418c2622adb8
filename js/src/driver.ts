/**
 * The driver on WebGPU: executes the commands of the core. `core/src/gpu/host.rs` has their words.
 *
 * Whether a buffer or a pipeline can be made is known only later: until then the core is told to wait before it commits
 * what a run made. What is found wrong with any command is told to the core, whose next call fails with it.
 */

import { COMPUTE, type GPUBuffer, type GPUCommandEncoder, type GPUComputePass, type GPUDevice, type GPUObject } from "./webgpu.js";
import { type GPUShaderModule, MAP_FOR_READING, Usage } from "./webgpu.js";

const CREATE = 0;
const DESTROY = 1;
const UPLOAD = 2;
const PIPELINE = 3;
const DISPATCH = 4;
const COPY = 5;
const CLEAR = 6;
const FORGET = 7;
const RELEASE = 8;
const FETCH = 9;
const TAKE = 10;
const SETTLE = 11;

/** What the core gets for an answer. */
export const DONE = 0;
export const PENDING = 1;
export const FAILED = 2;

/** How many lists may be on their way to the GPU before a run waits. */
const MAX_SUBMITTED = 64;
/** Milliseconds that a device has to answer a call that was given up. */
const GRACE = 5000;
/** How many bind groups are kept. */
const MAX_GROUPS = 4096;

/** The types of bindings, by the number that a command has for them. */
const BINDINGS = ["read-only-storage", "storage", "uniform"] as const;

const decoder = new TextDecoder();

/** What the driver needs of the core: its memory, and somebody to tell what failed. */
export interface Core {
  buffer(): ArrayBuffer;
  /** Tells what failed, and whether for want of memory. */
  failed(isMemory: boolean, text: string): void;
}

interface Buffer {
  /** None while the device had no memory for it; it is made when it is next used. */
  buffer: GPUBuffer | undefined;
  readonly bytes: number;
}

interface Pipeline {
  readonly pipeline: GPUObject;
  readonly layout: GPUObject;
  /** What its shader lacks, if it does. */
  broken?: string;
}

/** A fetch: the buffer that its parts are copied to, then mapped. */
interface Fetch {
  readonly staging: GPUBuffer;
  readonly mapped: Promise<void>;
  state: "fetching" | "there" | string;
}

/** The fields of a list of commands, one after the other. */
class Words {
  at = 0;
  constructor(readonly words: Uint32Array) {}

  next(): number {
    return this.words[this.at++]!;
  }

  get more(): boolean {
    return this.at < this.words.length;
  }
}

/** Commands on their way into a command buffer. */
class Recording {
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePass | undefined;

  constructor(readonly device: GPUDevice) {}

  encoder(): GPUCommandEncoder {
    this.#pass?.end();
    this.#pass = undefined;
    return (this.#encoder ??= this.device.createCommandEncoder());
  }

  /** Dispatches follow each other in one pass. */
  pass(): GPUComputePass {
    return (this.#pass ??= this.encoder().beginComputePass());
  }

  submit(): void {
    if (!this.#encoder) return;
    const encoder = this.encoder();
    this.#encoder = undefined;
    this.device.queue.submit([encoder.finish()]);
  }
}

/** The buffers and pipelines of one instance of the core on a device. */
export class Driver {
  /** What the answer "pending" waits for. */
  awaited: Promise<void> | undefined;
  readonly #buffers = new Map<number, Buffer>();
  readonly #pipelines = new Map<number, Pipeline>();
  readonly #groups = new Map<string, GPUObject>();
  readonly #fetches = new Map<number, Fetch>();
  /** What is known when all lists that make something have been looked at. */
  #settling: Promise<void> | undefined;
  #submitted = 0;
  #working: Promise<void> | undefined;

  constructor(
    readonly device: GPUDevice,
    readonly core: Core,
  ) {}

  /** Executes commands, or answers what the core asks; nothing is thrown. */
  execute(pointer: number, count: number): number {
    // A copy: what a command does may lay text in the memory.
    const words = new Words(new Uint32Array(this.core.buffer(), pointer, count).slice());
    try {
      return words.words[0]! >= FETCH ? this.#asked(words) : this.#list(words);
    } catch (error) {
      this.core.failed(false, `the driver refused a command: ${(error as Error).message}`);
      return FAILED;
    }
  }

  /** Waits while too much work is on its way. */
  async pace(): Promise<void> {
    if (this.#submitted < MAX_SUBMITTED) return;
    this.#working ??= this.device.queue.onSubmittedWorkDone().then(
      () => {},
      () => {},
    );
    await this.#working;
    this.#working = undefined;
    this.#submitted = 0;
  }

  /** Gives up what is awaited: where that does not end by itself, a shader that never ends holds the device. */
  giveUp(awaited: Promise<void>): void {
    const timer = setTimeout(() => this.device.destroy(), GRACE);
    (timer as { unref?(): void }).unref?.();
    void awaited.finally(() => clearTimeout(timer));
  }

  /** Lets all that lies on the device go. */
  release(): void {
    for (const { buffer } of this.#buffers.values()) buffer?.destroy();
    for (const { staging } of this.#fetches.values()) staging.destroy();
    for (const kept of [this.#buffers, this.#fetches, this.#pipelines, this.#groups]) kept.clear();
  }

  #list(words: Words): number {
    const { device } = this;
    const made: (readonly [Pipeline, GPUShaderModule])[] = [];
    const created: Buffer[] = [];
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    try {
      const recording = new Recording(device);
      while (words.more) this.#command(words, recording, created, made);
      recording.submit();
      this.#submitted++;
    } finally {
      const outcome = Promise.all([device.popErrorScope(), device.popErrorScope()]);
      const looked = outcome.then(
        ([invalid, memory]) => this.#look(invalid?.message, memory !== null, created, made),
        // The device is lost, which is told elsewhere.
        () => {},
      );
      if (created.length || made.length) {
        const settling = looked.finally(() => {
          if (this.#settling === settling) this.#settling = undefined;
        });
        this.#settling = settling;
      }
    }
    return DONE;
  }

  /** Tells what was wrong with a list. */
  async #look(
    invalid: string | undefined,
    isShort: boolean,
    created: readonly Buffer[],
    made: readonly (readonly [Pipeline, GPUShaderModule])[],
  ): Promise<void> {
    if (isShort) {
      for (const entry of created) entry.buffer = undefined;
      this.core.failed(true, "the device has no more memory");
    } else if (invalid !== undefined) {
      let text = `the device refused a command: ${invalid}`;
      for (const [pipeline, module] of made) {
        const { messages } = await module.getCompilationInfo();
        const wrong = messages.filter(({ type }) => type === "error");
        const lines = wrong.map(({ message, lineNum, linePos }) => `${lineNum}:${linePos} ${message}`);
        if (lines.length) text = `the device refused a shader: ${lines.join("; ")}`;
        if (lines.length || made.length === 1) pipeline.broken = text;
      }
      this.core.failed(false, text);
    }
  }

  #command(
    words: Words,
    recording: Recording,
    created: Buffer[],
    made: (readonly [Pipeline, GPUShaderModule])[],
  ): void {
    const { device } = this;
    const kind = words.next();
    switch (kind) {
      case CREATE: {
        const id = words.next();
        const entry: Buffer = { buffer: undefined, bytes: words.next() };
        this.#buffers.set(id, entry);
        this.#make(entry, created);
        break;
      }
      case DESTROY: {
        const id = words.next();
        // WebGPU ends it once the work that uses it is done.
        recording.submit();
        this.#buffers.get(id)?.buffer?.destroy();
        this.#buffers.delete(id);
        this.#groups.clear();
        break;
      }
      case UPLOAD: {
        const buffer = this.#buffer(words.next(), created);
        const [offset, pointer, bytes] = [words.next(), words.next(), words.next()];
        // What is written to the queue comes before all that is submitted later.
        recording.submit();
        device.queue.writeBuffer(buffer, offset, this.core.buffer(), pointer, bytes);
        break;
      }
      case PIPELINE:
        this.#pipeline(words, made);
        break;
      case RELEASE:
        this.#pipelines.delete(words.next());
        this.#groups.clear();
        break;
      case DISPATCH:
        this.#dispatch(words, recording, created);
        break;
      case COPY: {
        const from = this.#buffer(words.next(), created);
        const [offset, bytes] = [words.next(), words.next()];
        const to = this.#buffer(words.next(), created);
        recording.encoder().copyBufferToBuffer(from, offset, to, words.next(), bytes);
        break;
      }
      case CLEAR: {
        const buffer = this.#buffer(words.next(), created);
        recording.encoder().clearBuffer(buffer, words.next(), words.next());
        break;
      }
      case FORGET:
        this.#forget(words.next());
        break;
      default:
        throw new Error(`there is no command ${kind}`);
    }
  }

  #make(entry: Buffer, created: Buffer[]): GPUBuffer {
    const usage = Usage.STORAGE | Usage.UNIFORM | Usage.COPY_SRC | Usage.COPY_DST;
    entry.buffer = this.device.createBuffer({ size: entry.bytes, usage });
    created.push(entry);
    return entry.buffer;
  }

  #buffer(id: number, created: Buffer[]): GPUBuffer {
    const entry = this.#buffers.get(id);
    if (!entry) throw new Error(`there is no buffer ${id}`);
    return entry.buffer ?? this.#make(entry, created);
  }

  #pipeline(words: Words, made: (readonly [Pipeline, GPUShaderModule])[]): void {
    const { device } = this;
    const [id, pointer, length] = [words.next(), words.next(), words.next()];
    const module = device.createShaderModule({ code: decoder.decode(new Uint8Array(this.core.buffer(), pointer, length)) });
    const count = words.next();
    const entries = Array.from({ length: count }, (_, binding) => ({
      binding,
      visibility: COMPUTE,
      buffer: { type: BINDINGS[words.next()] },
    }));
    // Written out: a layout that WebGPU derives leaves out bindings which the shader does not use.
    const layout = device.createBindGroupLayout({ entries });
    const pipeline = device.createComputePipeline({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: "main" },
    });
    const entry = { pipeline, layout };
    this.#pipelines.set(id, entry);
    made.push([entry, module]);
  }

  #dispatch(words: Words, recording: Recording, created: Buffer[]): void {
    const id = words.next();
    const [x, y, z, count] = [words.next(), words.next(), words.next(), words.next()];
    const start = words.at;
    words.at += 3 * count;
    const entry = this.#pipelines.get(id);
    if (!entry) throw new Error(`there is no pipeline ${id}`);
    if (entry.broken !== undefined) {
      this.core.failed(false, entry.broken);
      return;
    }
    const parts = words.words.subarray(start, words.at);
    const key = `${id},${parts}`;
    let group = this.#groups.get(key);
    if (!group) {
      const entries = Array.from({ length: count }, (_, binding) => {
        const [buffer, offset, size] = parts.subarray(3 * binding, 3 * binding + 3);
        return { binding, resource: { buffer: this.#buffer(buffer!, created), offset: offset!, size: size! } };
      });
      group = this.device.createBindGroup({ layout: entry.layout, entries });
      if (this.#groups.size >= MAX_GROUPS) this.#groups.clear();
      this.#groups.set(key, group);
    }
    const pass = recording.pass();
    pass.setPipeline(entry.pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y, z);
  }

  #asked(words: Words): number {
    const kind = words.next();
    if (kind === FETCH) {
      this.#fetch(words);
    } else if (kind === TAKE) {
      return this.#take(words.next(), words.next());
    } else if (kind === SETTLE) {
      if (!this.#settling) return DONE;
      this.awaited = this.#settling;
      return PENDING;
    } else {
      throw new Error(`there is no command ${kind}`);
    }
    return DONE;
  }

  #fetch(words: Words): void {
    const { device } = this;
    const [id, count] = [words.next(), words.next()];
    const parts = Array.from({ length: count }, () => [words.next(), words.next(), words.next()] as const);
    const size = parts.reduce((sum, [, , bytes]) => sum + bytes, 0);
    device.pushErrorScope("out-of-memory");
    device.pushErrorScope("validation");
    const staging = device.createBuffer({ size, usage: Usage.MAP_READ | Usage.COPY_DST });
    const recording = new Recording(device);
    let at = 0;
    for (const [buffer, offset, bytes] of parts) {
      recording.encoder().copyBufferToBuffer(this.#buffer(buffer, []), offset, staging, at, bytes);
      at += bytes;
    }
    recording.submit();
    const outcome = Promise.all([device.popErrorScope(), device.popErrorScope()]).catch(() => [null, null]);
    const mapping = staging.mapAsync(MAP_FOR_READING).then(
      () => undefined,
      (error: Error) => error,
    );
    const fetch: Fetch = {
      staging,
      state: "fetching",
      mapped: Promise.all([outcome, mapping]).then(async ([[invalid, memory], error]) => {
        // That the device is lost is told first, for it says why.
        if (error) await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, 1000))]);
        if (memory) this.core.failed(true, "the device has no more memory");
        else if (invalid) this.core.failed(false, `the device refused a command: ${invalid.message}`);
        fetch.state = error ? error.message : "there";
      }),
    };
    this.#fetches.set(id, fetch);
  }

  #take(id: number, pointer: number): number {
    const fetch = this.#fetches.get(id);
    if (!fetch) throw new Error(`there is no fetch ${id}`);
    if (fetch.state === "fetching") {
      this.awaited = fetch.mapped;
      return PENDING;
    }
    if (fetch.state !== "there") throw new Error(fetch.state);
    if (pointer === 0) return DONE;
    const found = new Uint8Array(fetch.staging.getMappedRange());
    new Uint8Array(this.core.buffer(), pointer, found.length).set(found);
    this.#forget(id);
    return DONE;
  }

  #forget(id: number): void {
    this.#fetches.get(id)?.staging.destroy();
    this.#fetches.delete(id);
  }
}
