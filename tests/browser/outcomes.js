// What lists of commands come to on the driver by itself, in the thread where this runs: a page, or a Worker.

import { outcome } from "/driver/core.mjs";
import { Driver } from "/driver.js";

export async function outcomes(cases) {
  const found = [];
  for (const entry of cases) found.push(await outcome(Driver, navigator.gpu, entry));
  return found;
}

if (typeof window === "undefined") onmessage = async ({ data }) => postMessage(await outcomes(data));
