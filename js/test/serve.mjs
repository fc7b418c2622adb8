// A server for the tests of loading, in a process of its own: what it keeps is not counted. It prints its port.
import { createServer } from "node:http";

/** A safetensors file with one float32 tensor of so many bytes, in parts. */
function* weights(bytes) {
  const header = JSON.stringify({ w: { dtype: "F32", shape: [bytes / 4], data_offsets: [0, bytes] } });
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  yield Buffer.concat([length, Buffer.from(padded)]);
  const part = Buffer.alloc(1 << 20, 1);
  for (let sent = 0; sent < bytes; sent += part.length) yield part.subarray(0, Math.min(part.length, bytes - sent));
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://localhost");
  const bytes = Number(url.searchParams.get("bytes") ?? 4096);
  if (url.pathname === "/missing") return response.writeHead(404).end("no");
  if (url.pathname === "/page") return response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html>");
  const length = weights(bytes).next().value.length + bytes;
  if (url.pathname !== "/unknown") response.setHeader("content-length", length);
  response.flushHeaders();
  let count = 0;
  for (const part of weights(bytes)) {
    if (url.pathname === "/cut" && count++ === 2) return response.destroy();
    if (url.pathname === "/stall" && count++ === 2) return;
    if (!response.write(part)) await new Promise((resolve) => response.once("drain", resolve));
  }
  response.end();
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
