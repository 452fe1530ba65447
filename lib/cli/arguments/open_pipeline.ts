import { readText } from "../../pipeline/faults.ts";
import type { Graph, GraphStage, NamedStages } from "../../pipeline/graph.ts";
import { openStore, taskCode } from "../../scheduler/context.ts";
import { digest } from "../../files/digest.ts";
import {
  entriesOf,
  isFull,
  isReadOnly,
  readSealed,
  removeIfThere,
  writeSealed,
} from "../../files/files.ts";
import { join } from "../../files/paths.ts";
import { fingerprint, settled } from "../../files/fingerprints.ts";
import type { Store } from "../../store/store.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import { outOf, PROJECT, resultsName, shortPath, tasksOf } from "./options.ts";

/**
 * Opens the pipeline named by the first argument.
 *
 * @param patterns Stages to select; by default the other arguments.
 * @throws {UsageError} If the pipeline or a stage does not exist, or a setting
 * is invalid.
 * @throws {PipelineError} If the file has faults.
 */
export async function openPipeline(
  args: Arguments,
  patterns: readonly string[] = args.positionals.slice(1),
) {
  const since = Date.now();
  const file = await findPipeline(args.positionals[0]!);
  const text = await readText(file);
  const profile = args.value("profile");
  const settings = args.values("set");
  const tasks = tasksOf(args);
  const store = openStore({ out: outOf(args) });
  // For stages that take all of them.
  const cpus = navigator.hardwareConcurrency;
  const source = [VERSION, { file, text, profile, settings, tasks, cpus }];
  const name = await digest(JSON.stringify(source));
  const snapshot = store.path("graphs", `${name.slice(0, 16)}.json`);
  const saved = await readSnapshot(snapshot, store);
  const readGraph = async (): Promise<Graph> => {
    const [{ expandPipeline }, { parseSetting }] = await Promise.all([
      import("../../pipeline/load.ts"),
      import("../../pipeline/params.ts"),
    ]);
    const parsed = settings.map((setting) =>
      parseSetting(setting).catch(({ message }: Error) => {
        throw new UsageError(message);
      })
    );
    const options = { tasks, profile, settings: await Promise.all(parsed) };
    return await expandPipeline(file, text, options);
  };
  const read = saved ?? await readGraph();
  const graph = { ...read, pipeline: resultsName(args, read.pipeline) };
  const selected = await matchingStages(graph, patterns);
  return {
    graph,
    /** Ids of the stages that the command line names. */
    selected,
    store,
    /**
     * Saves the graph for the next command; cheap once the code of the tasks
     * has been read.
     */
    async saveGraph() {
      if (saved === undefined) {
        await writeSnapshot(snapshot, read, since, store);
      }
    },
  };
}

/**
 * The path of a pipeline that is given as a file, or as a name in `pipelines/`.
 */
export async function findPipeline(nameOrFile: string): Promise<string> {
  if (/[\\/]|\.ya?ml$/.test(nameOrFile)) return nameOrFile;
  const names = pipelineNames();
  if (names.includes(nameOrFile)) {
    return shortPath(join(PROJECT, "pipelines", `${nameOrFile}.yaml`));
  }
  const { didYouMean } = await import("../../pipeline/did_you_mean.ts");
  const hint = didYouMean(nameOrFile, names, "available:");
  throw new UsageError(`No pipeline "${nameOrFile}" in pipelines/${hint}`);
}

/**
 * Names of the pipelines in `pipelines/`, sorted. Hidden files are none:
 * editors leave some there.
 */
export function pipelineNames(): string[] {
  return entriesOf(join(PROJECT, "pipelines"))
    .flatMap(({ name }) => /^([^.].*)\.yaml$/.exec(name)?.[1] ?? []).sort();
}

/**
 * Ids of the stages that match patterns.
 *
 * @throws {UsageError} If no stage matches a pattern.
 */
export async function matchingStages(
  graph: NamedStages,
  patterns: readonly string[],
): Promise<readonly string[]> {
  if (patterns.length === 0) return [];
  const { matchStages } = await import("../../pipeline/graph.ts");
  const { stages, problems } = await matchStages(graph, patterns);
  if (problems.length > 0) throw new UsageError(problems.join("\n"));
  return stages;
}

/** Version of the format of snapshots. */
const VERSION = 1;

/** Number of snapshots that are kept. */
const MAX_SNAPSHOTS = 20;

/**
 * The saved graph of a pipeline, unless anything that it depends on has
 * changed: the pipeline file, the modules of its tasks, their packages, or
 * `lib/pipeline`.
 *
 * With it, a run that has nothing to do loads neither the YAML parser nor the
 * task modules.
 */
async function readSnapshot(
  path: string,
  store: Store,
): Promise<Graph | undefined> {
  const snapshot = readSealed(path);
  if (snapshot === undefined) return undefined;
  const { files, graph } = snapshot as unknown as {
    files: readonly (readonly [path: string, digest: string])[];
    graph: Omit<Graph, "stages"> & { stages: GraphStage[] };
  };
  const digests = new Map(files);
  if (!programFiles().every((path) => digests.has(path))) return undefined;
  for (const [path, before] of files) {
    if ((await store.stats.digest(path) ?? "") !== before) return undefined;
  }
  return {
    ...graph,
    stages: new Map(graph.stages.map((stage) => [stage.id, stage])),
  };
}

/**
 * Saves a graph.
 *
 * @param since When its sources began to be read, in milliseconds since 1970.
 * Nothing is saved if one of them may have changed since then.
 */
async function writeSnapshot(
  snapshot: string,
  graph: Graph,
  since: number,
  store: Store,
): Promise<void> {
  const modules = new Set([...graph.stages.values()].map((it) => it.module));
  const code = await taskCode([...modules], PROJECT, store);
  const files = new Map([...code.values()].flatMap(({ files }) => [...files]));
  for (const path of programFiles()) {
    files.set(path, await store.stats.digest(path) ?? "");
  }
  const prints = [...files.keys()].map(fingerprint);
  if (prints.some((it) => it && !settled(it, since))) return;
  const { stages, ...rest } = graph;
  try {
    store.makeFolder("graphs");
    writeSealed(snapshot, {
      files: [...files],
      graph: { ...rest, stages: [...stages.values()] },
    });
    const folder = store.path("graphs");
    const kept = [...Deno.readDirSync(folder)].map(({ name }) => {
      const path = join(folder, name);
      return { path, modified: fingerprint(path)?.modified ?? 0 };
    }).sort((a, b) => b.modified - a.modified);
    kept.slice(MAX_SNAPSHOTS).forEach(({ path }) => removeIfThere(path));
    await store.memo.save();
  } catch (error) {
    // A snapshot only saves time.
    if (!isReadOnly(error) && !isFull(error)) throw error;
  }
}

/** The modules of `lib/pipeline`, which turn a text into a graph. */
function programFiles(): string[] {
  const folder = join(PROJECT, "lib/pipeline");
  return [...Deno.readDirSync(folder)].map(({ name }) => join(folder, name));
}
