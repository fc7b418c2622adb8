// A line chart, drawn as SVG.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150, LEFT = 42, RIGHT = 10, TOP = 8, BOTTOM = 20;

/**
 * An SVG element.
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} text
 */
function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.textContent = text;
  return made;
}

/** The least round number, whose half is round, too, that is not below a value. */
function rounded(/** @type {number} */ value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 2, 3, 4, 5, 6, 8].find((times) => times * power >= value) ?? 10);
}

/** Means over the last few values, which show where a noisy line goes. */
function smoothed(/** @type {number[]} */ values) {
  let mean = values[0];
  return values.map((value) => (mean += 0.4 * (value - mean)));
}

/**
 * Draws values over steps: as they are, thin, and smoothed.
 * @param {SVGSVGElement} svg
 * @param {number[]} values
 * @param {{top?: number, starts?: number[], text: (value: number) => string}} options top of the scale (from the values
 *   if left out), the steps at which a training began, and how a value is written on the scale
 */
export function draw(svg, values, { top, starts = [], text }) {
  const width = Math.max(svg.clientWidth, 120);
  const highest = top ?? rounded(Math.max(...values, 0.1));
  const last = Math.max(values.length - 1, 1);
  const x = (/** @type {number} */ step) => LEFT + (step / last) * (width - LEFT - RIGHT);
  const y = (/** @type {number} */ value) => HEIGHT - BOTTOM - (value / highest) * (HEIGHT - TOP - BOTTOM);
  const line = (/** @type {number[]} */ points) =>
    points.map((value, step) => `${step ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const parts = [];
  for (const share of [0, 0.5, 1]) {
    const level = share * highest;
    parts.push(element("path", { class: "grid", d: `M${LEFT} ${y(level)}H${width - RIGHT}` }));
    parts.push(element("text", { x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, text(level)));
  }
  for (const step of starts) if (step > 0) parts.push(element("path", { class: "start", d: `M${x(step)} ${TOP}V${HEIGHT - BOTTOM}` }));
  if (values.length === 0) {
    parts.push(element("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "not trained here yet"));
  } else {
    const smooth = smoothed(values);
    parts.push(element("path", { class: "raw", d: line(values) }), element("path", { class: "line", d: line(smooth) }));
    parts.push(element("circle", { cx: x(values.length - 1), cy: y(smooth[smooth.length - 1]), r: 3.5 }));
    parts.push(element("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, `step ${values.length}`));
  }
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren(...parts);
}
