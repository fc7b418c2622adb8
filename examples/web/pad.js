// The drawing pad: mouse, touch, pen and keyboard.

import { DOTS, SIDE, fitted, show } from "./pictures.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** A canvas that one draws on. Sends `change` when its picture changes and `refused` when a fill would run out. */
export class Pad extends EventTarget {
  /** The tool: "draw", "fill" or "erase". */
  tool = "draw";
  /** How many dots wide a stroke is. */
  brush = 3;
  /** The grey level that is drawn, 1 to 255. */
  tone = 204;
  #canvas;
  #cursor;
  #pixels = new Uint8Array(DOTS);
  // Pictures that were picked already have their place; drawings are given it.
  #picked = false;
  #place = { row: SIDE / 2, column: SIDE / 2 };

  constructor(/** @type {HTMLCanvasElement} */ canvas, /** @type {HTMLElement} */ cursor) {
    super();
    this.#canvas = canvas;
    this.#cursor = cursor;
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => (this.#cursor.hidden = !canvas.matches(":focus-visible")));
    canvas.addEventListener("blur", () => (this.#cursor.hidden = true));
    this.#moveTo(this.#place);
    show(canvas, this.#pixels);
  }

  /** Whether nothing is drawn. */
  get empty() {
    return this.#pixels.every((level) => level === 0);
  }

  /** The picture as a program gets it. */
  get picture() {
    return this.#picked ? this.#pixels.slice() : fitted(this.#pixels);
  }

  /** Shows a picture of the data set. */
  pick(/** @type {Uint8Array} */ pixels) {
    this.#pixels.set(pixels);
    this.#picked = true;
    this.#changed();
  }

  /** Empties the pad. */
  clear() {
    this.#pixels.fill(0);
    this.#picked = false;
    this.#changed();
  }

  #changed() {
    show(this.#canvas, this.#pixels);
    this.dispatchEvent(new Event("change"));
  }

  /** Where a pointer is, in dots. */
  #under(/** @type {PointerEvent} */ event) {
    const box = this.#canvas.getBoundingClientRect();
    return {
      row: ((event.clientY - box.top) / box.height) * SIDE,
      column: ((event.clientX - box.left) / box.width) * SIDE,
    };
  }

  #press(/** @type {PointerEvent} */ event) {
    if (event.button !== 0) return;
    let last = this.#under(event);
    this.#use(last, last);
    const follow = (/** @type {PointerEvent} */ moved) => {
      if (moved.pointerId !== event.pointerId) return;
      const place = this.#under(moved);
      this.#use(last, place);
      last = place;
    };
    const end = (/** @type {PointerEvent} */ ended) => {
      if (ended.pointerId !== event.pointerId) return;
      this.#canvas.removeEventListener("pointermove", follow);
      this.#canvas.removeEventListener("pointerup", end);
      this.#canvas.removeEventListener("pointercancel", end);
    };
    this.#canvas.setPointerCapture(event.pointerId);
    if (this.tool !== "fill") this.#canvas.addEventListener("pointermove", follow);
    this.#canvas.addEventListener("pointerup", end);
    this.#canvas.addEventListener("pointercancel", end);
  }

  #key(/** @type {KeyboardEvent} */ event) {
    const step = STEPS[/** @type {keyof typeof STEPS} */ (event.key)];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (step) {
      const last = this.#place;
      const moved = (/** @type {number} */ from, /** @type {number} */ by) => Math.min(Math.max(from + by, 0.5), SIDE - 0.5);
      this.#moveTo({ row: moved(last.row, step[0]), column: moved(last.column, step[1]) });
      if (event.shiftKey && this.tool !== "fill") this.#use(last, this.#place);
    } else if (event.key === " " || event.key === "Enter") this.#use(this.#place, this.#place);
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    this.#cursor.hidden = false;
    event.preventDefault();
  }

  #moveTo(/** @type {{row: number, column: number}} */ place) {
    this.#place = { row: Math.floor(place.row) + 0.5, column: Math.floor(place.column) + 0.5 };
    this.#cursor.style.setProperty("--row", String(Math.floor(place.row)));
    this.#cursor.style.setProperty("--column", String(Math.floor(place.column)));
  }

  /**
   * Uses the tool along a line.
   * @param {{row: number, column: number}} from
   * @param {{row: number, column: number}} to
   */
  #use(from, to) {
    if (this.tool !== "fill") this.#stroke(from, to);
    else if (!this.#fill(to)) return void this.dispatchEvent(new Event("refused"));
    this.#changed();
  }

  /**
   * Draws or erases along a line, with soft edges.
   * @param {{row: number, column: number}} from
   * @param {{row: number, column: number}} to
   */
  #stroke(from, to) {
    const down = to.row - from.row, across = to.column - from.column;
    const length = down * down + across * across;
    for (let dot = 0; dot < DOTS; dot++) {
      const row = Math.floor(dot / SIDE) + 0.5 - from.row, column = (dot % SIDE) + 0.5 - from.column;
      const along = length === 0 ? 0 : Math.min(Math.max((row * down + column * across) / length, 0), 1);
      const distance = Math.hypot(row - along * down, column - along * across);
      const cover = Math.min(Math.max(this.brush / 2 + 0.5 - distance, 0), 1);
      const level = this.#pixels[dot];
      if (this.tool === "draw") this.#pixels[dot] = Math.max(level, Math.round(cover * this.tone));
      else this.#pixels[dot] = Math.min(level, Math.round((1 - cover) * 255));
    }
  }

  /**
   * Fills the dark area around a dot; false, and nothing done, where it is open to the border.
   * @param {{row: number, column: number}} place
   */
  #fill({ row, column }) {
    const edge = this.tone / 2;
    const inside = new Set([Math.floor(row) * SIDE + Math.floor(column)]);
    for (const dot of inside) {
      const y = Math.floor(dot / SIDE), x = dot % SIDE;
      if (y === 0 || x === 0 || y === SIDE - 1 || x === SIDE - 1) return false;
      for (const next of [dot - SIDE, dot + SIDE, dot - 1, dot + 1]) if (this.#pixels[next] < edge) inside.add(next);
    }
    // The outline's soft inner edge would stay as a dark seam.
    for (const dot of inside) {
      for (const row of [dot - SIDE, dot, dot + SIDE]) {
        for (const next of [row - 1, row, row + 1]) this.#pixels[next] = Math.max(this.#pixels[next], this.tone);
      }
    }
    // So would dots in its corners, which are now shut in.
    for (let dot = SIDE; dot < DOTS - SIDE; dot++) {
      const around = [dot - SIDE, dot + SIDE, dot - 1, dot + 1].map((next) => this.#pixels[next]);
      this.#pixels[dot] = Math.max(this.#pixels[dot], Math.min(this.tone, ...around));
    }
    return true;
  }
}
