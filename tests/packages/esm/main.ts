import { readFileSync } from "node:fs";
import { load } from "caudal";

type Fashion = {
  predict: { inputs: { x: "float32" }; outputs: { output: "float32" } };
  train_step: { inputs: { x: "float32"; y: "int32" }; outputs: { loss: "float32"; accuracy: "float32" } };
};

const [file = "", picture = ""] = process.argv.slice(2);
const data = Float32Array.from(readFileSync(picture), (level) => level / 255);
const x = { data, shape: [1, 28, 28, 1] };
for (const worker of [false, true]) {
  const session = await load<Fashion>(file, { worker });
  const { output } = await session.run("predict", { x });
  const { loss } = await session.run("train_step", { x, y: { data: Int32Array.of(9), shape: [1] } });
  const probabilities: Float32Array = await output.data();
  const lossNow: number = await loss.item();
  console.log(JSON.stringify({ probabilities: [...probabilities], loss: lossNow }));
  await session.dispose();
}
