import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { digest } from "../store/digest.ts";
import { readSealed, writeDurably, writeSealed } from "../store/files.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Fingerprint, fingerprint, same } from "../store/stats.ts";
import type { Spec } from "./child.ts";
import { CHILD, isCurrent } from "./code.ts";
import { type Context, readyRuntimes, stageOf, taskOf } from "./context.ts";
import type { Event } from "./events.ts";
import { MovedError, StageFailure } from "./failure.ts";
import { sourceDigest, sourcePrints, withAbsoluteSources } from "./key.ts";
import { executorOf, type HeldGpus, resourcesOf } from "./limits.ts";
import { projectFlags } from "./project.ts";
import type { Decided } from "./plan.ts";
import {
  follow,
  type Measured,
  newMark,
  ownOrigin,
  permissionFlags,
  stageEnvironment,
} from "./process.ts";
import type { RunFolder } from "./runs.ts";

/** Options of an attempt at a stage. */
interface AttemptOptions {
  /** Results of its inputs, by stage. */
  readonly results: ReadonlyMap<string, Manifest>;
  readonly gpus: HeldGpus | undefined;
  /** Creates the folder for checkpoints, given the fingerprints of the sources' files. */
  readonly checkpoint: (sources: Prints) => string;
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

type Prints = readonly (Fingerprint | undefined)[];

/**
 * Runs a stage's process once. If it succeeds, its artifact is in the folder's
 * `output`.
 *
 * @throws {StageFailure} If it fails.
 * @throws {MovedError} If code or sources have changed since the key was computed.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
export async function attempt(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  options: AttemptOptions,
): Promise<Measured> {
  const { gpus, emit, signal } = options;
  const { settings } = context;
  const ready = await readyRuntimes(context, stage);
  const runtimes = [...ready.values()];
  const executor = executorOf(context, stage);
  let spec: Spec;
  let frozen: Frozen;
  if (folder.left) {
    spec = JSON.parse(Deno.readTextFileSync(folder.spec));
    frozen = watch(context, stage, decided, folder, readFrozen(folder));
  } else {
    const { inputs, links } = await layOut(
      context,
      stage,
      options.results,
      folder,
    );
    const before = prints(context, stage, decided, folder, links);
    await checkKey(context, stage, decided);
    frozen = watch(context, stage, decided, folder, { links, before });
    spec = {
      mark: newMark(),
      params: withAbsoluteSources(stage.params, decided.sources),
      inputs,
      output: folder.output,
      checkpoint: options.checkpoint(before.sources),
      cpus: stage.resources.cpus,
      runtimes: Object.fromEntries(
        [...ready].map(([name, { settings }]) => [name, settings]),
      ),
    };
    Deno.writeTextFileSync(folder.spec, JSON.stringify(spec));
    if (executor.outlives) writeFrozen(folder, { links, before });
  }
  const { mark, checkpoint } = spec;
  const { permissions = {} } = await taskOf(stage);
  const resources = resourcesOf(context, stage);
  using origin = ownOrigin();
  const execution = executor.start({
    name: stage.id,
    task: stage.task,
    needs: stage.declaration.needs,
    resources,
    args: [
      "run",
      "--quiet",
      "--no-check",
      "--no-remote",
      "--cached-only",
      ...origin.flags,
      ...projectFlags(settings.project),
      ...permissionFlags(permissions, {
        read: [folder.inputs, ...decided.sources.values()],
        write: [folder.output, checkpoint, folder.temporary],
      }, runtimes),
      entryOf(stage, context),
    ],
    input: folder.spec,
    env: {
      ...stageEnvironment(permissions, runtimes, folder.temporary),
      ...(gpus !== undefined && { CUDA_VISIBLE_DEVICES: gpus.ids.join() }),
    },
    startsPrograms: runtimes.length > 0 || (permissions.run ?? []).length > 0,
    folder: folder.path,
    checkpoint,
    mark,
  });
  const measured = await follow(execution, {
    stage: stage.id,
    mark,
    emit,
    onReady: () => frozen.checkCode(),
    // A batch system keeps the time that it reserves, and may start the process again after it.
    timeout: executor.allots ? stage.timeout : resources.time,
    grace: settings.grace,
    signal,
  });
  frozen.check();
  return measured;
}

/** Lays out the inputs of a stage in its run folder, as read-only hard links to blobs. */
async function layOut(
  context: Context,
  stage: GraphStage,
  results: ReadonlyMap<string, Manifest>,
  folder: RunFolder,
): Promise<{ inputs: Record<string, InputArtifact[]>; links: string[] }> {
  const inputs: Record<string, InputArtifact[]> = {};
  const links: string[] = [];
  for (const [name, ids] of Object.entries(stage.inputs)) {
    const artifacts: InputArtifact[] = inputs[name] = [];
    for (const [i, id] of ids.entries()) {
      const manifest = results.get(id)!;
      const path = join(folder.inputs, name, String(i));
      Deno.mkdirSync(path, { recursive: true });
      for (const file of manifest.files) {
        const link = join(path, file.path);
        await context.store.blobs.linkTo(file.blob, link);
        links.push(relative(folder.path, link));
      }
      artifacts.push(artifact(context, stage, name, id, manifest, path));
    }
  }
  return { inputs, links };
}

/**
 * Checks that code and sources are still those of the key.
 *
 * @throws {MovedError} If they are not.
 */
async function checkKey(
  { code, store }: Context,
  stage: GraphStage,
  { parts, sources }: Decided,
): Promise<void> {
  if (!await isCurrent(code.get(stage.module)!, store)) {
    throw new MovedError("code changed");
  }
  for (const [name, path] of sources) {
    if (await sourceDigest(path, store) !== parts.sources[name]) {
      throw new MovedError(`source "${path}" changed`);
    }
  }
}

/** Files that must not change while a stage runs. */
interface Freeze {
  /** The inputs, relative to the run folder. */
  readonly links: readonly string[];
  /** Their fingerprints, and those of sources and code, before the start. */
  readonly before: Readonly<Record<"links" | "sources" | "code", Prints>>;
}

function prints(
  { code }: Context,
  stage: GraphStage,
  { sources }: Decided,
  folder: RunFolder,
  links: readonly string[],
): Freeze["before"] {
  return {
    // Links that other stages create or remove change the ctime.
    links: links.map((path) => fingerprint(join(folder.path, path)))
      .map((print) => print && { ...print, changed: 0 }),
    sources: sourcePrints(sources),
    code: code.get(stage.module)!.files.map(([path]) => fingerprint(path)),
  };
}

/** Notes what must not change for a scheduler that follows the stage later. Once it is written, the folder is complete. */
function writeFrozen(folder: RunFolder, freeze: Freeze): void {
  writeSealed(folder.frozen, freeze);
}

function readFrozen(folder: RunFolder): Freeze {
  const sealed = readSealed(folder.frozen);
  if (sealed.state !== "whole") {
    throw new StageFailure(
      `"${folder.frozen}" is damaged, so the job that an earlier run left cannot be taken up; run the stage again`,
    );
  }
  return sealed.value as unknown as Freeze;
}

/** Checks on files that must not change. */
interface Frozen {
  /** Throws if code changed before the stage's process had read it. */
  checkCode(): void;
  /** Throws if an input or a source changed. */
  check(): void;
}

function watch(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  { links, before }: Freeze,
): Frozen {
  const now = () => prints(context, stage, decided, folder, links);
  return {
    checkCode() {
      if (!equal(now().code, before.code)) throw new MovedError("code changed");
    },
    check() {
      const after = now();
      if (!equal(after.links, before.links)) {
        throw new StageFailure(
          "An input was changed while the stage ran, so its result is discarded; run it again",
        );
      }
      if (!equal(after.sources, before.sources)) {
        const paths = [...decided.sources.values()].map((path) => `"${path}"`);
        throw new StageFailure(
          `${
            paths.join(" or ")
          } was changed while the stage ran, so its result is discarded; run it again`,
        );
      }
    },
  };
}

/** An input as the task sees it: its part of the key, and its path. */
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

function equal(a: Prints, b: Prints): boolean {
  return a.length === b.length && a.every((print, i) => {
    // A missing print that was written to a file is null.
    const other = b[i] ?? undefined;
    return print === undefined || other === undefined
      ? print === other
      : same(print, other);
  });
}

/** Matches the files of a task's code that are modules; the others are settings of the project. */
const MODULE = /\.[cm]?[jt]sx?$/;

/**
 * Writes the module that a stage's process starts from, and returns its URL. It
 * imports all modules of the task literally, which needs no permission to read
 * the project. Those that the task imports dynamically are deferred: they are
 * loaded before the process is ready, but not evaluated.
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
