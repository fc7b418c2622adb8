// The page's modules and the library's types, by the library's own compiler.

import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { ROOT } from "./setup.mjs";

const OPTIONS = {
  noEmit: true, allowJs: true, checkJs: true, strict: true, noUnusedLocals: true, noUnusedParameters: true, target: "es2022",
  module: "nodenext", lib: ["es2023", "dom", "dom.iterable", "esnext.disposable"], types: [],
};

test("the page calls the library as its types say", () => {
  const folder = mkdtempSync(join(tmpdir(), "caudal-types-"));
  try {
    cpSync(join(ROOT, "examples", "web"), folder, { recursive: true });
    // Declarations alone: what they stand for has been checked.
    cpSync(join(ROOT, "js", "dist"), join(folder, "caudal"), { recursive: true, filter: (path) => !/\.(js|wasm)$/.test(path) });
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions: OPTIONS, files: ["main.js"] }));
    const compiler = join(ROOT, "js", "node_modules", "typescript", "bin", "tsc");
    execFileSync(process.execPath, [compiler, "-p", folder], { encoding: "utf8", stdio: ["ignore", "inherit", "inherit"] });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
