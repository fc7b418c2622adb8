// The page: what happens where.

import { draw } from "./chart.js";
import { Classifier, isLost } from "./classifier.js";
import { Pad } from "./pad.js";
import { readPictures, show, thumbnail } from "./pictures.js";
import { Teacher } from "./teacher.js";
import { explain } from "./words.js";

const START = "fashion.caudal";

/** @type {<T extends Element = HTMLElement>(id: string) => T} */
const at = (id) => /** @type {any} */ (document.getElementById(id));
const button = (/** @type {string} */ id) => /** @type {HTMLButtonElement} */ (at(id));
const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (at(id));

const pad = new Pad(at("pad"), at("pad-cursor"));
/** @type {{test: import("./teacher.js").Labelled[], training: import("./teacher.js").Labelled[]}} */
let pictures = { test: [], training: [] };
/** @type {import("./teacher.js").Labelled[]} */
const examples = [];
/** @type {Classifier | undefined} */
let classifier;
/** @type {Teacher | undefined} */
let teacher;
let fileName = START;
/** @type {AbortController | undefined} while it trains */
let training;
let busy = false;

/**
 * Says what went wrong, where it belongs; nothing clears it.
 * @param {string} id
 * @param {string} [text]
 */
function complain(id, text = "") {
  at(id).textContent = text;
  at(id).hidden = text === "";
}

/**
 * Does something to the program that only one may do at a time; errors are shown at `id`. Where the GPU is lost
 * meanwhile, the program is open again afterwards.
 */
async function alone(/** @type {string} */ id, /** @type {string} */ what, /** @type {() => Promise<void>} */ action) {
  if (busy) return;
  busy = true;
  enable();
  complain(id);
  try {
    await action().catch(async (error) => {
      if (isLost(error) && classifier?.device !== "cpu") await recover();
      throw error;
    });
  } catch (error) {
    complain(id, explain(what, error));
  } finally {
    busy = false;
    enable();
  }
}

/** What can be pressed now. */
function enable() {
  const ready = classifier !== undefined && !busy;
  const teachable = ready && classifier?.teachable === true;
  button("download").disabled = !ready;
  button("open").disabled = busy;
  /** @type {HTMLFieldSetElement} */ (at("devices")).disabled = !ready;
  button("train").disabled = !teachable || examples.length === 0 || pictures.training.length === 0;
  button("stop").disabled = training === undefined;
  button("undo").disabled = !ready || !teacher?.levels;
  button("undo").textContent = teacher?.levels ? `Undo training ${teacher.levels}` : "Undo";
  input("rate").disabled = !classifier?.teachable;
}

// What it sees

let looking = false, lookAgain = false;

/** Asks the program about the picture; while an answer is awaited, the newest picture waits. */
async function look() {
  if (!classifier) return;
  if (looking) return void (lookAgain = true);
  looking = true;
  do {
    lookAgain = false;
    /** @type {Classifier} */
    const asked = classifier;
    try {
      show(at("seen"), pad.picture);
      const answer = pad.empty ? undefined : (await asked.predict([pad.picture]))[0];
      if (asked === classifier) showAnswer(answer);
      complain("answer-error");
    } catch (error) {
      if (await isRecovered(asked, error)) continue;
      if (asked === classifier) complain("answer-error", explain("There is no answer", error));
    }
  } while (lookAgain);
  looking = false;
}

/** A share as a user reads it: a decimal where it is close to none or all. */
function percent(/** @type {number} */ share) {
  const close = Math.min(share, 1 - share);
  return `${(share * 100).toFixed(close > 0.0995 || close < 0.0005 ? 0 : 1)} %`;
}

/** The bars, one for each label. */
function layBars(/** @type {string[]} */ labels) {
  at("bars").replaceChildren(
    ...labels.map((label) => {
      const row = document.createElement("li");
      const name = Object.assign(document.createElement("span"), { className: "name", textContent: label });
      const bar = Object.assign(document.createElement("span"), { className: "bar" });
      row.append(name, bar, Object.assign(document.createElement("span"), { className: "share", textContent: "–" }));
      return row;
    }),
  );
}

let sayLater = 0;

/** Shows probabilities, or that there are none. */
function showAnswer(/** @type {Float32Array | undefined} */ answer) {
  const labels = classifier?.labels ?? [];
  const best = answer ? answer.indexOf(Math.max(...answer)) : -1;
  [...at("bars").children].forEach((row, i) => {
    const element = /** @type {HTMLElement} */ (row);
    element.classList.toggle("most", i === best);
    element.dataset.probability = answer ? String(answer[i]) : "";
    element.style.setProperty("--share", String(answer ? answer[i] : 0));
    /** @type {HTMLElement} */ (row.lastChild).textContent = answer ? percent(answer[i]) : "–";
  });
  at("best").textContent = answer ? labels[best] : "–";
  at("best-note").textContent = answer ? `most likely, at ${percent(answer[best])}` : "Draw something to see an answer.";
  if (answer && !performance.getEntriesByName("first-answer").length) performance.mark("first-answer");
  // A screen reader hears the answer once the picture rests.
  clearTimeout(sayLater);
  if (answer) sayLater = setTimeout(() => (at("said").textContent = `Most likely ${labels[best]}, ${percent(answer[best])}`), 700);
}

// Pictures to pick

function layPictures() {
  const picks = pictures.test.map(({ pixels, label }, i) => {
    const pick = document.createElement("button");
    const name = `Test picture ${i + 1}: ${classifier?.labels[label] ?? label}`;
    Object.assign(pick, { type: "button", className: "thumbnail", title: name });
    pick.setAttribute("aria-label", name);
    pick.setAttribute("aria-pressed", "false");
    pick.append(thumbnail(pixels));
    pick.addEventListener("click", () => {
      pad.pick(pixels);
      mark(pick);
    });
    return pick;
  });
  at("pictures").replaceChildren(...picks);
}

/** Marks the picture that was picked, if any. */
function mark(/** @type {Element | undefined} */ picked) {
  for (const pick of at("pictures").children) pick.setAttribute("aria-pressed", String(pick === picked));
}

// Examples

function layLabels(/** @type {string[]} */ labels) {
  at("labels").replaceChildren(
    ...labels.map((label, i) => {
      const add = Object.assign(document.createElement("button"), { type: "button", textContent: label });
      add.setAttribute("aria-label", `The picture is: ${label}`);
      add.addEventListener("click", () => {
        if (pad.empty) return void (at("examples-note").textContent = "There is no picture yet: draw or pick one first.");
        examples.push({ pixels: pad.picture, label: i });
        at("examples-note").textContent = `Added as ${label}. You have ${count(examples.length, "picture")}.`;
        layExamples();
      });
      return add;
    }),
  );
}

const count = (/** @type {number} */ n, /** @type {string} */ noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

function layExamples() {
  const labels = classifier?.labels ?? [];
  at("examples").replaceChildren(
    ...examples.map((example, i) => {
      const item = document.createElement("li");
      const name = labels[example.label] ?? String(example.label);
      const remove = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×" });
      remove.setAttribute("aria-label", `Remove picture ${i + 1}, ${name}`);
      remove.disabled = training !== undefined;
      remove.addEventListener("click", () => {
        examples.splice(i, 1);
        at("examples-note").textContent = `Removed. You have ${count(examples.length, "picture")}.`;
        layExamples();
        const rest = at("examples").querySelectorAll("button");
        (rest[Math.min(i, rest.length - 1)] ?? at("labels").firstElementChild)?.focus();
      });
      item.append(thumbnail(example.pixels), Object.assign(document.createElement("span"), { textContent: name }), remove);
      return item;
    }),
  );
  enable();
  void showScores();
}

// Training

function showCharts() {
  const losses = teacher?.losses ?? [], accuracies = teacher?.accuracies ?? [], starts = teacher?.starts ?? [];
  draw(at("loss"), losses, { starts, text: (value) => String(Number(value.toPrecision(2))) });
  draw(at("accuracy"), accuracies, { starts, top: 1, text: (value) => `${Math.round(value * 100)} %` });
  at("loss-value").textContent = losses.at(-1)?.toFixed(3) ?? "";
  at("accuracy-value").textContent = accuracies.length ? percent(accuracies[accuracies.length - 1]) : "";
}

async function showScores() {
  if (!teacher || training) return;
  const asked = teacher, program = classifier;
  try {
    const now = await teacher.scores(examples);
    if (asked !== teacher) return;
    for (const [when, scores] of /** @type {const} */ ([["before", teacher.before], ["now", now]])) {
      at(`own-${when}`).textContent = scores?.own ?? "–";
      at(`test-${when}`).textContent = scores?.test ?? "–";
    }
  } catch (error) {
    if (await isRecovered(program, error)) return;
    complain("teach-error", explain("The answers could not be counted", error));
  }
}

function showRate(/** @type {number} */ rate) {
  input("rate").value = String(Math.log10(rate));
  at("rate-value").textContent = String(Number(rate.toPrecision(2)));
}

let drawLater = 0;

async function train() {
  const taught = teacher, steps = Number(input("steps").value);
  if (!taught) return;
  const bar = /** @type {HTMLProgressElement} */ (at("training"));
  const { signal } = (training = new AbortController());
  const onStep = () => {
    bar.value = taught.steps / steps;
    // The chart follows at the screen's pace, not at that of the steps.
    drawLater ||= requestAnimationFrame(() => {
      drawLater = 0;
      showCharts();
    });
    void look();
  };
  let begun = false, resumed = "";
  const go = async () => {
    if (!begun) await taught.begin(examples);
    begun = true;
    await taught.train(examples, steps, signal, onStep);
  };
  bar.value = 0;
  at("training-note").textContent = "Training …";
  enable();
  try {
    await go().catch(async (error) => {
      if (signal.aborted || !isLost(error)) throw error;
      await recover();
      resumed = ` The GPU was lost; it went on after step ${begun ? taught.steps : 0}.`;
      at("training-note").textContent = `Training …${resumed}`;
      await go();
    });
  } catch (error) {
    if (isLost(error)) taught.rewind();
    // When it is stopped, what it has learned so far stays.
    if (isLost(error) || !signal.aborted) throw error;
  } finally {
    training = undefined;
    const done = begun ? taught.steps : 0;
    at("training-note").textContent = `${signal.aborted ? "Stopped after" : "Trained"} ${count(done, "step")}. ` +
      (done ? `Loss ${taught.losses.at(-1)?.toFixed(3)}, accuracy ${percent(taught.accuracies.at(-1) ?? 0)}.` : "") + resumed;
    layExamples();
    showCharts();
    void look();
  }
}

async function undo() {
  await teacher?.undo();
  if (classifier?.teachable) showRate(await classifier.learningRate());
  at("training-note").textContent = "Taken back: the program is as it was before that training.";
  /** @type {HTMLProgressElement} */ (at("training")).value = 0;
  showCharts();
  await Promise.all([look(), showScores()]);
}

// The file

/** @type {(bytes: number) => string} */
const size = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** Opens a file in place of the one that is open; that one stays where this fails. */
async function open(/** @type {string | File} */ source) {
  const name = typeof source === "string" ? source : source.name;
  const bar = /** @type {HTMLProgressElement} */ (at("file-progress"));
  let bytes = typeof source === "string" ? 0 : source.size;
  bar.hidden = false;
  try {
    const opened = await Classifier.open(source, (loaded, all) => {
      bytes = loaded;
      if (all) bar.value = loaded / all;
    }, device());
    void classifier?.dispose();
    classifier = opened;
    teacher = new Teacher(classifier, pictures);
    fileName = name;
  } finally {
    bar.hidden = true;
    if (!classifier) at("file-name").textContent = "No file is open.";
  }
  layBars(classifier.labels);
  // The rest is laid out once there is an answer.
  await look();
  at("file-name").textContent = `${name} · ${size(bytes)}`;
  at("file-functions").replaceChildren(
    ...Object.keys(classifier.functions).map((f) => Object.assign(document.createElement("li"), { textContent: f, title: classifier?.functions[f].doc ?? "" })),
  );
  complain("teach-error", classifier.teachable ? "" : "This file cannot learn here: it has no function train_step with an optimiser.");
  if (classifier.teachable) showRate(await classifier.learningRate());
  else at("rate-value").textContent = "–";
  layLabels(classifier.labels);
  layPictures();
  layExamples();
  showCharts();
}

// Where it runs

/** The device that is chosen. */
const device = () => /** @type {HTMLInputElement | null} */ (document.querySelector("[name=device]:checked"))?.value ?? "cpu";

/** Shows which device runs it. */
function showDevice(/** @type {string} */ name) {
  for (const choice of document.querySelectorAll("[name=device]")) {
    /** @type {HTMLInputElement} */ (choice).checked = /** @type {HTMLInputElement} */ (choice).value === name;
  }
}

/** Moves the program, with what it has learned, to another device. */
async function move(/** @type {string} */ to) {
  if (!classifier) return;
  const old = classifier;
  try {
    classifier = await old.on(to);
    teacher?.move(classifier);
    void old.dispose().catch(() => {});
  } finally {
    showDevice(classifier.device);
  }
  await look();
}

/** After the GPU was lost: goes on with a new one, else on the CPU, with what was last read of the program. */
async function recover() {
  const device = classifier?.device ?? "cpu";
  for (const to of [device, device, "cpu"]) {
    const error = await move(to).then(() => undefined, (error) => error);
    if (!error) break;
    if (!isLost(error)) throw error;
    // The browser may need a moment to start its GPU process anew.
    await new Promise((next) => setTimeout(next, 1000));
  }
  const isGone = classifier?.device === "cpu";
  complain("file-error", isGone ? "The GPU was lost, and there is no other: the program goes on on the CPU." : "");
  teacher?.rewind();
  showCharts();
  if (classifier?.teachable) showRate(await classifier.learningRate());
  void showScores();
}

/**
 * Whether an error says that the GPU of a program was lost, which then goes on elsewhere.
 * @param {Classifier | undefined} asked
 * @param {unknown} error
 */
async function isRecovered(asked, error) {
  if (!isLost(error)) return false;
  // Whoever is at work with the program does it, or has done it.
  if (!busy && asked === classifier) await alone("file-error", "The program has no device", recover);
  return true;
}

/** Offers the GPU where there is one. */
async function offerDevices() {
  const { gpu } = /** @type {{gpu?: {requestAdapter(): Promise<object | null>}}} */ (navigator);
  at("devices").hidden = !(await gpu?.requestAdapter());
}

async function download() {
  if (!classifier) return;
  const bytes = await classifier.save();
  const url = URL.createObjectURL(new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (bytes)], { type: "application/octet-stream" }));
  const name = `${fileName.replace(/(-taught)?\.\w+$/, "")}-taught.caudal`;
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function openAlone(/** @type {string | File} */ source) {
  const what = `${typeof source === "string" ? source : source.name} was not opened`;
  if (busy) return complain("file-error", `${what}: stop the training first.`);
  return alone("file-error", what, () => open(source));
}

/** Listens to what can be pressed. */
function listen() {
  pad.addEventListener("change", () => {
    at("pad-note").textContent = "";
    mark(undefined);
    void look();
  });
  pad.addEventListener("refused", () => (at("pad-note").textContent = "That area is open to the edge: close its outline first."));
  at("tools").addEventListener("change", (event) => (pad.tool = /** @type {HTMLInputElement} */ (event.target).value));
  const dial = (/** @type {string} */ id, /** @type {string} */ out, /** @type {(value: number) => string} */ use) =>
    input(id).addEventListener("input", () => (at(out).textContent = use(Number(input(id).value))));
  dial("brush", "brush-size", (value) => String((pad.brush = value)));
  dial("tone", "tone-size", (value) => `${((pad.tone = Math.round(value * 2.55)), value)} %`);
  dial("steps", "steps-count", String);
  dial("rate", "rate-value", (value) => String(Number((10 ** value).toPrecision(2))));
  input("rate").addEventListener("change", () => {
    const rate = Number((10 ** Number(input("rate").value)).toPrecision(2));
    const asked = classifier;
    // While it trains, that is read with what it learns.
    const keep = async () => void (training ?? (await teacher?.keep()));
    asked?.setLearningRate(rate).then(keep).catch(async (error) => {
      await isRecovered(asked, error);
      complain("teach-error", explain("The learning rate stays", error));
    });
  });
  at("clear").addEventListener("click", () => pad.clear());
  at("train").addEventListener("click", () => alone("teach-error", "The training ended early", train));
  at("stop").addEventListener("click", () => training?.abort());
  at("undo").addEventListener("click", () => alone("teach-error", "Nothing was taken back", undo));
  at("download").addEventListener("click", () => alone("file-error", "The file was not saved", download));
  at("devices").addEventListener("change", () =>
    alone("file-error", "It runs where it ran", async () => move(device())).finally(() => showDevice(classifier?.device ?? "cpu")),
  );
  at("open").addEventListener("click", () => at("open-input").click());
  at("open-input").addEventListener("change", () => {
    const [file] = input("open-input").files ?? [];
    input("open-input").value = "";
    if (file) void openAlone(file);
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) void openAlone(file);
  });
  new ResizeObserver(showCharts).observe(at("loss"));
}

listen();
enable();
const carried = readPictures("pictures.bin").then(
  (read) => {
    pictures.test.push(...read.test);
    pictures.training.push(...read.training);
    pad.pick(pictures.test[9].pixels);
    layPictures();
    mark(at("pictures").children[9]);
  },
  (error) => complain("pictures-error", explain("There are no pictures to pick", error)),
);
await Promise.all([carried, openAlone(START)]);
// Not before: an answer is more urgent.
void offerDevices().catch(() => {});
