import { dtypeInfo } from "./dtype.js";
import { failure } from "./errors.js";
import { Tensor } from "./tensor.js";

/**
 * The random key of a seed, `uint32[2]`; the same key gives the same numbers on every machine and in every language.
 *
 * @param seed - An integer of 64 bits.
 * @throws CaudalError `argument`: an integer outside of 0 to 2^64 - 1, or a number that is not exact.
 */
export function randomKey(seed: number | bigint): Tensor<"uint32"> {
  const whole = typeof seed === "bigint" || Number.isSafeInteger(seed);
  const number = whole ? BigInt(seed) : -1n;
  if (number < 0n || number >= 1n << 64n) {
    throw failure("argument", `${seed} is not in 0 to 2^64 - 1`, { op: "key", argument: "seed" });
  }
  const words = Uint32Array.of(Number(number >> 32n), Number(number & 0xffffffffn));
  return new Tensor<"uint32">(dtypeInfo("uint32"), [2], new Uint8Array(words.buffer));
}
