// The page as users see it, in headless Chromium; what it downloads is opened by Python.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { launch } from "./chromium.mjs";
import { serve } from "./server.mjs";
import { PAGE, ROOT, layOut, python } from "./setup.mjs";
import {
  BOOT, SHIRT, SNEAKER, TROUSERS, assertNear, best, curves, download, drawFilled, drawOutline, errorAt, label, mean, openFile, pick,
  probabilities, ready, slide, train, trained,
} from "./steps.mjs";

const LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

let browser, server, page, program;
/** What the page should not do: errors in its console, requests to elsewhere. */
let faults;

before(async () => {
  program = layOut();
  browser = await launch();
  server = await serve({ "/": PAGE });
});
after(async () => {
  await browser?.close();
  await server?.close();
});

/** A page in a context of its own, watched. */
async function fresh(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, acceptDownloads: true, ...options });
  const made = await context.newPage();
  made.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  made.on("console", (message) => message.type() === "error" && !/Failed to load resource/.test(message.text()) && faults.push(message.text()));
  context.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== server.origin && !["blob:", "data:"].includes(protocol)) faults.push(`asked ${request.url()}`);
  });
  return made;
}

async function visit(options) {
  const made = await fresh(options);
  await made.goto(`${server.origin}/`);
  await ready(made);
  return made;
}

beforeEach(() => {
  faults = [];
  server.instead.clear();
});
afterEach(async () => {
  await page?.context().close();
  page = undefined;
  assert.deepEqual(faults, []);
});

test("a picture that is picked has its probabilities at once, and they are Python's", async () => {
  page = await visit();
  const expected = JSON.parse(python("tests/browser/check.py", program)).probabilities;
  const right = [];
  for (let i = 0; i < 40; i += 3) {
    const shown = await pick(page, i);
    assertNear(shown, expected[i], 1e-4);
    assert.ok(Math.abs(shown.reduce((sum, value) => sum + value) - 1) < 1e-5);
    assert.equal(await page.locator("#best").textContent(), LABELS[best(shown)]);
    right.push(best(shown) === i % 10);
  }
  assert.ok(right.filter(Boolean).length >= 10, `${right}`);
});

test("it says which file is open, how large it is and what it can do", async () => {
  page = await visit();
  const size = (statSync(program).size / 1e6).toFixed(1);
  assert.equal(await page.locator("#file-name").textContent(), `fashion.caudal · ${size} MB`);
  const functions = await page.$$eval("#file-functions li", (items) => items.map((item) => item.textContent));
  assert.deepEqual(functions.sort(), JSON.parse(python("tests/browser/check.py", program)).functions);
});

test("what is drawn with the mouse is told as it is drawn, and lies as the data set's pictures do", async () => {
  page = await visit();
  const before = await probabilities(page);
  await drawFilled(page, TROUSERS, [0.38, 0.2]);
  const told = await probabilities(page);
  assert.notDeepEqual(told, before);
  assert.equal(await page.locator("#best").textContent(), LABELS[best(told)]);
  const rows = await page.$eval("#seen", (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, 28, 28);
    return Array.from({ length: 28 }, (_, row) => Array.from({ length: 28 }, (_, column) => data[(row * 28 + column) * 4]));
  });
  assert.ok(Math.max(...rows[0]) > 0 && Math.max(...rows[27]) > 0, "it reaches from top to bottom");
  const columns = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column])));
  const first = columns.findIndex(Boolean), last = columns.findLastIndex(Boolean);
  assert.ok(Math.abs(first - (27 - last)) <= 1 && first > 2, `it lies in the middle: ${first} to ${last}`);
  await page.click("#clear");
  assert.equal(await page.locator("#best").textContent(), "–");
});

test("filling an open outline is refused with a hint, and erasing takes away", async () => {
  page = await visit();
  await page.click("#clear");
  await page.getByText("Draw", { exact: true }).click();
  await drawOutline(page, SHIRT.slice(0, 6));
  const lit = () => page.$eval("#pad", (canvas) => canvas.getContext("2d").getImageData(0, 0, 28, 28).data.filter((level, i) => i % 4 === 0 && level > 0).length);
  const drawn = await lit();
  await page.getByText("Fill", { exact: true }).click();
  await page.locator("#pad").click({ position: { x: 150, y: 150 } });
  assert.match(await page.locator("#pad-note").textContent(), /open to the edge/);
  assert.equal(await lit(), drawn);
  await page.getByText("Erase", { exact: true }).click();
  await slide(page, "brush", 7);
  await drawOutline(page, SHIRT.slice(0, 3));
  assert.ok((await lit()) < drawn);
});

test("taught a new name for a drawing, the loss falls, the accuracy rises, and it says that name", async () => {
  page = await visit();
  await drawFilled(page, SHIRT);
  assert.notEqual(LABELS[best(await probabilities(page))], "Sandal");
  await label(page, "Sandal");
  assert.equal(await page.locator("#examples li").count(), 1);
  await slide(page, "rate", -3);
  assert.match(await train(page, 60), /^Trained 60 steps\./);
  const { losses, accuracies } = await curves(page);
  assert.equal(losses.length, 60);
  assert.ok(mean(losses.slice(-10)) < mean(losses.slice(0, 5)) / 3, `${losses}`);
  assert.ok(mean(accuracies.slice(-10)) > mean(accuracies.slice(0, 5)) + 0.2, `${accuracies}`);
  assert.equal(LABELS[best(await probabilities(page))], "Sandal");
  assert.equal(await page.locator("#own-before").textContent(), "0 of 1");
  await page.waitForFunction(() => document.querySelector("#own-now").textContent === "1 of 1");
  assert.ok(parseInt(await page.locator("#test-now").textContent()) >= 28, "it has not forgotten the others");
});

test("undo brings back the probabilities to the last bit, over several levels, with the learning rate", async () => {
  page = await visit();
  const rate = await page.locator("#rate-value").textContent();
  await drawFilled(page, SHIRT);
  const seen = [await probabilities(page)];
  await label(page, "Bag");
  for (let level = 0; level < 3; level++) {
    await train(page, 10);
    seen.push(await probabilities(page));
    assert.notDeepEqual(seen.at(-1), seen.at(-2));
    if (level === 1) await slide(page, "rate", -2.5);
  }
  assert.notEqual(await page.locator("#rate-value").textContent(), rate);
  for (let level = 2; level >= 0; level--) {
    assert.equal(await page.locator("#undo").textContent(), `Undo training ${level + 1}`);
    await page.click("#undo");
    await page.waitForFunction((text) => document.querySelector("#undo").textContent !== text, `Undo training ${level + 1}`);
    assert.deepEqual(await probabilities(page), seen[level]);
  }
  assert.equal(await page.locator("#rate-value").textContent(), rate);
  assert.ok(await page.locator("#undo").isDisabled());
  assert.equal(await page.locator("#loss .raw").count(), 0);
});

test("training can be stopped, keeps what was done by then, and goes on", async () => {
  page = await visit();
  await label(page, "Coat");
  await slide(page, "steps", 200);
  await page.click("#train");
  await page.waitForFunction(() => document.querySelector("#training").value > 0.02);
  await page.evaluate(() => {
    const files = new DataTransfer();
    files.items.add(new File(["x"], "other.caudal"));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
  });
  assert.match(await errorAt(page, "file-error"), /^other\.caudal was not opened: stop the training first/);
  await page.click("#stop");
  const [, done] = /^Stopped after (\d+) steps?\./.exec(await trained(page));
  assert.ok(Number(done) > 0 && Number(done) < 200);
  assert.equal((await curves(page)).losses.length, Number(done));
  assert.match(await train(page, 10), /^Trained 10 steps\./);
  assert.equal((await curves(page)).losses.length, Number(done) + 10);
});

test("Python opens the download, predicts the page's numbers with the page's learning rate, and trains on", async () => {
  page = await visit();
  await drawFilled(page, SHIRT);
  await label(page, "Shirt");
  await slide(page, "rate", -3.5);
  await train(page, 20);
  const file = await download(page);
  assert.equal(file.name, "fashion-taught.caudal");
  const there = JSON.parse(python("tests/browser/check.py", file.path, "5"));
  assert.ok(Math.abs(there.learning_rate - Number(await page.locator("#rate-value").textContent())) < 1e-9);
  const before = JSON.parse(python("tests/browser/check.py", program)).probabilities;
  let moved = 0;
  for (const i of [0, 6, 13, 24, 39]) {
    const shown = await pick(page, i);
    assertNear(shown, there.probabilities[i], 1e-4);
    moved = Math.max(moved, ...shown.map((value, label) => Math.abs(value - before[i][label])));
  }
  assert.ok(moved > 1e-3, "the file has learned");
  assert.ok(there.losses.every(Number.isFinite) && there.losses.length === 5, `${there.losses}`);
  const last = await probabilities(page);
  await openFile(page, file.path);
  await page.waitForFunction(() => !/^fashion.caudal/.test(document.querySelector("#file-name").textContent));
  assert.deepEqual(await probabilities(page), last, "the page opens it, too");
});

test("while it trains, frames go on, drawings are told and examples are added", async () => {
  page = await visit();
  await label(page, "Coat");
  await page.evaluate(() => {
    window.frames = 0;
    const frame = () => {
      window.frames += 1;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await slide(page, "steps", 100);
  await page.click("#train");
  await page.waitForFunction(() => document.querySelector("#training").value > 0);
  const [frames, from] = await page.evaluate(() => [window.frames, document.querySelector("#training").value]);
  const before = await page.$$eval("#bars li", (rows) => String(rows.map((row) => row.dataset.probability)));
  await drawFilled(page, TROUSERS, [0.38, 0.2]);
  await page.waitForFunction((old) => String([...document.querySelectorAll("#bars li")].map((row) => row.dataset.probability)) !== old, before);
  assert.ok((await page.$eval("#training", (bar) => bar.value)) < 1, "the answer came before the training ended");
  await label(page, "Trouser");
  assert.equal(await page.locator("#examples li").count(), 2);
  assert.ok(await page.locator("#stop").isEnabled());
  await trained(page);
  const steps = 100 * (1 - from);
  const more = (await page.evaluate(() => window.frames)) - frames;
  assert.ok(more > steps / 2, `${more} frames in ${steps} steps`);
});

test("memory stays flat over a thousand steps of training", async (context) => {
  page = await visit();
  await label(page, "Coat");
  const session = await browser.newBrowserCDPSession();
  /** Bytes that the page's processes have in memory. */
  const resident = async () => {
    const { processInfo } = await session.send("SystemInfo.getProcessInfo");
    const pages = processInfo.filter((one) => one.type === "renderer");
    const kilobytes = pages.map(({ id }) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${id}/status`, "utf8"))[1]));
    return 1024 * kilobytes.reduce((sum, value) => sum + value);
  };
  await train(page, 200);
  const before = await resident();
  for (let round = 0; round < 4; round++) {
    await train(page, 200);
    await page.click("#undo");
    await page.waitForFunction(() => document.querySelector("#undo").textContent === "Undo training 1");
  }
  const growth = (await resident()) - before;
  context.diagnostic(`the page has ${(before / 1e6).toFixed(0)} MB after 200 steps, ${(growth / 1e6).toFixed(1)} MB more after 800 others`);
  assert.ok(growth < 24e6, `${(growth / 1e6).toFixed(1)} MB more`);
});

test("on a phone nothing scrolls sideways, and a finger draws", async () => {
  for (const width of [320, 360, 412]) {
    page = await visit({ viewport: { width, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    await page.tap("#clear");
    const box = await page.locator("#pad").boundingBox();
    await page.touchscreen.tap(box.x + box.width / 2, box.y + box.height / 2);
    assert.ok((await probabilities(page)).every(Number.isFinite));
    await label(page, "Bag");
    await train(page, 10);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    if (width !== 412) await page.context().close();
  }
});

test("everything can be done by keyboard alone", async () => {
  page = await visit();
  /** Presses Tab until an element has the focus, which shows. */
  const reach = async (selector) => {
    for (let i = 0; i < 120; i++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
        const outline = await page.evaluate((wanted) => {
          const focused = document.querySelector(wanted);
          const shown = focused.type === "radio" ? focused.nextElementSibling : focused;
          return getComputedStyle(shown).outlineStyle;
        }, selector);
        return void assert.notEqual(outline, "none", selector);
      }
    }
    assert.fail(`${selector} was not reached`);
  };
  await reach("#pad");
  await page.keyboard.press("Delete");
  assert.equal(await page.locator("#best").textContent(), "–");
  for (let i = 0; i < 8; i++) await page.keyboard.press("ArrowUp");
  await page.keyboard.press(" ");
  for (let i = 0; i < 16; i++) await page.keyboard.press("Shift+ArrowDown");
  assert.ok(await page.locator("#pad-cursor").isVisible());
  const drawn = await probabilities(page);
  assert.ok(drawn.every(Number.isFinite));
  await reach("#tools input:checked");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.locator("#tools input:checked").getAttribute("value"), "fill");
  await reach("#pictures button:nth-child(2)");
  await page.keyboard.press("Enter");
  assert.equal(LABELS[best(await probabilities(page))], "Trouser");
  await reach("#labels button:nth-child(4)");
  await page.keyboard.press("Enter");
  await reach("#examples .remove");
  await reach("#steps");
  await page.keyboard.press("Home");
  assert.equal(await page.locator("#steps-count").textContent(), "10");
  await reach("#rate");
  await page.keyboard.press("ArrowRight");
  await reach("#train");
  await page.keyboard.press("Enter");
  assert.match(await trained(page), /^Trained 10 steps/);
  await reach("#undo");
  await page.keyboard.press(" ");
  await page.waitForFunction(() => document.querySelector("#training-note").textContent.startsWith("Taken back"));
  const [file] = await Promise.all([page.waitForEvent("download"), reach("#download").then(() => page.keyboard.press("Enter"))]);
  assert.ok(statSync(await file.path()).size > 1e6);
});

test("a file that is none is an error beside the file, and the page lives on with the one it had", async () => {
  page = await visit();
  const shown = await pick(page, 3);
  const bytes = readFileSync(program);
  const files = [
    ["page.caudal", Buffer.from("<!doctype html><title>Not found</title>"), /page\.caudal was not opened\. It is not a caudal file/],
    ["cut.caudal", bytes.subarray(0, bytes.length - 1000), /cut\.caudal was not opened\. It is not a caudal file, or it is damaged/],
    ["empty.caudal", Buffer.alloc(0), /empty\.caudal was not opened\. It is not a caudal file/],
    ["0.1.0.caudal", readFileSync(join(ROOT, "tests/fixtures/0.1.0.caudal")), /was not opened\. It has no function predict that takes/],
  ];
  for (const [name, buffer, text] of files) {
    await openFile(page, { name, mimeType: "application/octet-stream", buffer });
    await page.waitForFunction((wanted) => document.querySelector("#file-error").textContent.startsWith(wanted), name);
    assert.match(await errorAt(page, "file-error"), text);
    assert.match(await page.locator("#file-name").textContent(), /^fashion\.caudal/);
  }
  await pick(page, 4);
  assert.deepEqual(await pick(page, 3), shown);
  await label(page, "Dress");
  assert.match(await train(page, 10), /^Trained 10 steps/);
});

test("where the server has no file, or a web page in its place, that is said, and a file can be opened", async () => {
  const answers = [
    [{ status: 404, type: "text/plain", body: "not found" }, /fashion\.caudal was not opened.*404/],
    [{ status: 200, type: "text/html", body: "<!doctype html><title>Sorry</title>" }, /fashion\.caudal was not opened.*web page|HTML/],
  ];
  for (const [answer, text] of answers) {
    server.instead.set("/fashion.caudal", answer);
    page = await fresh();
    await page.goto(`${server.origin}/`);
    assert.match(await errorAt(page, "file-error"), text);
    assert.equal(await page.locator("#file-name").textContent(), "No file is open.");
    await openFile(page, program);
    await ready(page);
    assert.ok(await page.locator("#file-error").isHidden());
    assert.ok((await pick(page, 1)).every(Number.isFinite));
    await page.context().close();
  }
});

test("where the pictures are missing, that is said, and drawings are told all the same", async () => {
  server.instead.set("/pictures.bin", { status: 500 });
  page = await fresh();
  await page.goto(`${server.origin}/`);
  assert.match(await errorAt(page, "pictures-error"), /no pictures to pick.*500/);
  await page.waitForFunction(() => !document.querySelector("#download").disabled);
  await drawFilled(page, TROUSERS, [0.38, 0.2]);
  assert.ok((await probabilities(page)).every(Number.isFinite));
});

test("nothing but the page's own files is asked for", async () => {
  server.requests.length = 0;
  page = await visit();
  const other = server.requests.filter((path) => !/^\/($|[a-z]+\.(css|js|svg|bin|caudal)$|caudal\/[\w.-]+\.(js|wasm)$)/.test(path));
  assert.deepEqual(other, []);
  const blocked = await page.evaluate(() => fetch("https://example.org/").then(() => "fetched", (error) => error.name));
  assert.equal(blocked, "TypeError");
  faults = faults.filter((fault) => !/example\.org/.test(fault));
});

for (const colorScheme of ["light", "dark"]) {
  test(`axe finds nothing to better in the ${colorScheme} page`, async () => {
    page = await visit({ colorScheme });
    await label(page, "Bag");
    await page.evaluate(readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8"));
    const { violations } = await page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html)}`), []);
  });
}

test("it is photographed: wide and on a phone, light and dark", async () => {
  page = await visit();
  for (const [points, name] of [[SHIRT, "T-shirt/top"], [BOOT, "Ankle boot"], [SNEAKER, "Sneaker"]]) {
    await drawFilled(page, points, [0.4, 0.6]);
    await label(page, name);
  }
  await train(page, 40);
  for (const [name, width, height, colorScheme] of [
    ["desktop", 1180, 900, "light"], ["desktop-dark", 1180, 900, "dark"],
    ["phone", 360, 740, "light"], ["phone-dark", 360, 740, "dark"],
  ]) {
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme });
    await probabilities(page);
    await page.evaluate(() => (document.activeElement.blur(), scrollTo(0, 0)));
    const bytes = await page.screenshot({ path: join(PAGE, `${name}.png`), fullPage: true });
    assert.ok(bytes.length > 20_000);
  }
});
