import type { PipelineError } from "../pipeline/faults.ts";
import {
  type Commands,
  EXIT,
  helpOf,
  helpOfAll,
  readArguments,
  UsageError,
} from "./arguments/arguments.ts";

/** The commands, each with a summary and the module that implements it. */
const COMMANDS: Commands = {
  pipeline: [
    "Run a pipeline, or some of its stages",
    async () => (await import("./commands/pipeline.ts")).pipelineCommand,
  ],
  init: [
    "Write a pipeline for your own data",
    async () => (await import("./commands/init.ts")).initCommand,
  ],
  predict: [
    "Classify texts with a trained adapter",
    async () => (await import("./commands/predict.ts")).predictCommand,
  ],
  export: [
    "Export a trained adapter for PEFT, at any of its ranks",
    async () => (await import("./commands/export.ts")).exportCommand,
  ],
  push: [
    "Upload an exported adapter to the Hugging Face hub",
    async () => (await import("./commands/push.ts")).pushCommand,
  ],
  runs: [
    "Compare runs: parameters, scores, times and sizes",
    async () => (await import("./commands/runs.ts")).runsCommand,
  ],
  dash: [
    "Follow a run in the browser",
    async () => (await import("./commands/dash.ts")).dashCommand,
  ],
  track: [
    "Send trainings and evaluations to TensorBoard, Trackio or MLflow",
    async () => (await import("./commands/track.ts")).trackCommand,
  ],
  status: [
    "Show the state and the last run of each stage",
    async () => (await import("./commands/plan.ts")).statusCommand,
  ],
  logs: [
    "Print the log of a stage",
    async () => (await import("./commands/logs.ts")).logsCommand,
  ],
  plan: [
    "Show what a run would do, and why",
    async () => (await import("./commands/plan.ts")).planCommand,
  ],
  explain: [
    "Explain why a stage runs or not, down to the changed line",
    async () => (await import("./commands/plan.ts")).explainCommand,
  ],
  graph: [
    "Draw a pipeline for the terminal, Mermaid or Graphviz",
    async () => (await import("./commands/graph.ts")).graphCommand,
  ],
  verify: [
    "Run cached stages again and compare the output",
    async () => (await import("./commands/verify.ts")).verifyCommand,
  ],
  cache: [
    "List, measure, check, clean up and pin cached results",
    async () => (await import("./commands/cache.ts")).cacheCommand,
  ],
  setup: [
    "Install the engine, or check it",
    async () => (await import("./commands/setup.ts")).setupCommand,
  ],
  schema: [
    "Print the JSON Schema of pipeline files, for editors",
    async () => (await import("./commands/schema.ts")).schemaCommand,
  ],
  completion: [
    "Print the completion script of a shell",
    async () => (await import("./commands/completion.ts")).completionCommand,
  ],
};

/** Runs a command; resolves to the exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === "--help" || name === "-h") {
    const commands = Object.entries(COMMANDS)
      .map(([name, [summary]]) => [name, summary] as const);
    console.log(helpOfAll(commands));
    return name === undefined ? EXIT.usage : EXIT.success;
  }
  const found = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (found === undefined) {
    const { didYouMean } = await import("../pipeline/did_you_mean.ts");
    const names = Object.keys(COMMANDS);
    const hint = didYouMean(name, names) || `; expected ${names.join(", ")}`;
    throw new UsageError(`Unknown command "${name}"${hint}`);
  }
  const [, load] = found;
  const command = await load();
  const parsed = await readArguments(command, rest);
  if (parsed.has("help")) {
    console.log(await command.help?.(parsed) ?? helpOf(command));
    return EXIT.success;
  }
  return await command.run(parsed, COMMANDS);
}

/** Prints an error; returns its exit code. */
async function report(
  error: unknown,
  args: readonly string[],
): Promise<number> {
  const { withSettings } = await import("./arguments/options.ts");
  const { name, message: plain } = error instanceof Error
    ? error
    : new Error(String(error));
  const settings = args.flatMap((arg, i) => {
    if (arg === "-S" || arg === "--set") return args[i + 1] ?? [];
    return /^(?:-S|--set=)(.+)$/s.exec(arg)?.[1] ?? [];
  });
  const isUsage = error instanceof UsageError || name === "PipelineError";
  // A pipeline names the settings of its faults itself.
  const message = isUsage ? plain : withSettings(plain, settings);
  // A bug of the program: the stack trace helps.
  const isBug = error instanceof TypeError || error instanceof ReferenceError;
  console.error(isBug ? error.stack : message);
  const [command = ""] = args;
  if (error instanceof UsageError && Object.hasOwn(COMMANDS, command)) {
    console.error(`Run "deno task ${command} --help" for usage`);
  }
  if (args.includes("--json") && name !== "BusyError") {
    console.log(JSON.stringify({ type: "error", message, ...faultsOf(error) }));
  }
  if (isUsage) return EXIT.usage;
  return name === "BusyError" ? EXIT.busy : EXIT.failed;
}

/** The faults of a pipeline file with their positions. */
function faultsOf(error: unknown): { readonly faults?: readonly unknown[] } {
  if (!(error instanceof Error) || !("faults" in error)) return {};
  const { faults } = error as PipelineError;
  return {
    faults: faults.map(({ message, position, setting }) => ({
      message,
      ...position,
      ...(setting !== undefined && { setting }),
    })),
  };
}

let code: number;
try {
  code = await main(Deno.args);
} catch (error) {
  code = await report(error, Deno.args);
}
Deno.exit(code);
