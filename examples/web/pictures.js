// Pictures: 28 rows of 28 grey levels, 0 (black ground) to 255, in a Uint8Array.

export const SIDE = 28;
export const DOTS = SIDE * SIDE;

// pictures.py says how the file is laid out.
const TEST = 40;

/**
 * Reads the pictures that the page carries.
 * @param {string} url of pictures.bin
 * @returns {Promise<{test: Labelled[], training: Labelled[]}>}
 * @typedef {{pixels: Uint8Array, label: number}} Labelled
 */
export async function readPictures(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`the server answered ${response.status} for ${url}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const record = 1 + DOTS;
  if (bytes.length === 0 || bytes.length % record !== 0) throw new Error(`${url} is not a list of pictures`);
  const all = Array.from({ length: bytes.length / record }, (_, i) => ({
    label: bytes[i * record],
    pixels: bytes.slice(i * record + 1, (i + 1) * record),
  }));
  return { test: all.slice(0, TEST), training: all.slice(TEST) };
}

/** What the programs take: float32 from 0 to 1, one picture after the other. */
export function prepared(/** @type {Uint8Array[]} */ pictures) {
  const out = new Float32Array(pictures.length * DOTS);
  pictures.forEach((pixels, i) => {
    for (let dot = 0; dot < DOTS; dot++) out[i * DOTS + dot] = pixels[dot] / 255;
  });
  return out;
}

/** The first and last row and column that are not black, or null for an empty picture. */
function bounds(/** @type {Uint8Array} */ pixels) {
  let [top, bottom, left, right] = [SIDE, -1, SIDE, -1];
  for (let dot = 0; dot < DOTS; dot++) {
    if (pixels[dot] === 0) continue;
    const row = Math.floor(dot / SIDE), column = dot % SIDE;
    top = Math.min(top, row);
    bottom = Math.max(bottom, row);
    left = Math.min(left, column);
    right = Math.max(right, column);
  }
  return bottom < 0 ? null : { top, left, height: bottom - top + 1, width: right - left + 1 };
}

/** A drawing made like those of the data set: its longer side fills the picture, and it lies in the middle. */
export function fitted(/** @type {Uint8Array} */ pixels) {
  const box = bounds(pixels);
  if (box === null) return pixels.slice();
  const scale = SIDE / Math.max(box.height, box.width);
  const at = (/** @type {number} */ row, /** @type {number} */ column) => {
    const y = Math.min(Math.max(row, 0), box.height - 1), x = Math.min(Math.max(column, 0), box.width - 1);
    return pixels[(box.top + y) * SIDE + box.left + x];
  };
  const out = new Uint8Array(DOTS);
  for (let dot = 0; dot < DOTS; dot++) {
    // The middle of the dot, in the box's dots.
    const y = (Math.floor(dot / SIDE) + 0.5 - SIDE / 2) / scale + box.height / 2 - 0.5;
    const x = ((dot % SIDE) + 0.5 - SIDE / 2) / scale + box.width / 2 - 0.5;
    if (y < -0.5 || x < -0.5 || y > box.height - 0.5 || x > box.width - 0.5) continue;
    const row = Math.floor(y), column = Math.floor(x), down = y - row, across = x - column;
    const upper = at(row, column) * (1 - across) + at(row, column + 1) * across;
    const lower = at(row + 1, column) * (1 - across) + at(row + 1, column + 1) * across;
    out[dot] = Math.round(upper * (1 - down) + lower * down);
  }
  return out;
}

/** Shows a picture on a canvas of 28 by 28 dots. */
export function show(/** @type {HTMLCanvasElement} */ canvas, /** @type {Uint8Array} */ pixels) {
  const paint = () => {
    const image = new ImageData(SIDE, SIDE);
    pixels.forEach((level, dot) => image.data.set([level, level, level, 255], dot * 4));
    /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(image, 0, 0);
  };
  paint();
  // Canvases are empty after the browser has lost its GPU.
  canvas.oncontextrestored = paint;
}

/** A canvas that shows a picture. */
export function thumbnail(/** @type {Uint8Array} */ pixels) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  show(canvas, pixels);
  return canvas;
}
