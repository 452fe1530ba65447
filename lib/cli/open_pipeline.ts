import { join } from "node:path";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { readText } from "../pipeline/read_text.ts";
import { didYouMean } from "../pipeline/suggest.ts";
import { taskCode } from "../scheduler/code/code.ts";
import { digest } from "../store/digest.ts";
import { fingerprint, settled } from "../store/fingerprint.ts";
import { isFull, isReadOnly } from "../store/os_error.ts";
import { quickChecksum } from "../store/quick_checksum.ts";
import { readSealed, writeSealed } from "../store/sealed.ts";
import { Store } from "../store/store.ts";
import { type Given, UsageError } from "./arguments.ts";
import { absolutePath, PROJECT, shortPath } from "./options.ts";

/** The graph of a pipeline that the user named. */
interface OpenedGraph {
  readonly graph: Graph;
  /** The cache that the graph is kept in. */
  readonly store: Store;
  /** Keeps the graph for the next time; worth calling once the code of the tasks was read. */
  keep(): Promise<void>;
}

/**
 * Finds and reads the pipeline that is the first argument.
 *
 * @param out Absolute path of the output folder.
 * @throws {UsageError} If there is no such pipeline, or a setting is none.
 * @throws {PipelineError} If the file has faults.
 */
export async function openGraph(
  given: Given,
  out: string,
): Promise<OpenedGraph> {
  const since = Date.now();
  const file = findPipeline(given.positionals[0]!);
  const question: Question = {
    file,
    text: await readText(file),
    profile: given.value("profile"),
    settings: given.values("set"),
    tasks: absolutePath(given.value("tasks") ?? join(PROJECT, "tasks")),
  };
  const store = new Store(join(out, "cache"));
  const known = await readSnapshot(question, store);
  if (known !== undefined) return { graph: known, store, keep: async () => {} };
  const graph = await readGraph(question);
  return {
    graph,
    store,
    keep: () => writeSnapshot(question, graph, since, PROJECT, store),
  };
}

async function readGraph(
  { file, text, profile, settings, tasks }: Question,
): Promise<Graph> {
  const [{ expandPipeline }, { parseSetting }] = await Promise.all([
    import("../pipeline/load.ts"),
    import("../pipeline/settings.ts"),
  ]);
  const parsed = settings.map((setting) => {
    try {
      return parseSetting(setting);
    } catch (error) {
      throw error instanceof Error ? new UsageError(error.message) : error;
    }
  });
  return await expandPipeline(file, text, { tasks, profile, settings: parsed });
}

/**
 * The stages that the arguments after the pipeline select, by id.
 *
 * @throws {UsageError} If one selects none.
 */
export async function selectedStages(
  graph: Graph,
  patterns: readonly string[],
): Promise<readonly string[]> {
  if (patterns.length === 0) return [];
  const { matchStages } = await import("../pipeline/match_stages.ts");
  const { stages, problems } = matchStages(graph, patterns);
  if (problems.length > 0) throw new UsageError(problems.join("\n"));
  return stages;
}

/**
 * The file of a pipeline: a path as it is, or a name looked up in `pipelines/`.
 *
 * @throws {UsageError} If there is no pipeline of that name.
 */
function findPipeline(nameOrFile: string): string {
  if (/[\\/]|\.ya?ml$/.test(nameOrFile)) return nameOrFile;
  const names = pipelineNames();
  if (names.includes(nameOrFile)) {
    const path = join(PROJECT, "pipelines", `${nameOrFile}.yaml`);
    return shortPath(path);
  }
  const hint = didYouMean(nameOrFile, names) ||
    `; there are ${names.map((name) => `"${name}"`).join(", ") || "none"}`;
  throw new UsageError(
    `There is no pipeline "${nameOrFile}" in pipelines/${hint}`,
  );
}

/** Names of the pipelines in `pipelines/`, sorted. */
function pipelineNames(): string[] {
  try {
    return [...Deno.readDirSync(join(PROJECT, "pipelines"))]
      .flatMap(({ name }) => /^(.+)\.yaml$/.exec(name)?.[1] ?? []).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

const VERSION = 1;

/** How many snapshots are kept. */
const MOST = 20;

/** A file that a graph was made from, and its digest. */
type Read = readonly [path: string, digest: string];

/** Everything that decides what the graph of a pipeline is, but the program and the tasks. */
interface Question {
  readonly file: string;
  readonly text: string;
  readonly profile: string | undefined;
  readonly settings: readonly string[];
  readonly tasks: string;
}

/**
 * The graph as it was found the last time, unless something that it was made
 * from has changed since: the pipeline file, the modules of its tasks, the
 * packages that they use, and the part of this program that reads pipelines.
 *
 * With it, a run that has nothing to do loads neither the YAML parser nor the
 * task modules.
 */
async function readSnapshot(
  question: Question,
  store: Store,
): Promise<Graph | undefined> {
  const sealed = readSealed(pathOf(question, store), quickChecksum);
  if (sealed.state !== "whole") return undefined;
  const { version, text, files, graph } = sealed.value as {
    version: number;
    text: string;
    files: readonly Read[];
    graph: Omit<Graph, "stages"> & { stages: GraphStage[] };
  };
  if (version !== VERSION || text !== question.text) return undefined;
  const program = programFiles();
  const read = new Map(files);
  if (!program.every((path) => read.has(path))) return undefined;
  for (const [path, before] of files) {
    if ((await store.stats.digest(path) ?? "") !== before) return undefined;
  }
  return {
    ...graph,
    stages: new Map(graph.stages.map((stage) => [stage.id, stage])),
  };
}

/**
 * Keeps a graph for the next time.
 *
 * @param since When the graph began to be made, in milliseconds since 1970: if
 * a file may have changed since then, nothing is kept.
 */
async function writeSnapshot(
  question: Question,
  graph: Graph,
  since: number,
  project: string,
  store: Store,
): Promise<void> {
  const modules = new Set([...graph.stages.values()].map((it) => it.module));
  const code = await taskCode([...modules], project, store);
  const files = new Map<string, string>();
  for (const { files: read } of code.values()) {
    for (const [path, before] of read) files.set(path, before);
  }
  for (const path of programFiles()) {
    files.set(path, await store.stats.digest(path) ?? "");
  }
  for (const path of files.keys()) {
    const print = fingerprint(path);
    if (print !== undefined && !settled(print, since)) return;
  }
  const { stages, ...rest } = graph;
  try {
    store.makeFolder("graphs");
    writeSealed(pathOf(question, store), {
      version: VERSION,
      text: question.text,
      files: [...files],
      graph: { ...rest, stages: [...stages.values()] },
    }, quickChecksum);
    removeOldest(store.path("graphs"));
    await store.saveStats();
  } catch (error) {
    // Without it, the pipeline is read again: slower, but as right.
    if (!isReadOnly(error) && !isFull(error)) throw error;
  }
}

function pathOf(question: Question, store: Store): string {
  const { file, profile, settings, tasks } = question;
  const name = digest(JSON.stringify([file, profile, settings, tasks]));
  return store.path("graphs", `${name.slice(0, 16)}.json`);
}

/** The modules that make a graph of a text. */
function programFiles(): string[] {
  const folder = join(import.meta.dirname!, "../pipeline");
  return [...Deno.readDirSync(folder)].map(({ name }) => join(folder, name));
}

function removeOldest(folder: string): void {
  const files = [...Deno.readDirSync(folder)].map(({ name }) => {
    const path = join(folder, name);
    return { path, modified: fingerprint(path)?.modified ?? 0 };
  });
  files.sort((a, b) => b.modified - a.modified);
  for (const { path } of files.slice(MOST)) {
    try {
      Deno.removeSync(path);
    } catch (error) {
      // Another process may have removed it meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
