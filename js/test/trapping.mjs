// The Worker of the package, with an instance that traps in its fifth run.
const { Instance } = WebAssembly;

WebAssembly.Instance = function (module, imports) {
  const exports = { ...new Instance(module, imports).exports };
  const run = exports.cdl_function_run;
  let runs = 0;
  // No handle lies there.
  exports.cdl_function_run = (...args) => (++runs === 5 ? exports.cdl_program_write(0xfffffff0, 8) : run(...args));
  return { exports };
};
await import("../dist/worker.js");
