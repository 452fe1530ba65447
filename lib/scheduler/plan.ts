import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { holdOff } from "../store/cleanup.ts";
import type { UnfinishedRun } from "../store/histories.ts";
import type { KeyParts, Manifest, Measured } from "../store/manifests.ts";
import type { Change, CodeHunk } from "./changes.ts";
import {
  type Context,
  openContext,
  openStore,
  stageOf,
  taskOf,
} from "./context.ts";
import type { Decision } from "./events.ts";
import { NoResultError } from "./failure.ts";
import type { Hit, Settings } from "./settings.ts";
import {
  checkSources,
  keyOf,
  keyParts,
  type ReadSources,
  readSources,
  sourcesOf,
  withAbsoluteSources,
} from "./key.ts";
import type { LiveRun } from "./runs.ts";
import { difference, visibleFolder } from "./visible.ts";

/** Decision on a stage whose inputs all exist. */
export type Decided = Reused | Missed;

/** A stage that is to run. */
export type Missed = StageKey & {
  readonly decision: Extract<Decision, { state: "run" }>;
};

/** A stage whose result is in the cache or the remote. */
export type Reused = StageKey & Hit & {
  readonly decision: Extract<Decision, { state: "unchanged" | "restore" }>;
};

interface StageKey {
  readonly key: string;
  readonly parts: KeyParts;
  /** Sources that the key was computed from. */
  readonly sources: ReadSources;
}

type Unknown = Extract<Decision, { state: "unknown" }>;

/**
 * Decides what to do with a stage, for plans and runs alike.
 *
 * @param results Results of its inputs, by stage.
 * @throws {Error} If a source does not exist, or its task finds a fault in it.
 */
export async function decide(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
): Promise<Decided> {
  const { graph: { pipeline }, settings, store } = context;
  const sources = await readSources(await sourcesOf(context, stage), store);
  const parts = keyParts(context, stage, sources, results);
  const key = await keyOf(parts, `${pipeline}/${stage.id}`, store);
  const run = async (reason: string): Promise<Decided> => {
    if (sources.paths.size > 0) {
      const { check } = await taskOf(stage);
      await check?.(withAbsoluteSources(stage.params, sources.paths));
    }
    return { key, parts, sources, decision: { state: "run", key, reason } };
  };
  if (settings.force.has(stage.id)) return run("forced");
  const cached = await store.lookup(key);
  const hit: Hit | undefined = cached.state === "found"
    ? inCache(cached.manifest)
    : await settings.remote?.find(key);
  if (hit === undefined) {
    if (cached.state === "unusable") {
      return run(`its result in the cache ${cached.fault}`);
    }
    const { explainMiss } = await import("./changes.ts");
    const { listings } = sources;
    return run(await explainMiss(pipeline, stage.id, parts, store, listings));
  }
  const { manifest, from } = hit;
  const folder = visibleFolder(settings.out, pipeline, stage.id);
  const reason = from === undefined
    ? await difference(folder, manifest.files, store)
    : `in ${from}`;
  return {
    key,
    parts,
    sources,
    ...hit,
    decision: reason === undefined
      ? { state: "unchanged", key }
      : { state: "restore", key, reason },
  };
}

function inCache(manifest: Manifest): Hit {
  return {
    manifest,
    fetch: () => Promise.resolve(true),
    fetchFiles: () => Promise.resolve(true),
  };
}

/**
 * Determines what a run would do with each stage, in topological order, without
 * running anything. The decision on a stage is unknown if one of its inputs
 * does not exist yet.
 *
 * @param targets Ids of stages; all stages if empty.
 * @param store The cache, if it is open already.
 * @throws {Error} Naming the sources of the stages that do not exist.
 */
export async function plan(
  graph: Graph,
  targets: readonly string[],
  settings: Settings,
  store = openStore(settings),
): Promise<ReadonlyMap<string, Decision>> {
  using _live = await holdOff(store);
  const context = await openContext(graph, targets, settings, store);
  const decided = new Map(await Array.fromAsync(decideEach(context)));
  await store.memo.save();
  return new Map(
    [...graph.stages.keys()].map((id) => [
      id,
      decided.get(id)?.decision ?? { state: "skip", reason: "not selected" },
    ]),
  );
}

/**
 * Decides on each selected stage, in topological order; it is unknown if one of
 * its inputs does not exist yet.
 */
async function* decideEach(
  context: Context,
): AsyncGenerator<[id: string, Decided | { readonly decision: Unknown }]> {
  await checkSources(context);
  const results = new Map<string, Manifest>();
  for (const id of context.selected) {
    const stage = stageOf(context, id);
    const missing = Object.values(stage.inputs).flat()
      .filter((input) => !results.has(input));
    if (missing.length > 0) {
      const more = missing.length > 1 ? ` and ${missing.length - 1} more` : "";
      const reason = `needs ${missing[0]}${more} first`;
      yield [id, { decision: { state: "unknown", reason } }];
      continue;
    }
    const decided = await decide(context, stage, results);
    if ("manifest" in decided) results.set(id, decided.manifest);
    yield [id, decided];
  }
}

/**
 * The results of a stage and of all that it needs, by stage, as a run would
 * find them by their keys.
 *
 * @param context Opened with the stage as its only target.
 * @throws {NoResultError} If the cache lacks one of them.
 */
export async function findResults(
  context: Context,
  id: string,
): Promise<Map<string, Reused>> {
  const reused = new Map<string, Reused>();
  for await (const [stage, decided] of decideEach(context)) {
    if (!("manifest" in decided)) {
      const { reason } = decided.decision;
      throw new NoResultError(id, { stage, reason });
    }
    reused.set(stage, decided);
  }
  return reused;
}

/** Status of a stage: a line of `status --json`. */
export interface StageStatus {
  /** Id of the stage. */
  readonly stage: string;
  /** What a run would do with it. */
  readonly decision: Decision;
  /** Set while it runs with this key. */
  readonly live?: LiveRun;
  /** Measurements of its latest result, if the cache has that. */
  readonly last?: Measured;
  /** Set if its last run had this key, and failed or was interrupted. */
  readonly unfinished?: UnfinishedRun;
}

/** Status of each stage of a pipeline, in topological order. */
export async function status(
  graph: Graph,
  settings: Settings,
): Promise<StageStatus[]> {
  const { pipeline } = graph;
  const store = openStore(settings);
  const { liveRuns } = await import("./runs.ts");
  // Before results: a run that ends meanwhile is in neither otherwise.
  const runs = liveRuns(store).filter((run) => run.pipeline === pipeline);
  const decisions = await plan(graph, [], settings, store);
  return [...decisions].map(([stage, decision]) => {
    const { keys, unfinished } = store.histories.read(pipeline, stage);
    const key = "key" in decision ? decision.key : undefined;
    const live = runs.find((run) => run.stage === stage && run.key === key);
    const latest = keys[0] && store.manifests.find(keys[0]);
    const last = latest && {
      started: latest.started,
      seconds: latest.seconds,
      metrics: latest.metrics,
    };
    return {
      stage,
      decision,
      ...(live && { live }),
      ...(last && { last }),
      ...(unfinished?.key === key && unfinished && { unfinished }),
    };
  });
}

/** The reasons for the decision on a stage, as `explain --json` prints them. */
export type Explanation =
  /** An input does not exist yet, so the stage has no key. */
  | { readonly stage: string; readonly decision: Unknown }
  | {
    readonly stage: string;
    readonly decision: Decided["decision"];
    /** Everything that its key contains. */
    readonly parts: KeyParts;
    /** Absent if the cache has no other result of the stage. */
    readonly nearest?: NearestResult;
  };

/** The most similar other result of a stage, and all differences from it. */
export interface NearestResult {
  readonly key: string;
  /** When its run started. */
  readonly started: string;
  readonly changes: readonly Change[];
  /** Differences of the code, by lines. */
  readonly code: readonly CodeHunk[];
}

/**
 * Explains the decision on a stage by comparing its key with that of the most
 * similar other result.
 */
export async function explain(
  graph: Graph,
  id: string,
  settings: Settings,
): Promise<Explanation> {
  const store = openStore(settings);
  using _live = await holdOff(store);
  const context = await openContext(graph, [id], settings, store);
  // The stage itself is the last of those that it needs.
  const [, decided] = (await Array.fromAsync(decideEach(context))).at(-1)!;
  if (!("parts" in decided)) return { stage: id, decision: decided.decision };
  const { decision, parts, sources: { listings }, key } = decided;
  const { codeHunks, nearest } = await import("./changes.ts");
  const other = await nearest(graph.pipeline, id, parts, store, listings, key);
  if (other === undefined) return { stage: id, decision, parts };
  const { manifest: { key: otherKey, parts: before, started }, changes } =
    other;
  const { module } = stageOf(context, id);
  const { project } = settings;
  const code = await codeHunks(before.code, parts.code, project, module, store);
  return {
    stage: id,
    decision,
    parts,
    nearest: { key: otherKey, started, changes, code },
  };
}
