/** GPUs: a device is opened here, which takes turns of the event loop, before the core is told of it. */

import { Driver } from "./driver.js";
import { failure } from "./errors.js";
import type { Instance } from "./instance.js";
import type { GPU, GPUAdapter, GPUDevice } from "./webgpu.js";

/** The features that shaders use where they are. */
const FEATURES = ["shader-f16", "subgroups"];

/** The limits that are asked for: all that the adapter has. */
const LIMITS = [
  "maxBufferSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupStorageSize",
  "maxComputeWorkgroupsPerDimension",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
];

/** The least that kernels need, which some old adapters lack. */
const MIN_INVOCATIONS = 256;

/** A device that is open in this thread; all instances share it. */
interface Opened {
  readonly number: number;
  readonly device: GPUDevice;
  /** What the core is told of it, as JSON. */
  readonly facts: string;
}

let opening: Promise<Opened | undefined> | undefined;
let count = 0;

/** The device, opened when it is first asked for, and anew once it is lost; undefined where there is no WebGPU. */
function opened(): Promise<Opened | undefined> {
  if (!opening) {
    const mine = open();
    const forget = () => {
      if (opening === mine) opening = undefined;
    };
    opening = mine;
    mine.then((found) => (found ? found.device.lost.then(forget) : forget()), forget);
  }
  return opening;
}

async function open(): Promise<Opened | undefined> {
  const gpu = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!gpu || !adapter || !(adapter.limits["maxComputeInvocationsPerWorkgroup"]! >= MIN_INVOCATIONS)) return undefined;
  const device = await adapter.requestDevice({
    requiredFeatures: FEATURES.filter((feature) => adapter.features.has(feature)),
    requiredLimits: Object.fromEntries(LIMITS.map((name) => [name, adapter.limits[name]])),
  });
  const facts = { number: ++count, ...factsOf(adapter), subgroups: knowsSubgroups(gpu, adapter) };
  return { number: count, device, facts: JSON.stringify(facts) };
}

/**
 * Shaders count the invocations of a workgroup along its subgroups, whose numbers are a feature of the language. Where
 * their size varies it may be another one than a shader is told, and some of their invocations may be missing.
 */
function knowsSubgroups(gpu: GPU, { features, info }: GPUAdapter): boolean {
  const isSizeKnown = info.subgroupMinSize !== undefined && info.subgroupMinSize === info.subgroupMaxSize;
  return features.has("subgroups") && isSizeKnown && (gpu.wgslLanguageFeatures?.has("subgroup_id") ?? false);
}

function factsOf(adapter: GPUAdapter): object {
  const { info, limits, features } = adapter;
  const name = [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(" ");
  const isFallback = info.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false;
  return {
    adapter: name || "WebGPU",
    backend: "webgpu",
    // Where it stands in for a GPU some do not say so.
    software: isFallback || /swiftshader|llvmpipe|basic render/i.test(name),
    f16: features.has("shader-f16"),
    binding_bytes: limits["maxStorageBufferBindingSize"],
    buffer_bytes: limits["maxBufferSize"],
    storage_buffers: limits["maxStorageBuffersPerShaderStage"],
    invocations: limits["maxComputeInvocationsPerWorkgroup"],
    workgroup_bytes: limits["maxComputeWorkgroupStorageSize"],
    groups: limits["maxComputeWorkgroupsPerDimension"],
    // What a device is not asked for are the defaults.
    alignment: 256,
  };
}

/**
 * Opens the device of that name for an instance, if it is a GPU.
 *
 * @throws CaudalError `device`: it does not open. That there is none, the core says.
 */
export async function openGpu(instance: Instance, name: string | undefined): Promise<void> {
  if (name !== "auto" && !name?.startsWith("gpu:")) return;
  let found: Opened | undefined;
  try {
    found = await opened();
  } catch (error) {
    if (name === "auto") return;
    throw failure("device", `${name} does not open: ${(error as Error).message}`, { argument: "device" });
  }
  if (!found || instance.drivers.has(found.number)) return;
  const { number, device } = found;
  const core = {
    buffer: () => instance.buffer,
    failed: (isMemory: boolean, text: string) => instance.report(number, isMemory ? "memory" : "internal", text),
  };
  instance.drivers.set(number, new Driver(device, core));
  instance.tell(found.facts);
  // A device may outlive many instances, which nothing here keeps.
  const held = new WeakRef(instance);
  const lose = (reason: string) => {
    const lost = held.deref();
    lost?.report(number, "device", reason);
    lost?.drivers.get(number)?.release();
    lost?.drivers.delete(number);
  };
  void device.lost.then(({ reason, message }) => lose(message || reason));
}
