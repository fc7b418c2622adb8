// A program that tells what is on a picture, opened in a worker, so that the page stays quick.

import { CaudalError, load } from "./caudal/index.js";
import { SIDE, prepared } from "./pictures.js";

const MEMORY = 1 << 30;
const RATE = "optimizer/learning_rate";

/** What the page cannot use a program for, in a sentence. */
export class Unusable extends Error {}

/** Whether an error says that the device was lost. */
export const isLost = (/** @type {unknown} */ error) => error instanceof CaudalError && error.code === "device";

/** One loaded file. */
export class Classifier {
  #session;
  #kept = /** @type {import("./caudal/index.js").Program | undefined} */ (undefined);

  /**
   * @param {import("./caudal/index.js").Session} session
   * @throws Unusable: its program does not take pictures
   */
  constructor(session) {
    this.#session = session;
    const { functions, state, metadata } = session.program;
    const { predict, train_step: step } = functions;
    if (predict?.inputs.x?.dtype !== "float32" || `${predict.inputs.x.shape.slice(1)}` !== `${[SIDE, SIDE, 1]}`) {
      const names = Object.keys(functions).join(", ") || "none";
      throw new Unusable(`It has no function predict that takes x: float32[batch, 28, 28, 1] (its functions: ${names}).`);
    }
    const given = metadata?.labels;
    const classes = Number(Object.values(predict.outputs)[0]?.shape[1]);
    /** The functions, by name. */
    this.functions = functions;
    /** @type {string[]} the garments' names */
    this.labels = Array.from({ length: classes }, (_, i) => (Array.isArray(given) ? String(given[i]) : `class ${i}`));
    /** Whether it can learn. */
    this.teachable = Boolean(step?.inputs.x && step.inputs.y && step.outputs.loss && step.outputs.accuracy && RATE in state);
  }

  /**
   * Opens a file.
   * @param {string | Blob} source an address or a file
   * @param {(bytes: number, all?: number) => void} onProgress
   * @param {string} device
   */
  static open(source, onProgress, device = "cpu") {
    return Classifier.#of(load(source, { worker: true, memory: MEMORY, onProgress, device }));
  }

  /** Reads what it has learned, which a device that is lost then leaves. */
  async keep() {
    const before = this.#kept;
    this.#kept = await this.#session.snapshot();
    before?.dispose();
  }

  /**
   * The same program on another device, with what it has learned; where its own is lost, with what was kept of that.
   * @param {string} device
   */
  async on(device) {
    const bytes = await this.#session.save().catch((error) => {
      if (!isLost(error)) throw error;
      return (this.#kept ?? this.#session.program).save();
    });
    return Classifier.#of(load(bytes, { worker: true, memory: MEMORY, device }));
  }

  /** @param {Promise<import("./caudal/index.js").Session>} loading */
  static async #of(loading) {
    const session = await loading;
    try {
      return new Classifier(session);
    } catch (error) {
      await session.dispose();
      throw error;
    }
  }

  /**
   * The probabilities of each label, a list for each picture.
   * @param {Uint8Array[]} pictures at least one
   */
  async predict(pictures) {
    const x = { data: prepared(pictures), shape: [pictures.length, SIDE, SIDE, 1] };
    const out = await this.#session.run("predict", { x });
    try {
      const all = /** @type {Float32Array} */ (await Object.values(out)[0].data());
      const count = all.length / pictures.length;
      return pictures.map((_, i) => all.slice(i * count, (i + 1) * count));
    } finally {
      out[Symbol.dispose]();
    }
  }

  /**
   * One step of training; gives the measures from before it.
   * @param {Uint8Array[]} pictures
   * @param {number[]} labels
   * @param {AbortSignal} signal stops it, and leaves the state as it was
   */
  async trainStep(pictures, labels, signal) {
    const inputs = {
      x: { data: prepared(pictures), shape: [pictures.length, SIDE, SIDE, 1] },
      y: { data: Int32Array.from(labels), shape: [labels.length] },
    };
    const out = await this.#session.run("train_step", inputs, { signal });
    try {
      return { loss: Number(await out.loss.item()), accuracy: Number(await out.accuracy.item()) };
    } finally {
      out[Symbol.dispose]();
    }
  }

  /** The optimiser's learning rate. */
  async learningRate() {
    const rate = await this.#session.state(RATE);
    try {
      return Number(await rate.item());
    } finally {
      rate[Symbol.dispose]();
    }
  }

  /** Changes it, from the next step on. */
  async setLearningRate(/** @type {number} */ rate) {
    await this.#session.setState({ [RATE]: rate });
  }

  /** Where it runs. */
  get device() {
    return this.#session.device;
  }

  snapshot() {
    return this.#session.snapshot();
  }

  /** @param {import("./caudal/index.js").Program} snapshot */
  restore(snapshot) {
    return this.#session.restore(snapshot);
  }

  /** The file with what was learned. */
  save() {
    return this.#session.save();
  }

  /** Ends it, once what runs has ended. */
  dispose() {
    this.#kept?.dispose();
    return this.#session.dispose();
  }
}
