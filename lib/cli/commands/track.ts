import { join } from "../../files/paths.ts";
import { shellWord } from "../../files/shell_word.ts";
import type { RecordedRun } from "../../track/recorded_runs.ts";
import {
  type Arguments,
  command,
  invalidValue,
  UsageError,
} from "../arguments/arguments.ts";
import { openPipeline } from "../arguments/open_pipeline.ts";
import {
  checkFolder,
  JSON_LINES,
  OUT,
  outOf,
  shortPath,
  stageCommand,
  TASKS,
} from "../arguments/options.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { count } from "../terminal/messages.ts";
import { writeLine } from "../terminal/renderer.ts";

/** Where `mlflow server` listens. */
const MLFLOW_SERVER = "http://127.0.0.1:5000";

export const trackCommand = command`
  track PIPELINE --to NAME

  Send the cached trainings and evaluations of a pipeline to an experiment tracker: losses and learning rates by step, scores by rank, settings and durations. These are the latest 20 results of each stage, whatever their parameters, and the same of runs with --name. Runs that the tracker already has are not added again; the event file of a run whose stage has run again is replaced.

  tensorboard writes event files, which "tensorboard --logdir DIR" shows. mlflow sends to the server at --url, or else at MLFLOW_TRACKING_URI. MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD have their usual meaning.

  Options:
  --to NAME{tensorboard,mlflow}  Tracker: tensorboard or mlflow
  --dir DIR  With tensorboard: folder of the event files (default OUT/PIPELINE/_tensorboard)
  --url URL  With mlflow: address of the server (default ${MLFLOW_SERVER})
  ${TASKS}
  ${OUT}
  ${JSON_LINES}

  Examples:
  smoke --to tensorboard  Write event files
  glue-mini --to mlflow  Send to the server of MLFLOW_TRACKING_URI
`(async (args) => {
  const to = args.value("to");
  if (to === undefined) {
    throw new UsageError(
      'Missing option "--to": give a tracker, tensorboard or mlflow',
    );
  }
  const other = to === "tensorboard" ? "url" : "dir";
  if (args.has(other)) {
    throw new UsageError(`Option "--${other}" does not apply to "--to ${to}"`);
  }
  const dir = args.value("dir");
  if (dir !== undefined) checkFolder(dir, "choose another folder with --dir");
  const { graph: { pipeline }, store } = await openPipeline(args);
  const { recordedRuns } = await import("../../track/recorded_runs.ts");
  const runs = await recordedRuns(pipeline, store, console.error);
  if (runs.length === 0) {
    const command = stageCommand("pipeline", args);
    throw new Error(
      `Pipeline "${pipeline}" has no trainings or evaluations yet:\n  run: ${command}`,
    );
  }
  return await interruptible(async (signal) => {
    const sent = await send(to, pipeline, runs, args, signal);
    const { added, replaced = 0, target } = sent;
    const present = runs.length - added - replaced;
    const text = [
      `${count(added, "run")} added to ${target}`,
      ...replaced > 0 ? [`${replaced} replaced`] : [],
      ...present > 0 ? [`${present} already there`] : [],
    ].join("; ");
    const hint = to === "tensorboard"
      ? `\nShow it with "tensorboard --logdir ${shellWord(target)}"`
      : "";
    const counts = { added, replaced, present };
    writeLine(args, { type: "tracked", to, target, ...counts }, text + hint);
  });
});

async function send(
  to: string,
  pipeline: string,
  runs: readonly RecordedRun[],
  args: Arguments,
  signal: AbortSignal,
): Promise<{ added: number; replaced?: number; target: string }> {
  if (to === "tensorboard") {
    const { writeEventFiles } = await import("../../track/event_files.ts");
    const folder = args.value("dir") ??
      join(outOf(args), pipeline, "_tensorboard");
    const written = await writeEventFiles(runs, folder);
    return { ...written, target: shortPath(folder) };
  }
  const { mlflowServer, sendToMlflow } = await import("../../track/mlflow.ts");
  const option = args.value("url");
  const url = option ??
    (Deno.env.get("MLFLOW_TRACKING_URI") || MLFLOW_SERVER);
  if (!/^https?:\/\//.test(url) || !URL.canParse(url)) {
    const expected = `expected an address such as "${MLFLOW_SERVER}"`;
    if (option !== undefined) throw invalidValue("url", url, expected);
    throw new UsageError(
      `Invalid value "${url}" for variable "MLFLOW_TRACKING_URI": ${expected}`,
    );
  }
  const server = { ...mlflowServer(url, Deno.env.get), signal };
  return {
    added: await sendToMlflow(pipeline, runs, server),
    target: server.url,
  };
}
