/** The kind of an error, the same word in every language. */
export type Code =
  | "argument"
  | "dtype"
  | "shape"
  | "index"
  | "name"
  | "closed"
  | "format"
  | "newer"
  | "io"
  | "memory"
  | "deadline"
  | "cancelled"
  | "device"
  | "unsupported"
  | "internal";

/** Every code, in the order of their numbers in the C API, which begin with 1. */
const CODES: readonly Code[] = [
  "argument",
  "dtype",
  "shape",
  "index",
  "name",
  "closed",
  "format",
  "newer",
  "io",
  "memory",
  "deadline",
  "cancelled",
  "device",
  "unsupported",
  "internal",
];

/** The code of what a device has not given yet; see `Pending` in `instance.ts`. */
export const PENDING = 16;

/** The number of a code in the C API. */
export function numberOf(code: Code): number {
  return CODES.indexOf(code) + 1;
}

/** A place in the user's source; as text it is `model.ts:12`. */
export interface Location {
  readonly file: string;
  readonly line: number;
}

/** The parts of an error beside its text. */
export interface ErrorParts {
  op?: string | undefined;
  argument?: string | undefined;
  location?: Location | undefined;
}

/** What caudal throws. The message is `op: what is wrong (file:line)`; the parts are properties. */
export class CaudalError extends Error {
  override readonly name = "CaudalError";
  /** The kind of error: `"shape"`, `"dtype"`, ... */
  readonly code: Code;
  /** The op (or the program's function) that refused, if one did. */
  readonly op: string | undefined;
  /** The input or attr that does not fit, if it is one. */
  readonly argument: string | undefined;
  /** The user's line, where it is known. */
  readonly location: Location | undefined;

  constructor(code: Code, message: string, parts: ErrorParts = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.op = parts.op;
    this.argument = parts.argument;
    this.location = parts.location;
  }
}

/** The code of a number of the C API; one that is not known is a mistake in caudal. */
export function codeOf(number: number): Code {
  return CODES[number - 1] ?? "internal";
}

/** An error whose text has the same form as the core's. */
export function failure(code: Code, text: string, parts: ErrorParts = {}): CaudalError {
  let message = parts.op ? `${parts.op}: ${text}` : text;
  if (parts.location) message += ` (${parts.location.file}:${parts.location.line})`;
  return new CaudalError(code, message, parts);
}

/** The same error with another message and other parts; its stack and cause are kept. */
export function reworded(error: CaudalError, message: string, parts: ErrorParts = {}): CaudalError {
  const { op, argument, location } = error;
  return new CaudalError(error.code, message, { op, argument, location, ...parts }, { cause: error });
}

/** What a name that is not there gets: the names that there are. */
export function unknownName(what: string, name: string, known: Iterable<string>): CaudalError {
  return failure("name", `no ${what} is named '${name}'; there are: ${[...known].join(", ") || "none"}`);
}
