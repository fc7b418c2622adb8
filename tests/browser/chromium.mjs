// Headless Chromium by playwright-core.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/** The browser's program: CHROMIUM names it, else the first on the path. Throws a line that says what to install. */
function program() {
  const places = process.env.CHROMIUM
    ? [process.env.CHROMIUM]
    : NAMES.flatMap((name) => (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, name)));
  const found = places.find((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) {
    throw new Error(
      `there is no Chromium (${process.env.CHROMIUM ?? NAMES.join(", ")}): install it (Debian: apt-get install chromium), or name it: CHROMIUM=/path`,
    );
  }
  return found;
}

/** Starts it with some flags more. As root, Chromium has no sandbox. */
export function launch(flags = []) {
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: program(), args: [...args, ...flags] });
}
