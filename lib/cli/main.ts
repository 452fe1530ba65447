import type { PipelineError } from "../pipeline/faults.ts";
import { type Command, readArguments } from "./arguments.ts";
import { EXIT, UsageError } from "./exit.ts";

/** The commands: what each is for, and the module that does it. */
const COMMANDS: Readonly<
  Record<string, readonly [string, () => Promise<{ command: Command }>]>
> = {
  pipeline: [
    "Run a pipeline, or some of its stages",
    () => import("./commands/pipeline.ts"),
  ],
  plan: [
    "Say what a run would do, and why",
    () => import("./commands/plan.ts"),
  ],
  explain: [
    "Say why a stage is where it is, down to the line that changed",
    () => import("./commands/explain.ts"),
  ],
  graph: [
    "Draw a pipeline: in the terminal, for Mermaid or for Graphviz",
    () => import("./commands/graph.ts"),
  ],
  status: [
    "Say where each stage stands",
    () => import("./commands/status.ts"),
  ],
  logs: [
    "Print the log of a stage's last run",
    () => import("./commands/logs.ts"),
  ],
  cache: [
    "List, measure, check, clean up and pin cached results",
    () => import("./commands/cache.ts"),
  ],
  verify: [
    "Run a cached stage again and compare the bytes",
    () => import("./commands/verify.ts"),
  ],
  predict: [
    "Classify texts with a trained adapter",
    () => import("./commands/predict.ts"),
  ],
  setup: [
    "Install what the engine needs, or check it",
    () => import("./commands/setup.ts"),
  ],
  schema: [
    "Print the JSON Schema of pipeline files, for editors",
    () => import("./commands/schema.ts"),
  ],
};

/** Runs a command; resolves to the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h") {
    const { helpOfAll } = await import("./help.ts");
    const commands = Object.entries(COMMANDS);
    console.log(
      helpOfAll(commands.map(([name, [summary]]) => [name, summary])),
    );
    return name === undefined ? EXIT.usage : EXIT.fine;
  }
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (found === undefined) {
    const { didYouMean } = await import("../pipeline/faults.ts");
    const hint = didYouMean(name, Object.keys(COMMANDS));
    throw new UsageError(`Unknown command "${name}"${hint}`);
  }
  const { command } = await found[1]();
  const given = readArguments(command, rest);
  if (given.has("help")) {
    const { helpOf } = await import("./help.ts");
    console.log(helpOf(command));
    return EXIT.fine;
  }
  return await command.run(given);
}

/** Says what went wrong; returns the exit code that says the same. */
function report(error: unknown, args: readonly string[]): number {
  const { name, message } = error instanceof Error
    ? error
    : new Error(String(error));
  const isUsage = error instanceof UsageError || name === "PipelineError";
  // A bug, and nothing that the user did: where it happened is worth knowing.
  const isBug = error instanceof TypeError || error instanceof ReferenceError;
  console.error(isBug ? error.stack : message);
  if (error instanceof UsageError) {
    console.error(`See deno task ${args[0] ?? "pipeline"} --help`);
  }
  if (args.includes("--json") && name !== "BusyError") {
    console.log(JSON.stringify({ type: "error", message, ...faultsOf(error) }));
  }
  if (isUsage) return EXIT.usage;
  return name === "BusyError" ? EXIT.busy : EXIT.failed;
}

/** The faults of a pipeline file, each with its place. */
function faultsOf(error: unknown): { readonly faults?: readonly unknown[] } {
  if (!(error instanceof Error) || !("faults" in error)) return {};
  const { faults } = error as PipelineError;
  return {
    faults: faults.map(({ message, position }) => ({ message, ...position })),
  };
}

let code: number;
try {
  code = await main(Deno.args);
} catch (error) {
  code = report(error, Deno.args);
}
Deno.exit(code);
