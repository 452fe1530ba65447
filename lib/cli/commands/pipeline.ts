import type { Graph } from "../../pipeline/graph.ts";
import type { Event, Summary } from "../../scheduler/events.ts";
import { run } from "../../scheduler/scheduler.ts";
import type { Command, Given } from "../arguments.ts";
import { readyEngineRuntime } from "../engine.ts";
import { EXIT } from "../exit.ts";
import { watchInterrupts } from "../interrupts.ts";
import type { Message } from "../messages.ts";
import { openGraph, selectedStages } from "../open_graph.ts";
import {
  ENGINE,
  GRAPH_OPTIONS,
  HELP,
  JSON_LINES,
  LIMIT_OPTIONS,
  settingsOf,
} from "../options.ts";
import { chooseRenderer } from "../render/choose.ts";
import { showFiles } from "../show_files.ts";

/** `deno task pipeline`: brings the stages of a pipeline up to date. */
export const command: Command = {
  name: "pipeline",
  usage: "PIPELINE [STAGE...]",
  description:
    `Run a pipeline: every stage whose result is not in the cache, and nothing else.

PIPELINE is a name in pipelines/ or a file. With STAGEs, only these run, and what they need. A STAGE is an id (train@mrpc,seed=0), the start of one (train@mrpc), a name (train), or a glob in quotes ("train-*@mrpc*").

Exit codes: 0 fine, 1 a stage failed, 2 wrong arguments or pipeline file, 3 another process is in the way (--no-wait), 5 a stage ended without its output, 129, 130 or 143 interrupted. The first Ctrl-C lets stages write a checkpoint; the second ends them at once.`,
  options: [
    {
      name: "force",
      short: "f",
      description:
        "Run the named stages, or all if none is named, even if their results are in the cache",
    },
    ...GRAPH_OPTIONS,
    ENGINE,
    ...LIMIT_OPTIONS,
    {
      name: "keep-going",
      short: "k",
      description: "After a failure, run what does not need the failed stage",
    },
    {
      name: "dry-run",
      short: "n",
      description: "Say what would be done, and do nothing",
    },
    {
      name: "no-wait",
      description:
        "Fail if another process runs one of the stages, or holds a GPU or mutex that one needs",
    },
    {
      name: "cache-limit",
      value: "SIZE",
      description:
        "Size up to which old results are kept in the cache (default 50GB)",
    },
    JSON_LINES,
    HELP,
  ],
  examples: [
    ["smoke", "Run all of pipelines/smoke.yaml"],
    ["glue-mini --profile quick -S data=glue", "Use a profile and a parameter"],
    ["glue-mini train-dylora@mrpc", "Run some stages and what they need"],
    ['glue-mini "train-lora@mrpc*" --force', "Run stages again, by a glob"],
    ["my/pipeline.yaml --dry-run", "See what would run, and why"],
  ],
  takes: { least: 1, most: Infinity },
  run: runPipeline,
};

async function runPipeline(given: Given): Promise<number> {
  if (given.has("dry-run")) {
    const { printPlan } = await import("../print_plan.ts");
    await printPlan(given);
    return EXIT.fine;
  }
  const settings = await settingsOf(given);
  const { graph, store, keep } = await openGraph(given, settings.out);
  const targets = await selectedStages(graph, given.positionals.slice(1));
  const renderer = await chooseRenderer(given.has("json"));
  const say = (message: Message) => renderer.show(message);
  using interrupts = watchInterrupts(() =>
    say({
      type: "note",
      text:
        "Stopping: stages may write a checkpoint; press Ctrl-C again to end them at once",
    })
  );
  const outcome = new Outcome();
  try {
    const { failed, skipped } = await run(
      graph,
      targets,
      {
        ...settings,
        runtimes: {
          engine: readyEngineRuntime(given, say, interrupts.signal),
        },
        force: new Set(given.has("force") ? forced(graph, targets) : []),
      },
      (event) => {
        outcome.take(event);
        // The summary comes last of all, after what the pipeline shows.
        if (event.type !== "summary") say(event);
      },
      interrupts.signal,
      store,
    );
    if (failed === 0 && interrupts.code === undefined) await keep();
    if (failed + skipped === 0) showFiles(graph, targets, settings.out, say);
  } catch (error) {
    if (!interrupts.caused(error)) throw error;
  } finally {
    if (outcome.summary) say(outcome.summary);
    renderer.end();
  }
  return interrupts.code ?? outcome.code;
}

/** Stages to run although the cache has their results: the named ones, or all. */
function forced(graph: Graph, targets: readonly string[]): readonly string[] {
  return targets.length > 0 ? targets : [...graph.stages.keys()];
}

/** What a run came to, as an exit code. */
class Outcome {
  summary: Summary | undefined;
  #otherFailure = false;

  take(event: Event): void {
    if (event.type === "summary") this.summary = event;
    if (event.type !== "failed" || event.retry) return;
    this.#otherFailure ||= event.code !== "output-missing";
  }

  get code(): number {
    if (this.summary === undefined || this.summary.failed === 0) {
      return EXIT.fine;
    }
    return this.#otherFailure ? EXIT.failed : EXIT.outputMissing;
  }
}
