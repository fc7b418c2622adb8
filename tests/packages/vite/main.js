import { load } from "caudal";

const picture = await (await fetch("picture.bin")).arrayBuffer();
const data = Float32Array.from(new Uint8Array(picture), (level) => level / 255);

/** The probabilities that a session gives, here or in a worker. */
window.probabilities = async (worker) => {
  const session = await load("fashion.caudal", { worker });
  const { output } = await session.run("predict", { x: { data, shape: [1, 28, 28, 1] } });
  const all = [...(await output.data())];
  await session.dispose();
  return all;
};
