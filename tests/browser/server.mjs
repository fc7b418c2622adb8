// A static server on this machine that keeps what was asked, and can answer an address with something else.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/**
 * Serves a folder, and other folders under paths of their own.
 *
 * @param {Record<string, string>} folders by path: { "/": FOLDER, "/js/": OTHER }
 * @returns `origin`, `requests` (paths asked so far), `instead` (path to `{ status, type, body }`), `close()`
 */
export async function serve(folders) {
  const requests = [];
  const instead = new Map();
  const roots = Object.entries(folders).sort(([a], [b]) => b.length - a.length);
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    requests.push(path);
    const other = instead.get(path);
    if (other) {
      response.writeHead(other.status ?? 200, { "content-type": other.type ?? "application/octet-stream" });
      return void response.end(other.body ?? "");
    }
    const [root, folder] = roots.find(([start]) => path.startsWith(start)) ?? [];
    const file = folder && join(folder, normalize("/" + path.slice(root.length)), path.endsWith("/") ? "index.html" : "");
    const found = file && (await stat(file).catch(() => undefined));
    if (!found?.isFile()) {
      response.writeHead(404, { "content-type": "text/plain" });
      return void response.end("not found\n");
    }
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-length": found.size, "cache-control": "no-store" });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    requests,
    instead,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}
