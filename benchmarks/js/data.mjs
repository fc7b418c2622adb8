/** The files that benchmarks/networks.py has written. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

const BATCH = 64;
const PIXELS = 28 * 28;

/** The bytes of a file at the start of a buffer of their own, so that any typed array may look at them. */
function bytes(folder, name) {
  return Uint8Array.from(readFileSync(join(folder, name))).buffer;
}

/** Batches of `size` pictures and their labels, in order. */
export function batches(folder, size) {
  const pictures = new Float32Array(bytes(folder, "pictures.f32"));
  const labels = new Int32Array(bytes(folder, "labels.i32"));
  return Array.from({ length: labels.length / BATCH }, (_, i) => ({
    x: pictures.slice(i * BATCH * PIXELS, (i * BATCH + size) * PIXELS),
    y: labels.slice(i * BATCH, i * BATCH + size),
  }));
}

/** The float32 tensors of a program, which is a safetensors file: name to { data, shape }. */
export function weights(folder, program) {
  const file = bytes(folder, `${program}.caudal`);
  const size = Number(new DataView(file).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(file, 8, size)));
  const entries = Object.entries(header).filter(([, { dtype }]) => dtype === "F32");
  return Object.fromEntries(
    entries.map(([name, { shape, data_offsets: [start, end] }]) => [
      name,
      { data: new Float32Array(file.slice(8 + size + start, 8 + size + end)), shape },
    ]),
  );
}

/** The values in another order of dimensions, as NumPy's `transpose`: dimension i of the result is `order[i]`. */
export function transpose({ data, shape }, order) {
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  const sizes = order.map((i) => shape[i]);
  const steps = order.map((i) => strides[i]);
  const result = new Float32Array(data.length);
  const index = sizes.map(() => 0);
  for (let i = 0; i < result.length; i++) {
    result[i] = data[index.reduce((sum, at, k) => sum + at * steps[k], 0)];
    for (let k = sizes.length - 1; k >= 0 && ++index[k] === sizes[k]; k--) index[k] = 0;
  }
  return { data: result, shape: sizes };
}
