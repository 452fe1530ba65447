import { join } from "node:path";
import type { Graph, GraphStage } from "../pipeline/graph.ts";
import { taskCode } from "../scheduler/code.ts";
import { digest, quickChecksum } from "../store/digest.ts";
import { fingerprint, settled } from "../store/stats.ts";
import { isFull, isReadOnly, readSealed, writeSealed } from "../store/files.ts";
import type { Store } from "../store/store.ts";

const VERSION = 1;

/** How many snapshots are kept. */
const MOST = 20;

/** A file that a graph was made from, and its digest. */
type Read = readonly [path: string, digest: string];

/** Everything that decides what the graph of a pipeline is, but the program and the tasks. */
export interface Question {
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
export async function readSnapshot(
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
export async function writeSnapshot(
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
