import type { PipelineError } from "../pipeline/fault.ts";
import { type Command, EXIT, readArguments, UsageError } from "./arguments.ts";

/** The commands: what each is for, and the module that does it. */
const COMMANDS: Readonly<
  Record<string, readonly [string, () => Promise<Command>]>
> = {
  pipeline: [
    "Run a pipeline, or some of its stages",
    async () => (await import("./pipeline.ts")).pipelineCommand,
  ],
  plan: [
    "Say what a run would do, and why",
    async () => (await import("./plan.ts")).planCommand,
  ],
  explain: [
    "Say why a stage is where it is, down to the line that changed",
    async () => (await import("./plan.ts")).explainCommand,
  ],
  graph: [
    "Draw a pipeline: in the terminal, for Mermaid or for Graphviz",
    async () => (await import("./graph.ts")).graphCommand,
  ],
  status: [
    "Say where each stage stands",
    async () => (await import("./plan.ts")).statusCommand,
  ],
  logs: [
    "Print the log of a stage's last run",
    async () => (await import("./logs.ts")).logsCommand,
  ],
  cache: [
    "List, measure, check, clean up and pin cached results",
    async () => (await import("./cache.ts")).cacheCommand,
  ],
  verify: [
    "Run a cached stage again and compare the bytes",
    async () => (await import("./verify.ts")).verifyCommand,
  ],
  predict: [
    "Classify texts with a trained adapter",
    async () => (await import("./predict.ts")).predictCommand,
  ],
  setup: [
    "Install what the engine needs, or check it",
    async () => (await import("./setup.ts")).setupCommand,
  ],
  schema: [
    "Print the JSON Schema of pipeline files, for editors",
    async () => (await import("./schema.ts")).schemaCommand,
  ],
};

/** Runs a command; resolves to the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h") {
    const { helpOfAll } = await import("./arguments.ts");
    const commands = Object.entries(COMMANDS);
    console.log(
      helpOfAll(commands.map(([name, [summary]]) => [name, summary])),
    );
    return name === undefined ? EXIT.usage : EXIT.fine;
  }
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (found === undefined) {
    const { didYouMean } = await import("../pipeline/suggest.ts");
    const hint = didYouMean(name, Object.keys(COMMANDS));
    throw new UsageError(`Unknown command "${name}"${hint}`);
  }
  const command = await found[1]();
  const given = readArguments(command, rest);
  if (given.has("help")) {
    const { helpOf } = await import("./arguments.ts");
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
