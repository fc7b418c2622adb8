// WebGPU in Node: Dawn, on the driver that is named in VK_ICD_FILENAMES, else on Chromium's software one.
import { existsSync } from "node:fs";

const SWIFTSHADER = ["/usr/lib/chromium/vk_swiftshader_icd.json", "/usr/lib64/chromium-browser/vk_swiftshader_icd.json"];

/** The devices that were opened, for tests that lose them. */
export const opened = [];

/** Sets `navigator.gpu`; gives why it cannot. */
export async function installGpu() {
  process.env.VK_ICD_FILENAMES ??= SWIFTSHADER.find((file) => existsSync(file)) ?? "";
  if (!process.env.VK_ICD_FILENAMES) return "no Vulkan driver is known: install chromium, or set VK_ICD_FILENAMES";
  // Its absence makes the loader noisy.
  process.env.XDG_RUNTIME_DIR ??= "/tmp";
  let dawn;
  try {
    dawn = await import("webgpu");
  } catch (error) {
    return `the package webgpu does not load: ${error.message.split("\n")[0]}`;
  }
  Object.assign(globalThis, dawn.globals);
  const gpu = dawn.create([]);
  const adapter = async (options) => {
    const found = await gpu.requestAdapter(options);
    if (!found) return found;
    const { features, limits, info } = found;
    const requestDevice = async (descriptor) => {
      const device = await found.requestDevice(descriptor);
      opened.push(device);
      return device;
    };
    return { features, limits, info, requestDevice };
  };
  const value = { gpu: { requestAdapter: adapter, wgslLanguageFeatures: gpu.wgslLanguageFeatures } };
  Object.defineProperty(globalThis, "navigator", { value, configurable: true });
  return (await gpu.requestAdapter()) ? undefined : `${process.env.VK_ICD_FILENAMES} has no adapter`;
}
