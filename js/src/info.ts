/** What the library says of itself. */

import { sharedInstance } from "./instance.js";
import { init } from "./wasm.js";

/**
 * The devices that sessions can run on, as their option `device` names them.
 *
 * @throws CaudalError as `init`.
 */
export async function devices(): Promise<string[]> {
  await init();
  const found = JSON.parse(sharedInstance().begin().answer("cdl_devices")) as { name: string }[];
  return found.map((device) => device.name);
}
