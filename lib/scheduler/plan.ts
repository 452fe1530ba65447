import { join } from "node:path";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { holdOff } from "../store/cleanup.ts";
import { canonicalJson, digest } from "../store/digest.ts";
import type { Failure } from "../store/histories.ts";
import type { KeyParts, Manifest } from "../store/manifests.ts";
import { Store } from "../store/store.ts";
import { type LiveRun, liveRuns } from "./runs.ts";
import { difference, visibleFolder } from "./visible.ts";
import { type Change, type CodeHunk, codeHunks, nearest } from "./changes.ts";
import { type Context, openContext, openStore, stageOf } from "./context.ts";
import type { Decision } from "./events.ts";
import { keyParts, sourceDigest } from "./key.ts";
import type { Settings } from "./settings.ts";

/** What is to be done with a stage whose inputs are all there, and on what grounds. */
export type Decided =
  & { readonly key: string; readonly parts: KeyParts }
  & (
    | {
      readonly decision: Extract<
        Decision,
        { state: "unchanged" } | { state: "restore" }
      >;
      /** The result in the cache. */
      readonly manifest: Manifest;
    }
    | { readonly decision: Extract<Decision, { state: "run" }> }
  );

/**
 * Decides what is to be done with a stage: the same for a plan and for a run.
 *
 * @param results The results of its inputs, by stage.
 * @throws {Error} If a source does not exist.
 */
export async function decide(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
): Promise<Decided> {
  const { graph: { pipeline }, settings, store } = context;
  const parts = await partsOf(context, stage, results);
  const canonical = canonicalJson(parts);
  const key = digest(canonical);
  const run = (reason: string): Decided => ({
    key,
    parts,
    decision: { state: "run", key, reason },
  });
  if (settings.force.has(stage.id)) return run("forced");
  const found = await store.lookup(key, canonical);
  if (found.state === "unusable") {
    return run(`its result in the cache ${found.fault}`);
  }
  if (found.state === "none") {
    const { explainMiss } = await import("./changes.ts");
    return run(explainMiss(pipeline, stage.id, parts, store));
  }
  const { manifest } = found;
  const lacking = stage.declaration.output.files.find((file) =>
    !manifest.files.some(({ path }) => path === file)
  );
  if (lacking !== undefined) {
    return run(`its result in the cache lacks "${lacking}"`);
  }
  const folder = visibleFolder(settings.out, pipeline, stage);
  const reason = await difference(folder, manifest.files, store);
  return {
    key,
    parts,
    manifest,
    decision: reason === undefined
      ? { state: "unchanged", key }
      : { state: "restore", key, reason },
  };
}

/** The paths that a stage's sources lie at, by parameter. */
export async function sourcePaths(
  context: Context,
  stage: GraphStage,
): Promise<Map<string, string>> {
  return await context.sources.of(stage, context.code.get(stage.module)!);
}

async function partsOf(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
): Promise<KeyParts> {
  const sources = await sourcePaths(context, stage);
  const contents: Record<string, string> = {};
  for (const [name, path] of sources) {
    try {
      contents[name] = await sourceDigest(path, context.store);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new Error(
        `Parameter "${name}" of stage "${stage.id}": ${error.message}`,
        { cause: error },
      );
    }
  }
  return keyParts(stage, {
    code: context.code.get(stage.module)!.listing,
    inputs: Object.fromEntries(
      Object.entries(stage.inputs).map(([name, ids]) => [
        name,
        ids.map((id) => ({
          stage: stageOf(context, id),
          manifest: results.get(id)!,
        })),
      ]),
    ),
    sources,
    contents,
    runtimes: context.runtimes,
  });
}

/** What a run would do with each stage of the graph, in topological order. */
type Plan = ReadonlyMap<string, Decision>;

/**
 * Finds out what a run would do, and does nothing. Of a stage that reads what
 * is still to be made, no more can be said than that it may run.
 *
 * @param targets Ids of stages; none for all.
 * @param store The cache, if it is open already.
 */
export async function plan(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  store = openStore(settings),
): Promise<Plan> {
  using _live = await holdOff(store);
  const context = await openContext(graph, targets, settings, store);
  const results = new Map<string, Manifest>();
  const decisions = new Map<string, Decision>();
  for (const [id, stage] of graph.stages) {
    if (!context.selected.has(id)) {
      decisions.set(id, { state: "skip", reason: "not asked for" });
      continue;
    }
    const missing = Object.values(stage.inputs).flat()
      .filter((input) => !results.has(input));
    if (missing.length > 0) {
      decisions.set(id, {
        state: "unknown",
        reason: `needs ${missing[0]}${
          missing.length > 1 ? ` and ${missing.length - 1} more` : ""
        } first`,
      });
      continue;
    }
    const decided = await decide(context, stageOf(context, id), results);
    decisions.set(id, decided.decision);
    if ("manifest" in decided) results.set(id, decided.manifest);
  }
  context.sources.save();
  await store.saveStats();
  return decisions;
}

/** Where a stage stands. */
export interface StageStatus {
  readonly stage: string;
  readonly decision: Decision;
  /** Set while it runs. */
  readonly live?: LiveRun;
  /** Its last result. */
  readonly last?: {
    /** When it was made: ISO 8601. */
    readonly started: string;
    readonly seconds: number;
    readonly metrics: Readonly<Record<string, number>>;
  };
  /** Set if its last run failed. */
  readonly failure?: Failure;
}

/** Where each stage of a pipeline stands, in topological order. */
export async function status(
  graph: Graph,
  settings: Settings,
): Promise<StageStatus[]> {
  const { pipeline } = graph;
  const decisions = await plan(graph, [], settings);
  const store = new Store(join(settings.out, "cache"));
  const live = liveRuns(store).filter((run) => run.pipeline === pipeline);
  return [...decisions].map(([stage, decision]) => {
    const { keys, failure } = store.histories.read(pipeline, stage);
    const running = live.find((run) => run.stage === stage);
    const last = keys[0] === undefined
      ? undefined
      : store.manifests.read(keys[0]);
    return {
      stage,
      decision,
      ...(running !== undefined && { live: running }),
      ...(last?.state === "found" && {
        last: {
          started: last.manifest.started,
          seconds: last.manifest.seconds,
          metrics: last.manifest.metrics,
        },
      }),
      ...(failure !== undefined && { failure }),
    };
  });
}

/** Why a stage is where it is. */
export interface Explanation {
  readonly stage: string;
  readonly decision: Decision;
  /** All that its key is made from; absent while an input is still to be made. */
  readonly parts?: KeyParts;
  /** The nearest other result of the stage, and every difference from it. */
  readonly nearest?: {
    readonly key: string;
    /** When it was made: ISO 8601. */
    readonly started: string;
    readonly changes: readonly Change[];
    /** Where the code differs. */
    readonly code: readonly CodeHunk[];
  };
}

/**
 * Explains what is to be done with a stage, against the nearest other result
 * that it had.
 */
export async function explain(
  graph: Graph,
  id: string,
  settings: Settings,
): Promise<Explanation> {
  const store = openStore(settings);
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  const results = new Map<string, Manifest>();
  for (const selected of context.selected) {
    const stage = stageOf(context, selected);
    const missing = Object.values(stage.inputs).flat()
      .find((input) => !results.has(input));
    if (missing !== undefined) {
      if (selected !== id) continue;
      const reason = `needs ${missing} first`;
      return { stage: id, decision: { state: "unknown", reason } };
    }
    const decided = await decide(context, stage, results);
    if (selected !== id) {
      if ("manifest" in decided) results.set(selected, decided.manifest);
      continue;
    }
    const { decision, parts, key } = decided;
    const other = nearest(graph.pipeline, id, parts, store, key);
    return {
      stage: id,
      decision,
      parts,
      ...(other !== undefined && {
        nearest: {
          key: other.manifest.key,
          started: other.manifest.started,
          changes: other.changes,
          code: await codeHunks(
            other.manifest.parts.code,
            parts.code,
            settings.project,
            stage.module,
            store,
          ),
        },
      }),
    };
  }
  throw new RangeError(`Pipeline "${graph.pipeline}" has no stage "${id}"`);
}
