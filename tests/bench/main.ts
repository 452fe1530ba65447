/**
 * `deno task bench NAME ...`: runs `tests/bench/NAME/bench.ts` with the rest of
 * the arguments.
 */
import {
  type Command,
  EXIT,
  helpOf,
  readArguments,
  UsageError,
} from "../../lib/cli/arguments/arguments.ts";
import { command as bytes } from "./bytes/bench.ts";
import { command as epoch } from "./epoch/bench.ts";
import { command as first } from "./first/bench.ts";
import { command as generate } from "./generate/bench.ts";
import { command as pipeline } from "./pipeline/bench.ts";
import { command as profile } from "./profile/bench.ts";
import { command as resize } from "./resize/bench.ts";
import { command as remote } from "./remote/bench.ts";
import { command as serve } from "./serve/bench.ts";
import { command as stage } from "./stage/bench.ts";
import { command as step } from "./step/bench.ts";
import { command as sweep } from "./sweep/bench.ts";
import { command as table } from "./table/bench.ts";

const commands: readonly Command[] = [
  bytes,
  epoch,
  first,
  generate,
  pipeline,
  profile,
  remote,
  resize,
  serve,
  stage,
  step,
  sweep,
  table,
];

const usage = [
  "Usage: deno task bench NAME [OPTION...]",
  "",
  "Benchmarks:",
  ...commands.map(({ name, description }) =>
    `  ${name.replace("bench ", "").padEnd(10)}${description.split(". ")[0]}`
  ),
  "",
  'Run "deno task bench NAME --help" for the options of a benchmark.',
].join("\n");

/** Runs a benchmark; resolves to the exit code. */
export async function main(
  [name, ...args]: readonly string[],
): Promise<number> {
  try {
    return await runBenchmark(name, args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(error.message);
    return EXIT.usage;
  }
}

async function runBenchmark(
  name: string | undefined,
  args: readonly string[],
): Promise<number> {
  if (name === undefined || name === "--help" || name === "-h") {
    console.log(usage);
    return name === undefined ? EXIT.usage : EXIT.success;
  }
  const command = commands.find((it) => it.name === `bench ${name}`);
  if (command === undefined) {
    throw new UsageError(`Unknown benchmark "${name}"\n${usage}`);
  }
  const given = await readArguments(command, args);
  if (!given.has("help")) {
    return await command.run(given) ?? EXIT.success;
  }
  console.log(helpOf(command));
  return EXIT.success;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
