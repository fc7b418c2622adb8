// Builds dist/: the compiled sources and the WASM module beside them, which CAUDAL_WASM may name.
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const module = process.env.CAUDAL_WASM ?? `${root}../go/internal/wasm/caudal.wasm`;
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

rmSync(`${root}dist`, { recursive: true, force: true });
try {
  execFileSync(process.execPath, [tsc, "-p", `${root}tsconfig.json`], { stdio: "inherit" });
} catch {
  // tsc has said why.
  process.exit(1);
}
copyFileSync(module, `${root}dist/caudal.wasm`);
