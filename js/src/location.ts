import type { Location } from "./errors.js";

/** Where this package lies: its folder, or the one file that a bundler made of it. */
const OWN = import.meta.url.replace(/[?#].*$/, "").replace(/\/location\.js$/, "/");

// `at f (file:///model.ts:12:5)` of V8, `f@http://host/model.ts:12:5` of the others.
const FRAME = /(?:\(|@|at (?:async )?)((?:[a-z-]+:\/\/|\/|[A-Za-z]:\\)[^()]*?):(\d+)(?::\d+)?\)?$/;

/** The line of the innermost frame that is not this package's own; undefined where the engine does not say. */
export function userLocation(): Location | undefined {
  const constructor = Error as unknown as { stackTraceLimit?: number };
  const limit = constructor.stackTraceLimit;
  if (limit !== undefined && limit < 20) constructor.stackTraceLimit = 20;
  const stack = new Error().stack ?? "";
  if (limit !== undefined) constructor.stackTraceLimit = limit;
  for (const line of stack.split("\n")) {
    const found = FRAME.exec(line);
    if (found && !found[1]!.startsWith(OWN)) return { file: shortened(found[1]!), line: Number(found[2]) };
  }
  return undefined;
}

const known = new Map<string, string>();

/** A path without what is of this machine alone: below the working folder in Node, the path of the URL in a page. */
function shortened(place: string): string {
  let short = known.get(place);
  if (short === undefined) {
    const path = /^[a-z-]+:\/\//.test(place)
      ? decodeURIComponent(new URL(place).pathname)
      : place.replaceAll("\\", "/");
    const host = (globalThis as { process?: { cwd?(): string } }).process;
    const folder = host?.cwd ? `${host.cwd().replaceAll("\\", "/")}/` : undefined;
    if (folder === undefined) short = path;
    else short = path.startsWith(folder) ? path.slice(folder.length) : path.slice(path.lastIndexOf("/") + 1);
    if (known.size > 1024) known.clear();
    known.set(place, short);
  }
  return short;
}
