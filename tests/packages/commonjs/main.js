const { readFileSync } = require("node:fs");

async function main(file, picture) {
  const { load } = await import("caudal");
  const data = Float32Array.from(readFileSync(picture), (level) => level / 255);
  const session = await load(file);
  const { output } = await session.run("predict", { x: { data, shape: [1, 28, 28, 1] } });
  console.log(JSON.stringify({ probabilities: [...(await output.data())] }));
  await session.dispose();
}

main(...process.argv.slice(2));
