/** Counts what is asked of WebGPU, whoever asks: its classes are wrapped, in Node as in a page. */

/** Nothing so far. Bytes are those that dispatches bind, and that are written to buffers, copied and mapped to be read. */
const nothing = () => ({
  dispatches: 0,
  passes: 0,
  submits: 0,
  pipelines: 0,
  buffers: 0,
  bound: 0,
  uploaded: 0,
  copied: 0,
  read: 0,
});

/** Wraps the classes; gives a function that gives the counts since it was last called. */
export function countCalls() {
  let counts = nothing();
  const groups = new WeakMap();
  const passes = new WeakMap();

  /** Calls `look` with the object, the arguments and the result of each call. */
  const watch = (type, name, look) => {
    const own = type.prototype[name];
    type.prototype[name] = function (...given) {
      const result = own.apply(this, given);
      look(this, given, result);
      return result;
    };
  };
  const bound = ({ resource }) => {
    const binding = resource instanceof GPUBuffer ? { buffer: resource } : resource;
    return binding.buffer ? (binding.size ?? binding.buffer.size - (binding.offset ?? 0)) : 0;
  };
  const dispatch = (pass) => {
    counts.dispatches++;
    for (const bytes of passes.get(pass)?.values() ?? []) counts.bound += bytes;
  };

  watch(GPUDevice, "createBuffer", (_, [{ size, mappedAtCreation }]) => {
    counts.buffers++;
    if (mappedAtCreation) counts.uploaded += size;
  });
  watch(GPUDevice, "createBindGroup", (_, [{ entries }], group) => {
    groups.set(group, [...entries].reduce((sum, entry) => sum + bound(entry), 0));
  });
  for (const name of ["createComputePipeline", "createComputePipelineAsync"]) {
    watch(GPUDevice, name, () => counts.pipelines++);
  }
  watch(GPUCommandEncoder, "beginComputePass", (_, __, pass) => {
    counts.passes++;
    passes.set(pass, new Map());
  });
  watch(GPUCommandEncoder, "copyBufferToBuffer", (_, given) => {
    // Offsets may be left out: (from, to, size).
    const [from, bytes] = given.length > 3 ? [given[0], given[4]] : [given[0], given[2]];
    counts.copied += bytes ?? from.size;
  });
  watch(GPUComputePassEncoder, "setBindGroup", (pass, [index, group]) => {
    passes.get(pass).set(index, groups.get(group) ?? 0);
  });
  for (const name of ["dispatchWorkgroups", "dispatchWorkgroupsIndirect"]) watch(GPUComputePassEncoder, name, dispatch);
  watch(GPUQueue, "submit", () => counts.submits++);
  watch(GPUQueue, "writeBuffer", (_, [, , data, start = 0, size]) => {
    const unit = ArrayBuffer.isView(data) ? (data.BYTES_PER_ELEMENT ?? 1) : 1;
    counts.uploaded += (size ?? data.byteLength / unit - start) * unit;
  });
  watch(GPUBuffer, "mapAsync", (buffer, [mode, offset = 0, size]) => {
    if (mode === GPUMapMode.READ) counts.read += size ?? buffer.size - offset;
  });

  return () => {
    const found = counts;
    counts = nothing();
    return found;
  };
}
