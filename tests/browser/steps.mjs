// What a user does on the page, and what the page then shows.

import assert from "node:assert/strict";

/** The outline of a T-shirt, in parts of the pad. */
export const SHIRT = [
  [0.36, 0.14], [0.12, 0.26], [0.2, 0.44], [0.3, 0.38], [0.3, 0.88],
  [0.7, 0.88], [0.7, 0.38], [0.8, 0.44], [0.88, 0.26], [0.64, 0.14], [0.36, 0.14],
];
/** The outline of trousers. */
export const TROUSERS = [
  [0.32, 0.1], [0.28, 0.9], [0.44, 0.9], [0.5, 0.35], [0.56, 0.9], [0.72, 0.9], [0.68, 0.1], [0.32, 0.1],
];
/** Shoes, of which a program that was trained on photographs says that they are bags. */
export const SNEAKER = [[0.1, 0.45], [0.25, 0.4], [0.4, 0.5], [0.55, 0.58], [0.85, 0.62], [0.9, 0.72], [0.1, 0.72], [0.1, 0.45]];
export const BOOT = [[0.3, 0.12], [0.55, 0.12], [0.55, 0.5], [0.85, 0.62], [0.88, 0.82], [0.28, 0.82], [0.3, 0.12]];

/** Waits until the program is open and the answer is that of the picture on the pad. */
export async function ready(page) {
  await page.waitForFunction(() => document.querySelector("#bars .most") && !document.querySelector("#download").disabled);
}

/** The ten probabilities, in full, once they have not changed for `quiet` milliseconds. */
export async function probabilities(page, quiet = 120) {
  const read = () => page.$$eval("#bars li", (rows) => rows.map((row) => Number(row.dataset.probability || NaN)));
  let last = await read();
  for (;;) {
    await page.waitForTimeout(quiet);
    const now = await read();
    if (String(now) === String(last)) return now;
    last = now;
  }
}

/** Picks a test picture and gives its probabilities. */
export async function pick(page, index, quiet) {
  await page.locator("#pictures button").nth(index).click();
  return probabilities(page, quiet);
}

/** Draws a line through points with the mouse. */
export async function drawOutline(page, points) {
  const pad = page.locator("#pad");
  await pad.scrollIntoViewIfNeeded();
  const box = await pad.boundingBox();
  const place = ([x, y]) => [box.x + box.width * x, box.y + box.height * y];
  await page.mouse.move(...place(points[0]));
  await page.mouse.down();
  for (const point of points.slice(1)) await page.mouse.move(...place(point), { steps: 5 });
  await page.mouse.up();
}

/** Draws a filled shape on an empty pad. */
export async function drawFilled(page, points, [x, y] = [0.5, 0.5]) {
  await page.click("#clear");
  await page.getByText("Draw", { exact: true }).click();
  await drawOutline(page, points);
  await page.getByText("Fill", { exact: true }).click();
  const pad = page.locator("#pad"), box = await pad.boundingBox();
  await pad.click({ position: { x: box.width * x, y: box.height * y } });
}

/** Says what the picture on the pad is. */
export async function label(page, name) {
  await page.getByRole("button", { name: `The picture is: ${name}`, exact: true }).click();
}

/** Moves a slider as a user of a keyboard does; its event is the browser's own. */
export async function slide(page, id, value) {
  await page.locator(`#${id}`).fill(String(value));
}

/** Trains, and waits until it has ended; gives what the page says of it. */
export async function train(page, steps) {
  await slide(page, "steps", steps);
  await page.click("#train");
  return trained(page);
}

/** Waits until no training runs; gives what the page says of the last. */
export async function trained(page) {
  const note = page.locator("#training-note");
  await page.waitForFunction(() => /^(Trained|Stopped)/.test(document.querySelector("#training-note").textContent), null, {
    timeout: 180_000,
  });
  await page.waitForFunction(() => document.querySelector("#stop").disabled);
  return note.textContent();
}

/** The losses and accuracies that the charts show, read off their lines. */
export async function curves(page) {
  const read = (id, top) =>
    page.$eval(
      `#${id} .raw`,
      (path, scale) =>
        [...path.getAttribute("d").matchAll(/[ML][\d.]+ ([\d.]+)/g)].map(([, y]) => ((130 - Number(y)) / 122) * scale),
      top,
    );
  const top = await page.$$eval("#loss text", (texts) => Math.max(...texts.map((text) => Number(text.textContent)).filter(Number.isFinite)));
  return { losses: await read("loss", top), accuracies: await read("accuracy", 1) };
}

export const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
export const best = (values) => values.indexOf(Math.max(...values));

/** Downloads the file; gives its path and name. */
export async function download(page) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
  return { path: await file.path(), name: file.suggestedFilename() };
}

/** Opens a file by the page's own button. */
export async function openFile(page, file) {
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), page.click("#open")]);
  await chooser.setFiles(file);
}

/** The error that stands at a place, once one does. */
export async function errorAt(page, id) {
  await page.locator(`#${id}`).waitFor({ state: "visible" });
  return page.locator(`#${id}`).textContent();
}

/** Fails where two lists of probabilities differ by more than an error. */
export function assertNear(actual, expected, error) {
  assert.equal(actual.length, expected.length);
  actual.forEach((value, i) => assert.ok(Math.abs(value - expected[i]) <= error, `${value} is not ${expected[i]} at ${i}`));
}
