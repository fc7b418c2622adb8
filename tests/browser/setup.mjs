// What the tests stand on: the page laid out, Python, a program that was trained.

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const HERE = dirname(fileURLToPath(import.meta.url));
export const ROOT = join(HERE, "..", "..");
export const PAGE = join(ROOT, "build", "page");
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv", "bin", "python");

/** Runs a Python script of the project with the caudal that was built; gives what it prints. */
export function python(...args) {
  if (!existsSync(PYTHON)) throw new Error(`there is no ${PYTHON}: run make build, or name an interpreter that has caudal: PYTHON=/path`);
  return execFileSync(PYTHON, args, { cwd: ROOT, encoding: "utf8", maxBuffer: 1 << 26 });
}

/** The program that `make demo` trained; where it did not, the same, trained here. */
export function trained() {
  const demo = join(ROOT, "build", "demo", "fashion.caudal"), own = join(ROOT, "build", "browser", "fashion.caudal");
  if (existsSync(demo)) return demo;
  if (!existsSync(own)) {
    mkdirSync(dirname(own), { recursive: true });
    python(join("examples", "fashion.py"), own, "--epochs", "4");
  }
  return own;
}

/** Lays the page out in build/page; gives the path of the program in it. */
export function layOut() {
  python(join("examples", "web", "build.py"), "--out", PAGE, "--program", trained());
  return join(PAGE, "fashion.caudal");
}
