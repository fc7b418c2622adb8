/** caudal: the programs that Python has saved. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { load } from "../../js/dist/index.js";

/** The contender, which calls `run` or, of the same session, `runSync`; on a GPU only `run`. */
export const caudal = (method, device = "cpu") => async (task, folder) => {
  const { version } = JSON.parse(readFileSync(new URL("../../js/package.json", import.meta.url)));
  const name = task.startsWith("predict") ? "convnet" : task;
  const session = await load(join(folder, `${name}.caudal`), { device });
  const shape = name === "mlp" ? [784] : [28, 28, 1];
  const pictures = (x) => ({ data: x, shape: [x.length / 784, ...shape] });
  const calls = {
    call: ({ x }) => session[method]("add", { x: { data: x, shape: [8] } }),
    predict: ({ x }) => session[method]("predict", { x: pictures(x) }),
    train: ({ x, y }) => session[method]("train_step", { x: pictures(x), y: { data: y, shape: [y.length] } }),
  };
  const call = calls[task.split("-")[0]] ?? calls.train;
  const finish = (outputs) => {
    const numbers = outputs.output.dataSync();
    outputs[Symbol.dispose]();
    return numbers;
  };
  const finishLater = async (outputs) => {
    const numbers = await outputs.output.data();
    outputs[Symbol.dispose]();
    return numbers;
  };
  if (device !== "cpu") return { version, step: async (batch) => finishLater(await call(batch)) };
  return { version, step: method === "run" ? async (batch) => finish(await call(batch)) : (batch) => finish(call(batch)) };
};
