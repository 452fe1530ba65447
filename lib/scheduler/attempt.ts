import { basename, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
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
import type { HeldGpus } from "./gpus.ts";
import {
  copySource,
  seeSource,
  sourceDigest,
  sourcePrints,
  type Sources,
  withAbsoluteSources,
} from "./key.ts";
import { confined, hasLandlock, packageFilesAbove } from "./landlock.ts";
import { executorOf, resourcesOf } from "./limits.ts";
import { projectFlags } from "./project.ts";
import type { Decided } from "./plan.ts";
import {
  follow,
  type Measured,
  newMark,
  ownOrigin,
  permissionFlags,
  rulesFor,
  stageEnvironment,
} from "./process.ts";
import type { RunFolder } from "./runs.ts";
import { visibleFolder } from "./visible.ts";

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
    frozen = watch(context, stage, decided, folder, readFreeze(folder));
  } else {
    const { inputs, links } = await layOut(
      context,
      stage,
      options.results,
      folder,
    );
    const files = runtimes.flatMap((runtime) => runtime.files?.() ?? []);
    const freeze = await compare(context, stage, decided, folder, {
      links,
      files,
    });
    frozen = watch(context, stage, decided, folder, freeze);
    spec = {
      mark: newMark(),
      params: withAbsoluteSources(stage.params, frozen.paths),
      inputs,
      output: folder.output,
      checkpoint: options.checkpoint(frozen.sources),
      cpus: stage.resources.cpus,
      runtimes: Object.fromEntries(
        [...ready].map(([name, { settings }]) => [name, settings]),
      ),
    };
    Deno.writeTextFileSync(folder.spec, JSON.stringify(spec));
    // Once it is written, a later scheduler can take up the folder.
    if (executor.outlives) writeSealed(folder.frozen, freeze);
  }
  const { mark, checkpoint } = spec;
  const { permissions = {} } = await taskOf(stage);
  const resources = resourcesOf(context, stage);
  using origin = ownOrigin();
  const access = {
    read: [folder.inputs, ...frozen.paths.values()],
    write: [folder.output, checkpoint, folder.temporary],
  };
  const entry = entryOf(stage, context);
  const args = [
    ...["run", "--quiet", "--no-check", "--no-remote", "--cached-only"],
    ...origin.flags,
    ...projectFlags(settings.project),
    ...permissionFlags(permissions, access, runtimes),
    entry,
  ];
  const rules = rulesFor(permissions, access, runtimes, [
    ...context.code.get(stage.module)!.files.map(([path]) => path),
    join(settings.project, "node_modules"),
    ...[entry, stage.module].map((url) => fileURLToPath(url))
      .flatMap((path) => [path, ...packageFilesAbove(path)]),
  ]);
  const isConfined = rules !== undefined && hasLandlock();
  if (rules !== undefined && !isConfined) {
    const line =
      "The native code of the stage can read every file of the user, since this system has no Landlock";
    emit({ type: "log", stage: stage.id, line, stream: "log" });
  }
  const execution = executor.start({
    name: stage.id,
    task: stage.task,
    needs: stage.declaration.needs,
    resources,
    args: isConfined
      ? confined(args, rules, join(folder.path, "rules.json"))
      : args,
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
  if (execution.note !== undefined) {
    emit({ type: "log", stage: stage.id, line: execution.note, stream: "log" });
  }
  const measured = await follow(execution, {
    stage: stage.id,
    mark,
    emit,
    lastingPaths: lastingPaths(context, stage, folder),
    onReady: () => frozen.checkCode(),
    // A batch system keeps the time that it reserves, and may start the process again after it.
    timeout: executor.allots ? stage.timeout : resources.time,
    grace: settings.grace,
    signal,
  });
  await frozen.check();
  return measured;
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
  const places = Object.entries(stage.inputs).flatMap(([name, ids]) =>
    ids.map((id, i) => [
      `${inputFolder(folder, name, i)}/`,
      `${visibleFolder(out, pipeline, { id })}/`,
    ])
  );
  // A path may also end here, with a quotation mark after it.
  const replacements = [
    ...places,
    ...places.map(([from, to]) => [from!.slice(0, -1), to!.slice(0, -1)])
      .toSorted(([a], [b]) => b!.length - a!.length),
    [`${folder.path}/`, ""],
  ];
  return (text) =>
    text.includes(folder.path)
      ? replacements.reduce((it, [from, to]) => it.replaceAll(from!, to!), text)
      : text;
}

function inputFolder(folder: RunFolder, name: string, index: number): string {
  return join(folder.inputs, name, String(index));
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
      const path = inputFolder(folder, name, i);
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

/** What must not change while a stage runs. It is kept for a scheduler that follows the stage later. */
interface Freeze {
  /** The inputs, relative to the run folder. */
  readonly links: readonly string[];
  /** Names of the sources that the stage gets as copies. */
  readonly copied: readonly string[];
  /** Names of the sources whose changes might not show. */
  readonly doubtful: readonly string[];
  /** Files of the runtimes that it needs. */
  readonly files: readonly string[];
  /** Fingerprints before the start: of the inputs, of the runtimes' files, of the files of each source, and of the code. */
  readonly before: {
    readonly links: Prints;
    readonly files: Prints;
    readonly sources: Readonly<Record<string, Prints>>;
    readonly code: Prints;
  };
}

/**
 * Checks that code and sources are still those of a stage's key. A source
 * that a process has open for writing may change without a trace and change
 * back, so the stage gets a copy, which is what is compared with the key. One
 * whose changes might not show otherwise is read again when the stage has ended.
 *
 * @throws {MovedError} If they are not.
 */
async function compare(
  context: Context,
  stage: GraphStage,
  { parts, sources }: Decided,
  folder: RunFolder,
  { links, files }: Pick<Freeze, "links" | "files">,
): Promise<Freeze> {
  const { store } = context;
  const before = {
    links: linkPrints(folder, links),
    sources: Object.fromEntries(
      [...sources].map(([name, path]) => [name, sourcePrints(path)]),
    ),
    code: codePrints(context, stage),
    files: files.map(fingerprint),
  };
  if (!await isCurrent(context.code.get(stage.module)!, store)) {
    throw new MovedError("code changed");
  }
  const copied: string[] = [];
  const doubtful: string[] = [];
  for (const [name, path] of sources) {
    const seen = await seeSource(path, store);
    let content = seen.digest;
    if (seen.written) {
      const copy = await copySource(path, copyFolder(folder, name));
      copied.push(name);
      content = await sourceDigest(copy, store);
    } else if (!seen.settled) doubtful.push(name);
    if (content !== parts.sources[name]) {
      throw new MovedError(`source "${path}" changed`);
    }
  }
  return { links, files, copied, doubtful, before };
}

/** Folder of the copy of a source. */
function copyFolder(folder: RunFolder, name: string): string {
  return join(folder.sources, digest(name).slice(0, 8));
}

// Links that other stages create or remove change the ctime.
function linkPrints(folder: RunFolder, links: readonly string[]): Prints {
  return links.map((path) => fingerprint(join(folder.path, path)))
    .map((print) => print && { ...print, changed: 0 });
}

function codePrints({ code }: Context, { module }: GraphStage): Prints {
  return code.get(module)!.files.map(([path]) => fingerprint(path));
}

function readFreeze(folder: RunFolder): Freeze {
  const sealed = readSealed(folder.frozen);
  if (sealed.state !== "whole") {
    throw new StageFailure(
      `"${folder.frozen}" is damaged, so the job that an earlier run left cannot be taken up; run the stage again`,
    );
  }
  return sealed.value as unknown as Freeze;
}

/** Files that must not change while a stage runs. */
interface Frozen {
  /** Paths at which the stage finds its sources. */
  readonly paths: Sources;
  /** Fingerprints of the sources' files. */
  readonly sources: Prints;
  /** Throws if code changed before the stage's process had read it. */
  checkCode(): void;
  /** Throws if an input, a source or a file of a runtime changed. */
  check(): Promise<void>;
}

function watch(
  context: Context,
  stage: GraphStage,
  { parts, sources }: Decided,
  folder: RunFolder,
  { links, files, copied, doubtful, before }: Freeze,
): Frozen {
  return {
    paths: new Map(
      [...sources].map(([name, path]) => [
        name,
        copied.includes(name)
          ? join(copyFolder(folder, name), basename(path))
          : path,
      ]),
    ),
    sources: Object.values(before.sources).flat(),
    checkCode() {
      if (!equal(codePrints(context, stage), before.code)) {
        throw new MovedError("code changed");
      }
    },
    async check() {
      const file = files.find((path, i) =>
        !equal([fingerprint(path)], [before.files[i]])
      );
      if (file !== undefined) {
        throw new StageFailure(
          `"${file}" was changed while the stage ran, so its result is discarded; run it again`,
        );
      }
      if (!equal(linkPrints(folder, links), before.links)) {
        throw new StageFailure(
          "An input was changed while the stage ran, so its result is discarded; run it again",
        );
      }
      const changed: string[] = [];
      for (const [name, path] of sources) {
        // A copy cannot change.
        if (copied.includes(name)) continue;
        const isChanged = !equal(sourcePrints(path), before.sources[name]!) ||
          doubtful.includes(name) &&
            (await seeSource(path, context.store)).digest !==
              parts.sources[name];
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
