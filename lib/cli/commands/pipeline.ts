import { selectStages } from "../../scheduler/context.ts";
import { run } from "../../scheduler/scheduler.ts";
import { join } from "../../files/paths.ts";
import { command } from "../arguments/arguments.ts";
import {
  CACHE_LIMIT,
  ENGINE,
  EXECUTOR,
  FORCE,
  GRAPH_OPTIONS,
  JSON_LINES,
  LIMIT_OPTIONS,
  PROGRAM,
  stageCommand,
  withSetting,
} from "../arguments/options.ts";
import { keepRun } from "../arguments/last_run.ts";
import { openRun } from "../runtime/executor.ts";
import { REMOTE_OPTIONS, runRemote } from "../runtime/remote.ts";
import { watchInterrupts } from "../terminal/interrupts.ts";
import type { Answer } from "../terminal/messages.ts";
import { chooseRenderer } from "../terminal/renderer.ts";
import { fewSteps } from "./few_steps.ts";
import {
  answerOf,
  RunOutcome,
  showFiles,
  updatePages,
} from "./pipeline_outcome.ts";

export const pipelineCommand = command`
  pipeline [PIPELINE [STAGE...]]

  Run a pipeline: exactly the stages whose results are not cached. Without arguments, list the pipelines; PIPELINE --help shows the parameters of one.

  PIPELINE is a name in pipelines/ or a file. With STAGEs, only these and the stages that they need run. A STAGE is an id (train@mrpc,seed=0), the start of an id (train@mrpc), a name (train), or a glob in quotes ("train-*@mrpc*").

  Exit codes: 0 success, 1 a stage failed, 2 invalid arguments or pipeline file, 3 another process runs a stage or holds what it needs (--no-wait), 5 a stage ended without its output, 129, 130 or 143 interrupted. The first Ctrl-C lets stages write a checkpoint; the second ends them at once.

  Options:
  ${FORCE}
  ${GRAPH_OPTIONS}
  ${ENGINE}
  ${LIMIT_OPTIONS}
  ${EXECUTOR}
  --detach  With slurm: submit the run itself as a job, and exit; status and logs show how it goes on
  ${REMOTE_OPTIONS}
  -k, --keep-going  After a failure, run the stages that do not depend on the failed one
  -n, --dry-run  Show what would run, and run nothing
  --no-wait  Fail instead of waiting for another process that runs one of the stages, or holds a GPU or mutex that one needs
  --watch  Run again whenever the pipeline file, the code of its tasks or a source file changes, until Ctrl-C
  ${CACHE_LIMIT}
  ${JSON_LINES}

  Examples:
  smoke  Run all of pipelines/smoke.yaml
  glue-mini --profile quick -S data=glue  Use a profile and a parameter
  glue-mini train-dylora@mrpc  Run some stages and what they need
  glue-mini "train-lora@mrpc*" --force  Run stages again, by a glob
  my/pipeline.yaml --dry-run  Show what would run, and why
`(async (args) => {
  if (args.positionals.length === 0) {
    const { printPipelines } = await import("./pipeline_help.ts");
    return await printPipelines(args);
  }
  if (args.has("watch")) {
    const { watchPipeline } = await import("./pipeline_watch.ts");
    return await watchPipeline(args);
  }
  if (args.has("dry-run")) {
    const { printPlan } = await import("./plan.ts");
    await printPlan(args);
    return;
  }
  using renderer = await chooseRenderer(args);
  const { say, note } = renderer;
  using interrupts = watchInterrupts(() =>
    note(
      "Stopping: waiting for stages to write checkpoints; press Ctrl-C again to end them at once",
    )
  );
  const { signal } = interrupts;
  const opened = await openRun(args, { say, signal });
  const { graph, selected, store, saveGraph, cluster, settings } = opened;
  if (graph.description && !args.has("json")) note(graph.description);
  const remote = await runRemote(args, store, note, signal);
  if (cluster !== undefined && args.has("detach")) {
    const log = join(store.makeFolder("schedulers"), `${graph.pipeline}.log`);
    const job = await cluster.submitScheduler(
      [...PROGRAM, "pipeline", ...args.without("detach").words()],
      log,
    );
    note(
      `Submitted the run as job ${job}; "deno task status" and "deno task logs" show its stages, "${log}" what it prints`,
    );
    return;
  }
  for (const text of await fewSteps(opened, "pipeline", args)) note(text);
  keepRun(args);
  const outcome = new RunOutcome(graph.pipeline, store);
  let answer: Answer | undefined;
  try {
    const { failed, skipped, interrupted } = await run(
      graph,
      selected,
      { ...settings, remote },
      (event) => {
        outcome.add(event);
        if (event.type === "failed") {
          const { setting } = event;
          const message = setting
            ? withSetting(event.message, setting, "pipeline", args)
            : event.message;
          const log = event.log !== "" && !args.has("json")
            ? stageCommand("logs", args, event.stage)
            : event.log;
          say({ ...event, message, log });
        } else if (event.type !== "summary") {
          // The summary comes last, after the files that the pipeline shows.
          say(event);
        }
      },
      signal,
      store,
    );
    if (failed === 0 && interrupts.code === undefined) await saveGraph();
    const pages = interrupts.code === undefined
      ? await updatePages(args, outcome, graph, store, say)
      : new Map<string, string>();
    if (failed + skipped + interrupted === 0) {
      const current = selectStages(graph, selected);
      showFiles(graph, outcome.changed, settings.out, say);
      const replaced = await outcome.replacedText();
      if (replaced !== undefined) note(replaced);
      answer = await answerOf(graph, current, pages, settings.out, args);
    }
  } catch (error) {
    if (!interrupts.caused(error)) throw error;
  } finally {
    const transfers = await remote?.end();
    if (transfers !== undefined) say(transfers);
    // People read the answer last; programs expect the summary last.
    const end = [outcome.summary, answer];
    if (args.has("json")) end.reverse();
    for (const message of end) if (message) say(message);
  }
  return interrupts.code ?? outcome.code;
}, async (args) => {
  if (args.positionals.length === 0) return undefined;
  const { helpOfPipeline } = await import("./pipeline_help.ts");
  return await helpOfPipeline(args);
});
