import { join } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Context, readyRuntimes, type Run, taskOf } from "./context.ts";
import { type AttemptEnd, failed, lost } from "./ends.ts";
import type { HeldGpus } from "./gpus.ts";
import { executorOf, resourcesOf } from "./limits.ts";
import type { Decided } from "./plan.ts";
import { runTask } from "./run_task.ts";
import type { AttemptFolder, RunFolder } from "./runs.ts";
import { sourceDigest, sourcePrints, withAbsoluteSources } from "./key.ts";
import { visibleFolder } from "./visible.ts";

/** Options of {@linkcode attempt}. */
interface AttemptOptions {
  /** Results of its inputs, by stage. */
  readonly results: ReadonlyMap<string, Manifest>;
  readonly gpus: HeldGpus | undefined;
  /** Creates the folder for checkpoints, given the fingerprints of the sources. */
  readonly checkpoint: (prints: string) => string;
}

/** Maximum number of times in a row that a process does not start. */
const MAX_STARTS = 3;

/**
 * Runs a stage's process: the bundle that is in its key, on its inputs and
 * sources. It is started again whenever a batch system ends it for reasons of
 * its own. The process of an earlier start may still live on a node that was
 * lost, so each start has a folder of its own.
 */
export async function attempt(
  run: Run,
  stage: GraphStage,
  decided: Decided,
  folder: AttemptFolder,
  { gpus, results, checkpoint }: AttemptOptions,
): Promise<AttemptEnd> {
  const { emit, settings, signal } = run;
  const { permissions = {} } = await taskOf(stage);
  const log = (line: string) =>
    emit({ type: "log", stage: stage.id, line, stream: "log" });
  let left: number | undefined;
  let unstarted = 0;
  for (let number = 0;; number++) {
    const start = folder.start(number);
    const runtimes = await readyRuntimes(run, stage);
    const inputs = await layOut(run, stage, decided, results, start);
    if (typeof inputs === "string") return lost(inputs);
    const before = sourcePrints(decided.sources);
    const changed = await changedSource(run, decided, before);
    if (changed !== undefined) return changed;
    const end = await runTask({
      stage: stage.id,
      task: stage.task,
      module: stage.module,
      project: settings.project,
      permissions,
      params: withAbsoluteSources(stage.params, decided.sources),
      inputs,
      sources: [...decided.sources.values()],
      folder: start,
      checkpoint: checkpoint(before),
      runtimes,
      resources: resourcesOf(run, stage),
      gpus: gpus?.ids,
      executor: executorOf(run, stage),
      left,
      grace: settings.grace,
      lastingPaths: lastingPaths(run, stage, start),
      emit,
      signal,
    });
    switch (end.state) {
      case "done":
        return await changedSource(run, decided, before) ??
          { ...end, output: start.output };
      case "failed":
      case "interrupted":
        return end;
      case "restart":
        unstarted = end.hasStarted ? 0 : unstarted + 1;
        if (unstarted === MAX_STARTS) return failed(end.message);
        left = end.left;
        log(end.message);
    }
  }
}

/** Lays out the code and the inputs of a stage in its run folder, as read-only hard links to blobs; returns a blob that the cache has lost. Of the inputs' parts in the key, the task sees all but the digest. */
async function layOut(
  { store }: Context,
  stage: GraphStage,
  { parts }: Decided,
  results: ReadonlyMap<string, Manifest>,
  folder: RunFolder,
): Promise<Record<string, InputArtifact[]> | string> {
  if (!await store.blobs.linkTo(parts.code, folder.code)) return parts.code;
  const inputs: Record<string, InputArtifact[]> = {};
  for (const [name, ids] of Object.entries(stage.inputs)) {
    inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const path = join(folder.inputs, name, String(i));
      Deno.mkdirSync(path, { recursive: true });
      for (const { blob, path: file } of results.get(id)!.files) {
        if (!await store.blobs.linkTo(blob, join(path, file))) return blob;
      }
      const { content: _, ...seen } = parts.inputs[name]![i]!;
      inputs[name].push({ stage: name, matrix: {}, ...seen, path });
    }
  }
  return inputs;
}

/**
 * Compares sources with those of the key: their fingerprints, and the content of
 * files that were changed in the tick in which they were read. Undefined if none
 * has changed, not even back again.
 */
async function changedSource(
  { store }: Context,
  decided: Decided,
  before: string,
): Promise<AttemptEnd | undefined> {
  for (const [name, path] of decided.sources) {
    if (await sourceDigest(path, store) !== decided.parts.sources[name]) {
      return { state: "restart", message: `source "${path}" changed` };
    }
  }
  if (sourcePrints(decided.sources) === before) return undefined;
  const paths = [...decided.sources.values()].map((it) => `"${it}"`);
  return { state: "restart", message: `${paths.join(" or ")} changed` };
}

/**
 * Replaces paths in the run folder, which is removed after the run: those of
 * inputs by the visible folders of the stages that they come from, others by
 * paths relative to the run folder.
 */
function lastingPaths(
  { settings: { out }, graph: { pipeline } }: Context,
  stage: GraphStage,
  folder: RunFolder,
): (text: string) => string {
  const lasting = (path: string) =>
    path.replace(/^inputs\/([^/]+)\/(\d+)/, (all, name, i) => {
      const id = stage.inputs[name]?.[i];
      return id === undefined ? all : visibleFolder(out, pipeline, id);
    });
  return (text) => {
    const [head, ...paths] = text.split(`${folder.path}/`);
    return head + paths.map(lasting).join("");
  };
}
