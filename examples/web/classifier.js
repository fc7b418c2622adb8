// A program that tells what is on a picture, opened in a worker, so that the page stays quick.

import { CaudalError, load } from "./caudal/index.js";
import { SIDE, prepared } from "./pictures.js";

const MEMORY = 1 << 30;

/** Something the page can say about a file that it cannot use. */
export class Unusable extends Error {}

/** One loaded file. */
export class Classifier {
  #session;

  /** @param {import("./caudal/index.js").Session} session */
  constructor(session) {
    this.#session = session;
    const { functions, metadata } = session.program;
    /** The functions, by name. */
    this.functions = functions;
    /** Whether it can learn. */
    this.teachable = "train_step" in functions && "optimizer/learning_rate" in session.program.state;
    const labels = /** @type {{labels?: unknown}} */ (metadata ?? {}).labels;
    /** @type {string[]} the garments' names */
    this.labels = Array.isArray(labels) ? labels.map(String) : Array.from({ length: 10 }, (_, i) => `class ${i}`);
  }

  /**
   * Opens a file, and makes sure that it takes pictures.
   * @param {string | Blob} source an address or a file
   * @param {(bytes: number, all?: number) => void} onProgress
   */
  static async open(source, onProgress) {
    const session = await load(source, { worker: true, memory: MEMORY, onProgress });
    const classifier = new Classifier(session);
    try {
      const input = classifier.functions.predict?.inputs.x;
      if (!input) throw new Unusable("It has no function predict with an input x, which this page runs.");
      const [answer] = await classifier.predict([new Uint8Array(SIDE * SIDE)]);
      if (answer.length !== classifier.labels.length) {
        throw new Unusable(`It gives ${answer.length} numbers for ${classifier.labels.length} labels.`);
      }
    } catch (error) {
      await classifier.close();
      if (error instanceof Unusable || !(error instanceof CaudalError)) throw error;
      throw new Unusable(`It does not take pictures of 28 by 28 dots (${error.message}).`);
    }
    return classifier;
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
    const rate = await this.#session.state("optimizer/learning_rate");
    try {
      return Number(await rate.item());
    } finally {
      rate[Symbol.dispose]();
    }
  }

  /** Changes it, from the next step on. */
  async setLearningRate(/** @type {number} */ rate) {
    await this.#session.setState({ "optimizer/learning_rate": rate });
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

  close() {
    return this.#session.close();
  }
}
