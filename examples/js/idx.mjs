// Fashion-MNIST as its IDX files hold it, zipped or not.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { refuse } from "./command.mjs";

/** Where Debian's package dataset-fashion-mnist puts the files. */
export const DEBIAN = "/usr/share/datasets/fashion-mnist";

export const GARMENTS = [
  "T-shirt/top",
  "Trouser",
  "Pullover",
  "Dress",
  "Coat",
  "Sandal",
  "Shirt",
  "Sneaker",
  "Bag",
  "Ankle boot",
];

function read(folder, name, header) {
  const path = [join(folder, `${name}.gz`), join(folder, name)].find((each) => existsSync(each));
  if (!path) refuse(`there is no ${name}.gz in ${folder}; install dataset-fashion-mnist, or say --data FOLDER`);
  const bytes = readFileSync(path);
  return (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).subarray(header);
}

/** Pictures, with pixels in 0 to 1, and labels of one set: `train` or `t10k`. */
export function fashionMnist(folder, set) {
  const images = Float32Array.from(read(folder, `${set}-images-idx3-ubyte`, 16), (pixel) => pixel / 255);
  return { images, labels: Int32Array.from(read(folder, `${set}-labels-idx1-ubyte`, 8)) };
}

/** The numbers below `count` in random order, the same for the same seed. */
export function shuffled(count, seed) {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  let state = seed >>> 0;
  for (let index = count - 1; index > 0; index--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (index + 1));
    [order[index], order[other]] = [order[other], order[index]];
  }
  return order;
}

/** The pictures of some numbers with their labels, as functions take them; `shape` is that of one picture. */
export function batchOf({ images, labels }, numbers, shape) {
  const data = new Float32Array(numbers.length * 784);
  numbers.forEach((number, row) => data.set(images.subarray(number * 784, (number + 1) * 784), row * 784));
  return { x: { data, shape: [numbers.length, ...shape] }, y: Int32Array.from(numbers, (number) => labels[number]) };
}

/** The share of right answers of a session's `predict`, as its classes have the largest probability. */
export async function accuracyOf(session, set, shape, most = Infinity) {
  const count = Math.min(set.labels.length, most);
  let right = 0;
  for (let start = 0; start < count; start += 500) {
    const numbers = Array.from({ length: Math.min(500, count - start) }, (_, index) => start + index);
    const { x } = batchOf(set, numbers, shape);
    const out = await session.run("predict", { x });
    const scores = await out.output.data();
    out[Symbol.dispose]();
    numbers.forEach((number, row) => {
      const own = scores.subarray(row * 10, row * 10 + 10);
      right += Number(own.indexOf(Math.max(...own)) === set.labels[number]);
    });
  }
  return right / count;
}
