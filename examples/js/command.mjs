// The command line of the examples: flags, --help, and what goes wrong in a line.
import { parseArgs } from "node:util";

/** Ends the program with what is wrong. */
export function refuse(text, status = 1) {
  console.error(text);
  process.exit(status);
}

/**
 * The flags and files that were given; `--help` prints the help and ends the program, as a mistake does.
 *
 * @param flags - The default of each flag; where that is a number, the flag is a whole number above 0.
 * @param count - How many files are named without a flag.
 */
export function commandLine(help, flags, count = 0) {
  const usage = (text) => refuse(`${text}\n${help.split("\n")[0]}`, 2);
  const options = { help: { type: "boolean", short: "h" } };
  for (const name of Object.keys(flags)) options[name] = { type: "string" };
  if (options.output) options.output.short = "o";
  let given;
  try {
    given = parseArgs({ allowPositionals: true, options });
  } catch (error) {
    usage(error.message.split(". ")[0]);
  }
  const { values, positionals: files } = given;
  if (values.help) {
    console.log(help);
    process.exit(0);
  }
  if (files.length !== count) usage(`expected ${count || "no"} FILE, not ${files.length}`);
  const read = Object.entries(flags).map(([name, usual]) => {
    const text = values[name];
    if (text === undefined || typeof usual !== "number") return [name, text ?? usual];
    const value = Number(text);
    if (!Number.isInteger(value) || value <= 0) usage(`--${name} is a whole number above 0, not ${text}`);
    return [name, value];
  });
  return { ...Object.fromEntries(read), files, usage };
}

/** What some work with files gives; ends the program with the reason where one cannot be had. */
export async function withFiles(work) {
  try {
    return await work();
  } catch (error) {
    // Those of caudal and of the system; others are mistakes in the program.
    if (error.code === undefined) throw error;
    return refuse(error.message);
  }
}
