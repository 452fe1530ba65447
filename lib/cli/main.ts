import {
  asTyped,
  type Commands,
  EXIT,
  helpOf,
  helpOfAll,
  readArguments,
  UsageError,
  WIDTH,
  wrap,
} from "./arguments/arguments.ts";

/**
 * The commands by name, and how each is loaded; deno.json has their summaries.
 */
const COMMANDS: Commands = {
  pipeline: async () =>
    (await import("./commands/pipeline.ts")).pipelineCommand,
  init: async () => (await import("./commands/init.ts")).initCommand,
  predict: async () => (await import("./commands/predict.ts")).predictCommand,
  export: async () => (await import("./commands/export.ts")).exportCommand,
  resize: async () => (await import("./commands/resize.ts")).resizeCommand,
  push: async () => (await import("./commands/push.ts")).pushCommand,
  runs: async () => (await import("./commands/runs.ts")).runsCommand,
  dash: async () => (await import("./commands/dash.ts")).dashCommand,
  try: async () => (await import("./commands/try.ts")).tryCommand,
  track: async () => (await import("./commands/track.ts")).trackCommand,
  status: async () => (await import("./commands/plan.ts")).statusCommand,
  logs: async () => (await import("./commands/logs.ts")).logsCommand,
  plan: async () => (await import("./commands/plan.ts")).planCommand,
  explain: async () => (await import("./commands/plan.ts")).explainCommand,
  graph: async () => (await import("./commands/graph.ts")).graphCommand,
  verify: async () => (await import("./commands/verify.ts")).verifyCommand,
  cache: async () => (await import("./commands/cache.ts")).cacheCommand,
  setup: async () => (await import("./commands/setup.ts")).setupCommand,
  schema: async () => (await import("./commands/schema.ts")).schemaCommand,
};

/**
 * Runs a command; resolves to the exit code, and rejects with what
 * {@linkcode report} prints.
 */
async function main(args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  const ofVersion = args.slice(0, 2).includes("--version");
  if (name === undefined || ["--help", "-h"].includes(name) || ofVersion) {
    const { readProject } = await import("./arguments/options.ts");
    const { version, summaries } = readProject();
    console.log(
      ofVersion
        ? `DyLoRA pipelines ${version}, Deno ${Deno.version.deno}`
        : asTyped(helpOfAll(summaries.filter(([task]) => task in COMMANDS))),
    );
    return name === undefined ? EXIT.usage : EXIT.success;
  }
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (load === undefined) {
    const { didYouMean } = await import("../pipeline/did_you_mean.ts");
    const hint = didYouMean(name, Object.keys(COMMANDS), "expected");
    throw new UsageError(`Unknown command "${name}"${hint}`);
  }
  const command = await load();
  const parsed = await readArguments(command, rest);
  if (parsed.has("help")) {
    console.log(asTyped(await command.help?.(parsed) ?? helpOf(command)));
    return EXIT.success;
  }
  const { asLastRun, checkOwnData } = await import("./arguments/last_run.ts");
  const isNew = ["pipeline", "plan"].includes(name);
  const hasSettings = command.options.some(({ name }) => name === "set");
  if (isNew) checkOwnData(parsed);
  const runArgs = hasSettings && !isNew ? asLastRun(parsed) : parsed;
  try {
    return await command.run(runArgs) ?? EXIT.success;
  } catch (error) {
    const { NoResultError } = await import("../scheduler/failure.ts");
    if (!(error instanceof NoResultError)) throw error;
    const { stageCommand } = await import("./arguments/options.ts");
    const making = stageCommand("pipeline", runArgs, error.id);
    const message = `${error.message}:\n  run: ${making}`;
    throw new Error(message, { cause: error });
  }
}

async function report(
  error: unknown,
  args: readonly string[],
): Promise<number> {
  const { BusyError, fullMessage } = await import("../scheduler/failure.ts");
  const { PipelineError, printable } = await import("../pipeline/faults.ts");
  const failure = error instanceof Error ? error : new Error(String(error));
  const isBusy = error instanceof BusyError;
  const text = printable(asTyped(fullMessage(failure)));
  const isRead = Deno.stderr.isTerminal();
  console.error(isRead ? wrap(text, WIDTH).join("\n") : text);
  const [command = ""] = args;
  if (error instanceof UsageError && Object.hasOwn(COMMANDS, command)) {
    console.error(asTyped(`Run "deno task ${command} --help" for usage`));
  }
  if (args.includes("--json") && !isBusy) {
    const faults = error instanceof PipelineError
      ? error.faults.map(({ span: _, position, ...fault }) => ({
        ...fault,
        ...position,
      }))
      : undefined;
    const { message } = failure;
    const shown = { type: "error", message, ...faults && { faults } };
    console.log(JSON.stringify(shown));
  }
  if (error instanceof UsageError || error instanceof PipelineError) {
    return EXIT.usage;
  }
  return isBusy ? EXIT.busy : EXIT.failed;
}

/** Runs the command line; resolves to the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    return await main(args);
  } catch (error) {
    return await report(error, args);
  }
}

if (import.meta.main) Deno.exit(await run(Deno.args));
