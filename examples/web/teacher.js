// Teaching: the user's examples, batches, training and undo.

/** How many pictures a step takes: half examples, half from the training set. */
const BATCH = 32;
const LEVELS = 10;
/** After how many steps what was learned is read, so that a GPU that is lost takes no more with it. */
const KEPT = 10;

/**
 * @typedef {{pixels: Uint8Array, label: number}} Labelled
 * @typedef {{own: string, test: string}} Scores
 */

/** What the user teaches one program. */
export class Teacher {
  /** Losses and accuracies of all steps so far, each from before the step. */
  losses = /** @type {number[]} */ ([]);
  accuracies = /** @type {number[]} */ ([]);
  #classifier;
  #pictures;
  // The state before each training, with the number of steps and the scores then.
  #levels = /** @type {{snapshot: import("./caudal/index.js").Program, steps: number, scores: Scores}[]} */ ([]);
  #taken = { examples: 0, training: 0 };
  // How many steps what was read last has learned from.
  #kept = 0;

  /**
   * @param {import("./classifier.js").Classifier} classifier
   * @param {{test: Labelled[], training: Labelled[]}} pictures
   */
  constructor(classifier, pictures) {
    this.#classifier = classifier;
    this.#pictures = pictures;
  }

  /** Goes on with the same program on another device. */
  move(/** @type {import("./classifier.js").Classifier} */ classifier) {
    this.#classifier = classifier;
  }

  /** Reads what was learned. */
  async keep() {
    const steps = this.losses.length;
    await this.#classifier.keep();
    this.#kept = steps;
  }

  /** Forgets the steps since what was learned was last read, which a lost device has taken with it. */
  rewind() {
    this.losses.length = this.accuracies.length = this.#kept;
  }

  /** How many steps the last training has. */
  get steps() {
    return this.losses.length - (this.#levels.at(-1)?.steps ?? 0);
  }

  /** How many trainings can be taken back. */
  get levels() {
    return this.#levels.length;
  }

  /** The steps at which the trainings began. */
  get starts() {
    return this.#levels.map((level) => level.steps);
  }

  /** The scores before the last training. */
  get before() {
    return this.#levels.at(-1)?.scores;
  }

  /**
   * How many pictures are told right.
   * @param {Labelled[]} examples
   * @returns {Promise<Scores>}
   */
  async scores(examples) {
    const all = [...examples, ...this.#pictures.test];
    const answers = await this.#classifier.predict(all.map((picture) => picture.pixels));
    const right = answers.map((answer, i) => answer.indexOf(Math.max(...answer)) === all[i].label);
    const of = (/** @type {boolean[]} */ some) => `${some.filter(Boolean).length} of ${some.length}`;
    const own = right.slice(0, examples.length);
    return { own: own.length ? of(own) : "–", test: of(right.slice(examples.length)) };
  }

  /**
   * The next pictures of a list, which begins anew at its end.
   * @param {"examples" | "training"} list
   * @param {Labelled[]} from
   * @param {number} count
   */
  #next(list, from, count) {
    const start = this.#taken[list];
    this.#taken[list] = (start + count) % from.length;
    return Array.from({ length: count }, (_, i) => from[(start + i) % from.length]);
  }

  /**
   * Begins a training, which can be taken back.
   * @param {Labelled[]} examples
   */
  async begin(examples) {
    const scores = await this.scores(examples);
    this.#levels.push({ snapshot: await this.#classifier.snapshot(), steps: this.losses.length, scores });
    if (this.#levels.length > LEVELS) await this.#levels.shift()?.snapshot.dispose();
  }

  /**
   * Trains until the training that was begun last has so many steps. What was done by then stays when it is stopped or
   * fails.
   * @param {Labelled[]} examples may grow while it trains
   * @param {number} steps
   * @param {AbortSignal} signal
   * @param {() => void} onStep
   */
  async train(examples, steps, signal, onStep) {
    try {
      while (this.steps < steps && !signal.aborted) {
        const pictures = this.#pictures.training;
        const batch = [...this.#next("examples", examples, BATCH / 2), ...this.#next("training", pictures, BATCH / 2)];
        const measures = await this.#classifier.trainStep(
          batch.map((picture) => picture.pixels),
          batch.map((picture) => picture.label),
          signal,
        );
        this.losses.push(measures.loss);
        this.accuracies.push(measures.accuracy);
        onStep();
        if (this.steps % KEPT === 0) await this.keep();
      }
    } finally {
      await this.keep();
    }
  }

  /** Takes back the last training, and what else changed since it began. */
  async undo() {
    const level = this.#levels.at(-1);
    if (!level) return;
    await this.#classifier.restore(level.snapshot);
    await this.#classifier.keep();
    this.losses.length = this.accuracies.length = this.#kept = level.steps;
    this.#levels.pop();
    await level.snapshot.dispose();
  }
}
