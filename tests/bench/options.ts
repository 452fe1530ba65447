import {
  type Arguments,
  type Option,
  UsageError,
} from "../../lib/cli/arguments/arguments.ts";

/** Precisions that both sides can compute in. */
const PRECISIONS = ["bf16", "f32"] as const;

/** A precision that both sides can compute in. */
export type Precision = typeof PRECISIONS[number];

export const PRECISION: Option = {
  name: "precision",
  value: "LIST",
  description: `Precisions to time (default ${PRECISIONS.join(",")})`,
};

/**
 * The precisions to time, in the order given.
 *
 * @throws {UsageError} If there is another among them.
 */
export function precisionsOf(given: Arguments): readonly Precision[] {
  const names = given.value("precision")?.split(",") ?? PRECISIONS;
  return names.map((name) => {
    const found = PRECISIONS.find((it) => it === name);
    if (found !== undefined) return found;
    throw new UsageError(
      `Invalid value "${name}" for option "--precision": expected bf16, f32 or bf16,f32`,
    );
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
