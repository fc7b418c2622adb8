// Tensors: what they are made of, what they give back, 16-bit floats.
import assert from "node:assert/strict";
import { test } from "node:test";
import { bfloat16Bits, bfloat16Values, float16Bits, float16Values, ops, tensor } from "caudal";

test("a tensor gives back what it was made of", async () => {
  const cases = [
    [[new Float32Array([1, 2, 3, 4]), [2, 2]], "float32", [2, 2], Float32Array.of(1, 2, 3, 4)],
    [
      [
        [
          [1, 2],
          [3, 4],
        ],
      ],
      "float32",
      [2, 2],
      Float32Array.of(1, 2, 3, 4),
    ],
    [[7], "float32", [], Float32Array.of(7)],
    [[7n], "int64", [], BigInt64Array.of(7n)],
    [[[true, false]], "bool", [2], Uint8Array.of(1, 0)],
    [[Uint8Array.of(0, 1), [2], "bool"], "bool", [2], Uint8Array.of(0, 1)],
    [[[1, -1], [2], "int8"], "int8", [2], Int8Array.of(1, -1)],
    [[BigUint64Array.of(2n ** 63n)], "uint64", [1], BigUint64Array.of(2n ** 63n)],
    [[[2 ** 53, 5n], [2], "uint64"], "uint64", [2], BigUint64Array.of(2n ** 53n, 5n)],
    [[new Uint8ClampedArray([300])], "uint8", [1], Uint8Array.of(255)],
    [[[1.5], [1], "bfloat16"], "bfloat16", [1], Uint16Array.of(0x3fc0)],
    [[Uint16Array.of(0x3c00), [1], "float16"], "float16", [1], Uint16Array.of(0x3c00)],
    [[[], [0, 3]], "float32", [0, 3], new Float32Array()],
    [[{ data: [1, 2], shape: [2, 1], dtype: "int32" }], "int32", [2, 1], Int32Array.of(1, 2)],
  ];
  for (const [given, dtype, shape, data] of cases) {
    const made = tensor(...given);
    assert.deepEqual([made.dtype, made.shape, await made.data()], [dtype, shape, data]);
    // The same where it has gone through WASM.
    assert.deepEqual(ops.reshape(made, { shape }).dataSync(), data);
  }
  assert.equal(await tensor([2.5]).item(), 2.5);
  assert.equal(await tensor([true]).item(), true);
  assert.equal(await tensor([3n]).item(), 3n);
  assert.equal(await tensor([1.5], [1], "float16").item(), 1.5);
});

const TAKEN = "caudal takes tensors, typed arrays, numbers and lists of numbers";

test("what a tensor cannot be made of", async () => {
  const cases = [
    [() => tensor([1, [2]]), "shape", "the lists have different lengths"],
    [() => tensor([[1, 2], [3]]), "shape", "the lists have different lengths"],
    [() => tensor([1.5], [1], "int32"), "dtype", "the list holds a float, which int32 does not hold; cast one of them"],
    [() => tensor(1, [], "bool"), "dtype", "1 is an integer, which bool does not hold; cast one of them"],
    [() => tensor([256], [1], "uint8"), "dtype", "256 is out of range for uint8"],
    [() => tensor(NaN, [], "int8"), "dtype", "NaN is a float, which int8 does not hold; cast one of them"],
    [() => tensor(1, [], "f4"), "dtype", /^no dtype is named 'f4'; there are bool, int8, /],
    [() => tensor(new Float32Array(5), [2, 3]), "shape", "the data has 5 elements, which the shape [2, 3] has not"],
    [() => tensor(new Float32Array(6), [-2, -3]), "argument", "-2 is not a size"],
    [
      () => tensor(new Float32Array(1), [1], "int32"),
      "dtype",
      "the data is float32, not int32; write Int32Array.from(data)",
    ],
    [
      () => tensor(new Float32Array(1), [1], "float16"),
      "dtype",
      "the data is float32, not float16; write float16Bits(data)",
    ],
    [() => tensor(Uint8Array.of(2), [1], "bool"), "argument", "a bool is 0 or 1, the data has another byte"],
    [() => tensor([1, 2], [1.5]), "argument", "1.5 is not a size"],
    [() => tensor([1, 2], ["2"]), "argument", '"2" is not a size'],
    [() => tensor([1, 2], "2"), "argument", 'the shape is "2", not a list of sizes such as [2, 3]'],
    [() => tensor([1, 2], 2), "argument", "the shape is 2, not a list of sizes such as [2, 3]"],
    [() => tensor({ data: [1], shape: null }), "argument", "the shape is null, not a list of sizes such as [2, 3]"],
    [() => tensor({ data: [1], dtype: 5 }), "dtype", /^no dtype is named '5'/],
    [() => tensor("text"), "argument", `string is not an array; ${TAKEN}`],
    [() => tensor(undefined), "argument", `undefined is not an array; ${TAKEN}`],
    [() => tensor([1, "a"]), "argument", `string is not an array; ${TAKEN}`],
    [() => tensor([[1], [2, { a: 1 }]]), "argument", `Object is not an array; ${TAKEN}`],
    [() => tensor([[null]]), "argument", `null is not an array; ${TAKEN}`],
    [() => tensor([new Float32Array(1)]), "argument", `the list holds a Float32Array; ${TAKEN}`],
    [() => tensor({ data: null, shape: [1] }), "argument", `null is not an array; ${TAKEN}`],
    [() => tensor({ data: { data: [1] } }), "argument", `Object is not an array; ${TAKEN}`],
    [() => tensor([{ data: [1] }]), "argument", `Object is not an array; ${TAKEN}`],
    [() => tensor({ data: tensor(1) }), "argument", `a tensor has a shape of its own; ${TAKEN}`],
  ];
  for (const [work, code, message] of cases) assert.throws(work, { code, message });
  await assert.rejects(tensor([1, 2]).item(), {
    code: "shape",
    message: "item: the tensor has shape [2], not one element",
  });
  const gone = tensor([1]);
  gone.dispose();
  gone.dispose();
  assert.throws(() => gone.dataSync(), { code: "closed", message: "the tensor was disposed" });
  assert.throws(() => ops.neg(gone), { code: "closed" });
});

test("16-bit floats are rounded as the core rounds them, every one of them there and back", () => {
  const bits = Uint16Array.from({ length: 65536 }, (_, index) => index);
  const isNaN16 = (values) => values.map((value) => (value !== value ? 0 : value));
  for (const [name, pack, unpack] of [
    ["float16", float16Bits, float16Values],
    ["bfloat16", bfloat16Bits, bfloat16Values],
  ]) {
    const values = unpack(bits);
    assert.deepEqual(
      isNaN16(values),
      isNaN16(ops.cast(tensor(bits, undefined, name), { dtype: "float32" }).dataSync()),
      name,
    );
    const back = pack(values);
    assert.ok(
      back.every((word, index) => word === bits[index] || values[index] !== values[index]),
      name,
    );
    // Halfway between neighbours, and a little beside that.
    const between = Float32Array.from(
      values.subarray(0, 0x7bff),
      (value, index) => ((value + values[index + 1]) / 2) * (1 + ((index % 3) - 1) * 1e-6),
    );
    const rounded = ops.cast(tensor(between), { dtype: name }).dataSync();
    const own = pack(between);
    assert.deepEqual(
      own.findIndex((word, index) => word !== rounded[index]),
      -1,
      name,
    );
    assert.deepEqual(
      pack([Infinity, -0, 1e39, -1e39]),
      ops.cast(tensor([Infinity, -0, 1e39, -1e39], [4], "float32"), { dtype: name }).dataSync(),
    );
  }
});
