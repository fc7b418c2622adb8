/** ONNX Runtime Web: WASM on one thread. */
import { join } from "node:path";
import * as ort from "onnxruntime-web";

/** The contender. It runs models, it does not train. */
export async function onnxruntime(task, folder) {
  ort.env.wasm.numThreads = 1;
  if (task !== "call" && !task.startsWith("predict")) throw new Error("it runs models and does not train");
  const path = join(folder, task === "call" ? "call.onnx" : "convnet.onnx");
  const session = await ort.InferenceSession.create(path, { executionProviders: ["wasm"] });
  const step = async ({ x }) => {
    const shape = task === "call" ? [8] : [x.length / 784, 28, 28, 1];
    const { y } = await session.run({ x: new ort.Tensor("float32", x, shape) });
    return y.data;
  };
  return { version: ort.env.versions.web, step };
}
