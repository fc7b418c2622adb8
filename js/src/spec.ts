import { type DType, dtypeInfo } from "./dtype.js";
import { failure } from "./errors.js";

/** A dim: a size, or text: a symbol such as `batch`, or arithmetic over symbols. */
export type Dim = number | string;

/** The dtype and shape of a value before it is known. Equal symbols in one signature are equal sizes. */
export interface Spec<D extends DType = DType> {
  readonly dtype: D;
  readonly shape: readonly Dim[];
}

/** The text of a shape: `[batch, 784]`. */
export function shapeText(shape: readonly Dim[]): string {
  return `[${shape.join(", ")}]`;
}

/** The text of a spec: `float32[batch, 784]`; throws `argument` for what is none. */
export function specText(spec: Spec): string {
  if (!Array.isArray(spec?.shape))
    throw failure("argument", `${JSON.stringify(spec)} is not a spec such as { dtype: "float32", shape: ["batch", 784] }`);
  return `${spec.dtype}${shapeText(spec.shape)}`;
}

/** The spec of text such as `float32[batch, 784]`; throws `argument` or `dtype` for other text. */
export function parseSpec(text: string): Spec {
  const start = text.indexOf("[");
  if (start < 0 || !text.endsWith("]"))
    throw failure("argument", `'${text}' is not a spec such as float32[batch, 784]`);
  const shape = splitDims(text.slice(start + 1, -1)).map((dim) => (/^\d+$/.test(dim) ? Number(dim) : dim));
  return { dtype: dtypeInfo(text.slice(0, start).trim()).name, shape };
}

/** The dims in the text of a shape; a comma inside parentheses does not part them. */
function splitDims(text: string): string[] {
  const dims: string[] = [];
  let depth = 0;
  let start = 0;
  for (let position = 0; position < text.length; position++) {
    const character = text[position];
    depth += Number(character === "(") - Number(character === ")");
    if (character === "," && depth === 0) {
      dims.push(text.slice(start, position).trim());
      start = position + 1;
    }
  }
  const last = text.slice(start).trim();
  return last || dims.length ? [...dims, last] : dims;
}
