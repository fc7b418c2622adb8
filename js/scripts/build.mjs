// Builds dist/: the compiled sources and the WASM module beside them, which CAUDAL_WASM may name.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const module = process.env.CAUDAL_WASM ?? `${root}../go/internal/wasm/caudal.wasm`;
const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");

if (!existsSync(module)) {
  console.error(`there is no WASM module at ${module}: run \`make wasm\`, or say with CAUDAL_WASM where it is`);
  process.exit(1);
}
rmSync(`${root}dist`, { recursive: true, force: true });
try {
  execFileSync(process.execPath, [tsc, "-p", `${root}tsconfig.json`], { stdio: "inherit" });
} catch {
  // tsc has said why.
  process.exit(1);
}
copyFileSync(module, `${root}dist/caudal.wasm`);
