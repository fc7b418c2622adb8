/** The part of WebGPU that is used, which TypeScript's own library does not describe yet. */

export interface GPUBuffer {
  mapAsync(mode: number): Promise<undefined>;
  getMappedRange(): ArrayBuffer;
  destroy(): undefined;
}

export interface GPUShaderModule {
  getCompilationInfo(): Promise<{ messages: readonly { message: string; type: string; lineNum: number; linePos: number }[] }>;
}

/** What is only handed from one call to another. */
export interface GPUObject {
  readonly label: string;
}

export interface GPUComputePass {
  setPipeline(pipeline: GPUObject): undefined;
  setBindGroup(index: number, group: GPUObject): undefined;
  dispatchWorkgroups(x: number, y: number, z: number): undefined;
  end(): undefined;
}

export interface GPUCommandEncoder {
  beginComputePass(): GPUComputePass;
  copyBufferToBuffer(from: GPUBuffer, offset: number, to: GPUBuffer, at: number, bytes: number): undefined;
  clearBuffer(buffer: GPUBuffer, offset: number, bytes: number): undefined;
  finish(): GPUObject;
}

export interface GPUQueue {
  submit(buffers: readonly GPUObject[]): undefined;
  writeBuffer(buffer: GPUBuffer, offset: number, data: ArrayBuffer, at: number, bytes: number): undefined;
  onSubmittedWorkDone(): Promise<undefined>;
}

export interface GPUError {
  readonly message: string;
}

export interface GPUDevice {
  readonly queue: GPUQueue;
  readonly lost: Promise<{ reason: string; message: string }>;
  createBuffer(descriptor: { size: number; usage: number }): GPUBuffer;
  createShaderModule(descriptor: { code: string }): GPUShaderModule;
  createBindGroupLayout(descriptor: object): GPUObject;
  createPipelineLayout(descriptor: object): GPUObject;
  createComputePipeline(descriptor: object): GPUObject;
  createBindGroup(descriptor: object): GPUObject;
  createCommandEncoder(): GPUCommandEncoder;
  pushErrorScope(filter: "validation" | "out-of-memory"): undefined;
  popErrorScope(): Promise<GPUError | null>;
  addEventListener(type: "uncapturederror", listener: (event: { error: GPUError }) => void): void;
  destroy(): undefined;
}

export interface GPUAdapter {
  readonly features: ReadonlySet<string>;
  readonly limits: Readonly<Record<string, number>>;
  readonly info: {
    readonly vendor: string;
    readonly architecture: string;
    readonly device: string;
    readonly description: string;
    readonly isFallbackAdapter?: boolean;
    readonly subgroupMinSize?: number;
    readonly subgroupMaxSize?: number;
  };
  readonly isFallbackAdapter?: boolean;
  requestDevice(descriptor: object): Promise<GPUDevice>;
}

export interface GPU {
  /** Missing where it came before language features had names. */
  readonly wgslLanguageFeatures?: { has(name: string): boolean };
  requestAdapter(options?: { powerPreference?: "high-performance" }): Promise<GPUAdapter | null>;
}

/** The values of `GPUBufferUsage`. */
export const Usage = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128 } as const;

/** The value of `GPUMapMode.READ`. */
export const MAP_FOR_READING = 1;

/** The value of `GPUShaderStage.COMPUTE`. */
export const COMPUTE = 4;
