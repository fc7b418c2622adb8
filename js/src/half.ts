const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The bits of the `bfloat16` nearest to a number, ties to even. */
export function toBFloat16(value: number): number {
  float[0] = value;
  const bits = word[0]!;
  // A NaN must not be rounded to infinity.
  if (value !== value) return 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** The number that the bits of a `bfloat16` stand for. */
export function fromBFloat16(bits: number): number {
  word[0] = bits << 16;
  return float[0]!;
}

/** The bits of the `float16` nearest to a number, ties to even. */
export function toFloat16(value: number): number {
  if (value !== value) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundEven(size * 2 ** 24);
  const exponent = exponentOf(size);
  // A fraction that rounds up to 2 carries into the exponent by itself.
  return sign | (((exponent + 15) << 10) + roundEven((size / 2 ** exponent - 1) * 1024));
}

/** The number that the bits of a `float16` stand for. */
export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The floor of the binary logarithm of a normal number. */
function exponentOf(size: number): number {
  let exponent = Math.floor(Math.log2(size));
  // The logarithm may be off by an ulp at a power of 2.
  if (2 ** exponent > size) exponent--;
  if (2 ** (exponent + 1) <= size) exponent++;
  return exponent;
}

function roundEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** The bits of numbers as `float16`. */
export function float16Bits(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(values, toFloat16);
}

/** The numbers that the bits of `float16` stand for. */
export function float16Values(bits: ArrayLike<number>): Float32Array {
  return Float32Array.from(bits, fromFloat16);
}

/** The bits of numbers as `bfloat16`. */
export function bfloat16Bits(values: ArrayLike<number>): Uint16Array {
  return Uint16Array.from(values, toBFloat16);
}

/** The numbers that the bits of `bfloat16` stand for. */
export function bfloat16Values(bits: ArrayLike<number>): Float32Array {
  return Float32Array.from(bits, fromBFloat16);
}
