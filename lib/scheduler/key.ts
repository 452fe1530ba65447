import { homedir } from "node:os";
import { basename, join, resolve } from "node:path";
import type { GraphStage } from "../pipeline/graph.ts";
import type { Task } from "../pipeline/task.ts";
import { listFiles, treeText } from "../store/blobs.ts";
import { canonicalJson, digest, quickChecksum } from "../store/digest.ts";
import { isFull, isReadOnly, readSealed, writeSealed } from "../store/files.ts";
import type { InputPart, KeyParts, Manifest } from "../store/manifests.ts";
import { type Fingerprint, fingerprint } from "../store/stats.ts";
import type { Store } from "../store/store.ts";
import { isCurrent, type TaskCode } from "./code.ts";
import type { Runtime } from "./events.ts";

/** What a stage's key is made from, besides the stage. */
interface KeySources {
  /** Digest of the listing of the task's code. */
  readonly code: string;
  /** Results of the stages connected to each input, in their order. */
  readonly inputs: Readonly<Record<string, readonly ConnectedResult[]>>;
  /** Absolute paths by parameter. */
  readonly sources: ReadonlyMap<string, string>;
  /** Digests of what these hold. */
  readonly contents: Readonly<Record<string, string>>;
  readonly runtimes: ReadonlyMap<string, Runtime>;
}

/** The result of a stage, connected to an input of another. */
interface ConnectedResult {
  readonly stage: GraphStage;
  readonly manifest: Manifest;
}

/**
 * All that the result of a stage depends on. Paths, times, the stage's own name,
 * flags of the engine and its resources are none of it, but for the processors
 * where the order of sums depends on them.
 */
export function keyParts(stage: GraphStage, from: KeySources): KeyParts {
  const { declaration, task, params } = stage;
  return {
    code: from.code,
    params: withoutSources(params, from.sources) as KeyParts["params"],
    sources: from.contents,
    inputs: Object.fromEntries(
      Object.entries(from.inputs).map(([name, results]) => [
        name,
        results.map((result) =>
          inputPart(
            result,
            declaration.inputs[name]?.many === true,
            declaration.timings,
          )
        ),
      ]),
    ),
    runtimes: Object.fromEntries(
      declaration.needs.map((name) => {
        const runtime = from.runtimes.get(name);
        if (runtime === undefined) {
          throw new Error(
            `Task "${task}" needs "${name}", which this program does not have`,
          );
        }
        const { identity, threaded } = runtime;
        return [
          name,
          threaded ? `${identity}, ${threads(stage)}` : identity,
        ];
      }),
    ),
  };
}

/**
 * What the key holds of an input is what the task can see of it. Only one of
 * many is told apart by its stage, so renaming a stage is seldom a reason to
 * run what reads it.
 */
function inputPart(
  { stage, manifest }: ConnectedResult,
  many: boolean,
  timings: boolean,
): InputPart {
  return {
    content: manifest.content,
    ...(many && { stage: stage.id, matrix: stage.matrix }),
    ...(timings && { seconds: manifest.seconds, metrics: manifest.metrics }),
  };
}

function threads({ resources: { cpus } }: GraphStage): string {
  return cpus === 1 ? "1 thread" : `${cpus} threads`;
}

/** The files and folders that a stage's parameters name, by the dot path of the parameter; absolute paths. */
function sourcesOf(
  task: Task,
  params: Readonly<Record<string, unknown>>,
  project: string,
): Map<string, string> {
  const sources = task.sources?.(params) ?? {};
  return new Map(
    Object.entries(sources).map(([name, path]) => [
      name,
      resolve(project, path),
    ]),
  );
}

/**
 * Digest of a source's content: of a file with its name, or of a folder's name
 * and all files below it. A task may write that name down, as `fetch-model`
 * does; where the source lies makes no difference.
 *
 * @throws {Error} If it does not exist.
 */
export async function sourceDigest(
  path: string,
  { stats, listings }: Pick<Store, "stats" | "listings">,
): Promise<string> {
  const files = [];
  for (const [name, file] of filesOf(path)) {
    const blob = await stats.digest(file);
    if (blob === undefined) throw new Error(`"${file}" does not exist`);
    files.push({ path: name, size: 0, blob });
  }
  return listings.note(treeText(files));
}

/** Fingerprints of all files of a source. */
export function sourcePrints(path: string): (Fingerprint | undefined)[] {
  return filesOf(path).map(([, file]) => fingerprint(file));
}

/** Parameters with every source named by its absolute path. */
export function withAbsoluteSources(
  params: Readonly<Record<string, unknown>>,
  sources: ReadonlyMap<string, string>,
): Record<string, unknown> {
  const copy = structuredClone(params) as Record<string, unknown>;
  for (const [name, path] of sources) edit(copy, name, path);
  return copy;
}

/** Parameters without those that name a source. */
function withoutSources(
  params: Readonly<Record<string, unknown>>,
  sources: ReadonlyMap<string, string>,
): Readonly<Record<string, unknown>> {
  if (sources.size === 0) return params;
  const copy = structuredClone(params) as Record<string, unknown>;
  for (const name of sources.keys()) edit(copy, name, undefined);
  return copy;
}

function edit(
  params: Record<string, unknown>,
  name: string,
  value: string | undefined,
): void {
  const steps = name.split(".");
  const last = steps.pop()!;
  let place = params;
  for (const step of steps) {
    const next = place[step];
    if (typeof next !== "object" || next === null) return;
    place = next as Record<string, unknown>;
  }
  if (value === undefined) delete place[last];
  else if (last in place) place[last] = value;
}

function filesOf(path: string): (readonly [name: string, file: string])[] {
  let info: Deno.FileInfo;
  try {
    info = Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`"${path}" does not exist`, { cause: error });
  }
  const own = basename(path);
  return info.isDirectory
    ? listFiles(path, "follow").map((name) => [
      `${own}/${name}`,
      join(path, name),
    ])
    : [[own, path]];
}

const VERSION = 1;

/** How many answers are kept. */
const MOST = 1_000;

/**
 * The files that stages name by their parameters, kept by the code of the task
 * and the parameters, so that a run that has nothing to do loads no task.
 */
export class SourcePaths {
  readonly #store: Store;
  readonly #project: string;
  readonly #known: Map<string, Record<string, string>>;
  #changed = false;

  constructor(store: Store, project: string) {
    this.#store = store;
    this.#project = project;
    this.#known = new Map(Object.entries(readPaths(store)));
  }

  /** Absolute paths by the dot path of the parameter. */
  async of(stage: GraphStage, code: TaskCode): Promise<Map<string, string>> {
    if (!stage.declaration.sources) return new Map();
    const question = digest(canonicalJson([
      code.listing,
      stage.params,
      this.#project,
      homedir(),
    ]));
    const known = this.#known.get(question);
    if (known !== undefined) return new Map(Object.entries(known));
    const { loadTask } = await import("../pipeline/load_task.ts");
    const task = await loadTask(stage.module);
    const paths = sourcesOf(task, stage.params, this.#project);
    // What was loaded may be newer than the code that it is to be kept by.
    if (await isCurrent(code, this.#store)) {
      this.#known.set(question, Object.fromEntries(paths));
      this.#changed = true;
    }
    return paths;
  }

  /** Keeps the answers, where the cache can be written. */
  save(): void {
    if (!this.#changed) return;
    try {
      this.#store.makeFolder();
      writeSealed(pathIn(this.#store), {
        version: VERSION,
        paths: Object.fromEntries([...this.#known].slice(-MOST)),
      }, quickChecksum);
    } catch (error) {
      if (!isReadOnly(error) && !isFull(error)) throw error;
    }
  }
}

function readPaths(store: Store): Record<string, Record<string, string>> {
  const sealed = readSealed(pathIn(store), quickChecksum);
  return sealed.state === "whole" && sealed.value.version === VERSION
    ? sealed.value.paths as Record<string, Record<string, string>>
    : {};
}

function pathIn(store: Store): string {
  return store.path("sources.json");
}
