/** What the library says of itself. */

import { openGpu } from "./gpu.js";
import { sharedInstance } from "./instance.js";
import { init } from "./wasm.js";

/**
 * The devices that sessions can run on, as their option `device` names them.
 *
 * @throws CaudalError as `init`.
 */
export async function devices(): Promise<string[]> {
  await init();
  // One that does not open is none.
  await openGpu(sharedInstance(), "gpu:0").catch(() => {});
  const found = JSON.parse(sharedInstance().begin().answer("cdl_devices")) as { name: string }[];
  return found.map((device) => device.name);
}
