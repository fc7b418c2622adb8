// Builds dist/: the package and its Worker, a file each, their types, and the WASM module, which CAUDAL_WASM may name.
import { buildSync } from "esbuild";
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
// One file each, so that a page has them after a request, and not when the last of thirty has come.
buildSync({
  entryPoints: [`${root}src/index.ts`, `${root}src/worker.ts`],
  outdir: `${root}dist`,
  bundle: true,
  format: "esm",
  target: "es2022",
});
copyFileSync(module, `${root}dist/caudal.wasm`);
