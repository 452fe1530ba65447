import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { digest } from "../store/digest.ts";
import { writeDurably } from "../store/files.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Fingerprint, fingerprint, same } from "../store/stats.ts";
import {
  follow,
  newMark,
  ownOrigin,
  permissionFlags,
  stageEnvironment,
} from "./process.ts";
import type { Spec } from "./child.ts";
import type { RunFolder } from "./runs.ts";
import { CHILD, isCurrent } from "./code.ts";
import { type Context, readyRuntimes, stageOf, taskOf } from "./context.ts";
import type { Event } from "./events.ts";
import type { Executor } from "./executors/executor.ts";
import { MovedError, StageFailure } from "./failure.ts";
import { sourceDigest, sourcePrints, withAbsoluteSources } from "./key.ts";
import type { HeldGpus } from "./limits.ts";
import { projectFlags } from "./modules.ts";
import { type Decided, sourcePaths } from "./plan.ts";

/** What an attempt at a stage needs. */
interface AttemptOptions {
  readonly results: ReadonlyMap<string, Manifest>;
  readonly executor: Executor;
  readonly gpus: HeldGpus;
  /** Folder that the stage may go on from and leave checkpoints in. */
  readonly checkpoint: string;
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

/** What an attempt that succeeded measured. */
export interface Measured {
  readonly started: string;
  readonly seconds: number;
  readonly metrics: Readonly<Record<string, number>>;
}

/**
 * Runs a stage's process once. Its artifact is in the folder's `output` then.
 *
 * @throws {StageFailure} If it failed.
 * @throws {MovedError} If code or sources are no longer those of the key.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
export async function attempt(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  options: AttemptOptions,
): Promise<Measured> {
  const { results, executor, gpus, checkpoint, emit, signal } = options;
  const { settings } = context;
  const runtimes = await readyRuntimes(context, stage);
  const frozen = await freeze(context, stage, decided, results, folder.inputs);
  const mark = newMark();
  const spec: Spec = {
    mark,
    params: withAbsoluteSources(stage.params, frozen.sources),
    inputs: frozen.inputs,
    output: folder.output,
    checkpoint,
    cpus: stage.resources.cpus,
    runtimes: Object.fromEntries(
      [...runtimes].map(([name, { settings }]) => [name, settings]),
    ),
  };
  Deno.writeTextFileSync(folder.spec, JSON.stringify(spec));
  const { permissions = {} } = await taskOf(stage);
  const needed = [...runtimes.values()];
  using origin = ownOrigin();
  const started = new Date();
  const clock = performance.now();
  const execution = executor.start({
    args: [
      "run",
      "--quiet",
      "--no-check",
      "--no-remote",
      "--cached-only",
      ...origin.flags,
      ...projectFlags(settings.project),
      ...permissionFlags(permissions, {
        read: [folder.inputs, ...frozen.sources.values()],
        write: [folder.output, checkpoint, folder.temporary],
      }, needed),
      entryOf(stage, context),
    ],
    input: folder.spec,
    env: {
      ...stageEnvironment(permissions, needed, folder.temporary),
      CUDA_VISIBLE_DEVICES: gpus.ids.join(),
    },
    startsPrograms: needed.length > 0 || (permissions.run ?? []).length > 0,
    folder: folder.path,
  });
  const metrics = await follow(execution, {
    stage: stage.id,
    mark,
    emit,
    onReady: () => frozen.checkCode(),
    timeout: stage.timeout ?? stage.resources.time,
    grace: settings.grace,
    signal,
  });
  const seconds = (performance.now() - clock) / 1000;
  frozen.check();
  return {
    started: started.toISOString(),
    seconds: Math.round(seconds * 1000) / 1000,
    metrics,
  };
}

/** Files of a task's code that are modules; the others are settings of the project. */
const MODULE = /\.[cm]?[jt]sx?$/;

/**
 * The module that a stage's process starts from. It names the task's modules
 * literally, which needs no permission to read the project: also those that
 * the task imports only when it runs, deferred, so that all code is read
 * before the process is ready and none is evaluated before its time.
 */
function entryOf(stage: GraphStage, context: Context): string {
  const { code, store } = context;
  const modules = code.get(stage.module)!.files
    .map(([path]) => pathToFileURL(path).href)
    .filter((url) => MODULE.test(url) && url !== stage.module);
  const text = [
    `import { perform } from ${JSON.stringify(CHILD)};`,
    `import task from ${JSON.stringify(stage.module)};`,
    ...modules.map((url, i) =>
      `import defer * as module${i} from ${JSON.stringify(url)};`
    ),
    "await perform(task);\n",
  ].join("\n");
  const name = `${stage.task.replaceAll(/\W+/g, "-")}-${
    digest(text).slice(0, 8)
  }.js`;
  const path = join(store.makeFolder("entries"), name);
  try {
    if (Deno.readTextFileSync(path) === text) return pathToFileURL(path).href;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  writeDurably(path, text);
  return pathToFileURL(path).href;
}

/** Files that must not change while a stage runs, as they were before. */
interface Frozen {
  /** What the stage is handed. */
  readonly inputs: Readonly<Record<string, readonly InputArtifact[]>>;
  readonly sources: ReadonlyMap<string, string>;
  /** Throws if code was changed before the stage's process had read it. */
  checkCode(): void;
  /** Throws if an input or a source was changed. */
  check(): void;
}

/**
 * Lays out the inputs of a stage in a private folder, each a read-only link to
 * the cache's own file, and makes sure that the stage's code and sources are
 * still those of its key.
 *
 * @throws {MovedError} If they are not.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
async function freeze(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  results: ReadonlyMap<string, Manifest>,
  folder: string,
): Promise<Frozen> {
  const { store } = context;
  const inputs: Record<string, InputArtifact[]> = {};
  const linked: string[] = [];
  for (const [name, ids] of Object.entries(stage.inputs)) {
    const artifacts: InputArtifact[] = inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const manifest = results.get(id)!;
      const path = join(folder, name, String(i));
      Deno.mkdirSync(path, { recursive: true });
      for (const file of manifest.files) {
        const link = join(path, file.path);
        await store.blobs.linkTo(file.blob, link);
        linked.push(link);
      }
      artifacts.push(artifact(context, stage, name, id, manifest, path));
    }
  }
  const sources = await sourcePaths(context, stage);
  const code = context.code.get(stage.module)!;
  const before = {
    links: prints(linked, true),
    sources: [...sources.values()].flatMap(sourcePrints),
    code: prints(code.files.map(([path]) => path)),
  };
  if (!await isCurrent(code, store)) throw new MovedError("The code changed");
  for (const [name, path] of sources) {
    if (await sourceDigest(path, store) !== decided.parts.sources[name]) {
      throw new MovedError(`Source "${path}" changed`);
    }
  }
  return {
    inputs,
    sources,
    checkCode() {
      if (!equal(prints(code.files.map(([path]) => path)), before.code)) {
        throw new MovedError("The code changed");
      }
    },
    check() {
      if (!equal(prints(linked, true), before.links)) {
        throw new StageFailure(
          "An input was changed while the stage ran, so its result is not kept",
        );
      }
      if (
        !equal([...sources.values()].flatMap(sourcePrints), before.sources)
      ) {
        throw new StageFailure(
          `${
            [...sources.values()].map((path) => `"${path}"`).join(" or ")
          } was changed while the stage ran, so its result is not kept; run it again`,
        );
      }
    },
  };
}

/** An input as the task sees it: exactly what its key holds of it, and where it lies. */
function artifact(
  context: Context,
  stage: GraphStage,
  name: string,
  id: string,
  manifest: Manifest,
  path: string,
): InputArtifact {
  const { inputs, timings } = stage.declaration;
  const many = inputs[name]?.many === true;
  return {
    stage: many ? id : name,
    matrix: many ? stageOf(context, id).matrix : {},
    path,
    ...(timings && { seconds: manifest.seconds, metrics: manifest.metrics }),
  };
}

type Prints = readonly (Fingerprint | undefined)[];

function prints(paths: readonly string[], links = false): Prints {
  return paths.map((path) => {
    const print = fingerprint(path);
    // Links made and removed by other stages change the inode's own time.
    return print !== undefined && links ? { ...print, changed: 0 } : print;
  });
}

function equal(a: Prints, b: Prints): boolean {
  return a.length === b.length && a.every((print, i) => {
    const other = b[i];
    return print === undefined || other === undefined
      ? print === other
      : same(print, other);
  });
}
