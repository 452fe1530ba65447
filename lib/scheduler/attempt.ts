import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { GraphStage } from "../pipeline/graph.ts";
import type { InputArtifact } from "../pipeline/task.ts";
import { digest } from "../store/digest.ts";
import { writeDurably } from "../store/files.ts";
import type { Manifest } from "../store/manifests.ts";
import { type Fingerprint, fingerprint, same } from "../store/stats.ts";
import type { Spec } from "./child.ts";
import { CHILD, isCurrent } from "./code.ts";
import { type Context, readyRuntimes, stageOf, taskOf } from "./context.ts";
import type { Event } from "./events.ts";
import { MovedError, StageFailure } from "./failure.ts";
import {
  copySource,
  seeSource,
  sourceDigest,
  sourcePrints,
  type Sources,
  withAbsoluteSources,
} from "./key.ts";
import { type HeldGpus, resourcesOf } from "./limits.ts";
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
  const frozen = await freeze(context, stage, decided, options.results, folder);
  const checkpoint = options.checkpoint(frozen.sources);
  const mark = newMark();
  const spec: Spec = {
    mark,
    params: withAbsoluteSources(stage.params, frozen.paths),
    inputs: frozen.inputs,
    output: folder.output,
    checkpoint,
    cpus: stage.resources.cpus,
    runtimes: Object.fromEntries(
      [...ready].map(([name, { settings }]) => [name, settings]),
    ),
  };
  Deno.writeTextFileSync(folder.spec, JSON.stringify(spec));
  const { permissions = {} } = await taskOf(stage);
  const resources = resourcesOf(context, stage);
  using origin = ownOrigin();
  const execution = settings.executor.start({
    name: stage.id,
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
        read: [folder.inputs, ...frozen.paths.values()],
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
  });
  const measured = await follow(execution, {
    stage: stage.id,
    mark,
    emit,
    onReady: () => frozen.checkCode(),
    timeout: resources.time,
    grace: settings.grace,
    signal,
  });
  await frozen.check();
  return measured;
}

/** Files that must not change while a stage runs. */
interface Frozen {
  /** What the stage is given. */
  readonly inputs: Readonly<Record<string, readonly InputArtifact[]>>;
  /** Paths at which it finds its sources. */
  readonly paths: Sources;
  /** Fingerprints of the sources' files. */
  readonly sources: Prints;
  /** Throws if code changed before the stage's process had read it. */
  checkCode(): void;
  /** Throws if an input or a source changed. */
  check(): Promise<void>;
}

/**
 * Lays out the inputs of a stage in its run folder, as read-only hard links to
 * blobs, and checks that code and sources are still those of its key. A source
 * that a process has open for writing may change without a trace and change
 * back, so the stage gets a copy, which is what is compared with the key. One
 * whose changes might not show otherwise is read again when the stage has ended.
 *
 * @throws {MovedError} If they are not.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
async function freeze(
  context: Context,
  stage: GraphStage,
  { parts, sources }: Decided,
  results: ReadonlyMap<string, Manifest>,
  folder: RunFolder,
): Promise<Frozen> {
  const { store } = context;
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
        await store.blobs.linkTo(file.blob, link);
        links.push(link);
      }
      artifacts.push(artifact(context, stage, name, id, manifest, path));
    }
  }
  const code = context.code.get(stage.module)!;
  const codePrints = () => code.files.map(([path]) => fingerprint(path));
  // Links that other stages create or remove change the ctime.
  const linkPrints = () =>
    links.map(fingerprint).map((print) => print && { ...print, changed: 0 });
  const before = {
    links: linkPrints(),
    sources: new Map(
      [...sources].map(([name, path]) => [name, sourcePrints(path)]),
    ),
    code: codePrints(),
  };
  if (!await isCurrent(code, store)) throw new MovedError("code changed");
  const paths = new Map(sources);
  const doubtful: string[] = [];
  for (const [name, path] of sources) {
    const seen = await seeSource(path, store);
    let content = seen.digest;
    if (seen.written) {
      const place = join(folder.sources, digest(name).slice(0, 8));
      const copy = await copySource(path, place);
      paths.set(name, copy);
      content = await sourceDigest(copy, store);
    } else if (!seen.settled) doubtful.push(name);
    if (content !== parts.sources[name]) {
      throw new MovedError(`source "${path}" changed`);
    }
  }
  return {
    inputs,
    paths,
    sources: [...before.sources.values()].flat(),
    checkCode() {
      if (!equal(codePrints(), before.code)) {
        throw new MovedError("code changed");
      }
    },
    async check() {
      if (!equal(linkPrints(), before.links)) {
        throw new StageFailure(
          "An input was changed while the stage ran, so its result is discarded; run it again",
        );
      }
      const changed: string[] = [];
      for (const [name, path] of sources) {
        // A copy cannot change.
        if (paths.get(name) !== path) continue;
        const isChanged =
          !equal(sourcePrints(path), before.sources.get(name)!) ||
          doubtful.includes(name) &&
            (await seeSource(path, store)).digest !== parts.sources[name];
        if (isChanged) changed.push(`"${path}"`);
      }
      if (changed.length > 0) {
        throw new StageFailure(
          `${
            changed.join(" and ")
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
    const other = b[i];
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
