import {
  type Arguments,
  type Command,
  command,
  invalidValue,
  UsageError,
} from "../../lib/cli/arguments/arguments.ts";

/**
 * Declares a benchmark as {@linkcode command} does a command, by its name:
 * `step` for `deno task bench step`.
 */
export function benchmark(
  text: TemplateStringsArray,
  ...values: readonly string[]
): (run: Command["run"]) => Command {
  const declare = command(text, ...values);
  return (run) => {
    const declared = declare(run);
    return { ...declared, name: `bench ${declared.name}` };
  };
}

/** Precisions that both sides can compute in. */
const PRECISIONS = ["bf16", "f32"] as const;

/** A precision that both sides can compute in. */
export type Precision = typeof PRECISIONS[number];

export const PRECISION = `--precision LIST  Precisions to time (default ${
  PRECISIONS.join(",")
})`;

/**
 * The precisions to time, in the order given.
 *
 * @throws {UsageError} If there is another among them.
 */
export function precisionsOf(args: Arguments): readonly Precision[] {
  const names = args.value("precision")?.split(",") ?? PRECISIONS;
  return names.map((name) => {
    const precision = PRECISIONS.find((it) => it === name);
    if (precision !== undefined) return precision;
    throw invalidValue("precision", name, "expected bf16, f32 or bf16,f32");
  });
}

/**
 * The values of an option that is a list of numbers: `8,200`.
 *
 * @throws {UsageError} If one of them is not an integer of at least 1.
 */
export function integersOf(
  args: Arguments,
  name: string,
  usual: string,
): number[] {
  return (args.value(name) ?? usual).split(",").map((text) => {
    if (/^[1-9]\d*$/.test(text)) return Number(text);
    throw invalidValue(name, text, "expected an integer of at least 1");
  });
}

/**
 * The value of an environment variable that a benchmark requires.
 *
 * @throws {UsageError} If it is not set, with the remedy.
 */
function variable(name: string, remedy: string): string {
  const value = Deno.env.get(name);
  if (value !== undefined && value !== "") return value;
  throw new UsageError(`${name} is not set: ${remedy}`);
}

/** The Python of the peer. */
export function peerPython(): string {
  return variable(
    "PEFT_PYTHON",
    'run eval "$(sh tests/bench/peer/setup.sh)" to install the Python to compare with and set the variable',
  );
}

/** The folder of the model that the benchmarks of whole runs train. */
export function minilmFolder(): string {
  return variable("DYLORA_MINILM", "name the folder of all-MiniLM-L6-v2");
}

/** The folder of GLUE's TSV files. */
export function glueFolder(): string {
  return variable("DYLORA_GLUE", "name a folder of GLUE's TSV files");
}

/** Seconds that a run takes. */
export async function secondsOf(run: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await run();
  return (performance.now() - started) / 1000;
}
