import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { GraphStage } from "../pipeline/graph.ts";
import { digest } from "../store/digest.ts";
import { readIfThere, writeDurably } from "../store/files.ts";
import type { Manifest } from "../store/manifests.ts";
import type { Spec } from "./child.ts";
import { CHILD } from "./code.ts";
import { type Context, readyRuntimes, taskOf } from "./context.ts";
import type { Event } from "./events.ts";
import {
  codeFiles,
  compare,
  type Frozen,
  inputFolder,
  layOut,
  type Prints,
  watch,
} from "./freeze.ts";
import type { HeldGpus } from "./gpus.ts";
import { withAbsoluteSources } from "./sources.ts";
import { compileOnce } from "./compile.ts";
import { confined, hasLandlock, packageFilesAbove } from "./landlock.ts";
import { ROUND } from "./executors/executor.ts";
import { executorOf, resourcesOf } from "./limits.ts";
import {
  ownOrigin,
  permissionFlags,
  rulesFor,
  stageEnvironment,
} from "./permissions.ts";
import type { Decided } from "./plan.ts";
import { follow, type Measured, newMark } from "./process.ts";
import { asInstalled, projectFlags } from "./project.ts";
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

/** Result of {@linkcode attempt}. */
export interface Attempted {
  /** Folder of the artifact. */
  readonly output: string;
  readonly measured: Measured;
}

/**
 * Runs a stage's process once.
 *
 * @throws {StageFailure} If it fails.
 * @throws {StaleKeyError} If code or sources have changed since the key was computed.
 * @throws {DamagedBlobError} If the cache has lost an input.
 */
export async function attempt(
  context: Context,
  stage: GraphStage,
  decided: Decided,
  folder: RunFolder,
  options: AttemptOptions,
): Promise<Attempted> {
  const { gpus, emit, signal } = options;
  const { settings } = context;
  const ready = await readyRuntimes(context, stage);
  const runtimes = [...ready.values()];
  const executor = executorOf(context, stage);
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
  const frozen = watch(context, stage, decided, folder, freeze);
  const spec: Spec = {
    mark: newMark(),
    params: withAbsoluteSources(stage.params, frozen.paths),
    inputs,
    output: folder.output,
    checkpoint: options.checkpoint(frozen.sources),
    cpus: stage.resources.cpus,
    runtimes: Object.fromEntries(
      [...ready].map(([name, { settings, handsOn }]) => [name, {
        ...settings,
        ...handsOn?.settings(handedOn(folder, name)),
      }]),
    ),
  };
  Deno.writeTextFileSync(folder.spec, JSON.stringify(spec));
  const { mark, checkpoint } = spec;
  const { permissions = {} } = await taskOf(stage);
  const resources = resourcesOf(context, stage);
  // A batch system enforces the time that it reserves, and may start the process again.
  const { time, timeout = executor.allots ? undefined : time } = resources;
  using origin = ownOrigin();
  const access = {
    read: [folder.inputs, ...frozen.paths.values()],
    write: [folder.output, checkpoint, folder.temporary],
  };
  const entry = entryOf(stage, context);
  const rules = rulesFor(permissions, access, runtimes, [
    ...codeFiles(context, stage),
    join(settings.project, "node_modules"),
    ...[entry, stage.module].map((url) => fileURLToPath(url))
      .flatMap((path) => [path, ...packageFilesAbove(path)]),
  ]);
  const isConfined = rules !== undefined && hasLandlock();
  if (rules !== undefined && !isConfined) {
    const line =
      "The native code of the stage can read every file of the user, because this system has no Landlock";
    emit({ type: "log", stage: stage.id, line, stream: "log" });
  }
  const flags = [
    ...["run", "--quiet", "--no-check", "--no-remote", "--cached-only"],
    ...origin.flags,
    ...projectFlags(settings.project),
    // With this flag, Deno lets a process read every folder called "node_modules"; Landlock does not.
    ...(isConfined ? asInstalled(settings.project) : []),
  ];
  if (isConfined) {
    await compileOnce(context, stage, entry, runtimes, flags);
  }
  const args = [
    ...flags,
    ...permissionFlags(permissions, access, runtimes),
    entry,
  ];
  const startsPrograms = runtimes.length > 0 ||
    (permissions.run ?? []).length > 0;
  const execution = executor.start({
    name: stage.id,
    task: stage.task,
    needs: stage.declaration.needs,
    resources,
    args: isConfined
      ? confined(
        args,
        rules,
        join(folder.path, `rules${executor.restarts ? `-${ROUND}` : ""}.json`),
      )
      : args,
    input: folder.spec,
    env: {
      ...stageEnvironment(permissions, runtimes, folder.temporary),
      ...(gpus !== undefined && { CUDA_VISIBLE_DEVICES: gpus.ids.join() }),
    },
    startsPrograms,
    // Deno itself keeps a stage without native code and programs from the network.
    offline: startsPrograms && permissions.net !== true,
    folder: folder.path,
    checkpoint,
    mark,
  });
  if (execution.note !== undefined) {
    emit({ type: "log", stage: stage.id, line: execution.note, stream: "log" });
  }
  const { measured, round = 0 } = await follow(execution, {
    stage: stage.id,
    mark,
    emit,
    lastingPaths: lastingPaths(context, stage, folder, decided, frozen),
    onReady: frozen.checkCode,
    timeout,
    grace: settings.grace,
    signal,
  });
  await frozen.check();
  for (const [name, { handsOn }] of ready) {
    if (handsOn === undefined) continue;
    try {
      await handsOn.take(inRound(handedOn(folder, name), round));
    } catch (error) {
      // The result is complete without it: the disk may be full, or the folder another user's.
      const line = `${handsOn.title} is not kept for later stages: ${
        error instanceof Error ? error.message : error
      }`;
      emit({ type: "log", stage: stage.id, line, stream: "log" });
    }
  }
  return { output: inRound(folder.output, round), measured };
}

/** A path in a run folder for one start of the job. */
function inRound(path: string, round: number): string {
  return path.replace(ROUND, String(round));
}

/** Folder in which a stage leaves what a runtime hands on to later stages. */
function handedOn({ temporary }: RunFolder, runtime: string): string {
  return join(temporary, `${runtime}-hands-on`);
}

/**
 * Replaces paths in the run folder, which is removed after the run: those of
 * inputs by the visible folders of the stages that they come from, those of
 * copied sources by the sources, others by paths relative to the run folder.
 */
function lastingPaths(
  { settings: { out }, graph: { pipeline } }: Context,
  stage: GraphStage,
  folder: RunFolder,
  { sources }: Decided,
  { paths }: Frozen,
): (text: string) => string {
  const places = Object.entries(stage.inputs).flatMap(([name, ids]) =>
    ids.map((id, i) => [
      `${inputFolder(folder, name, i)}/`,
      `${visibleFolder(out, pipeline, { id })}/`,
    ])
  );
  // A path may also end here, with a quotation mark after it.
  const replacements = [
    ...[...sources].map(([name, path]) => [paths.get(name)!, path]),
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
  if (readIfThere(path) !== text) writeDurably(path, text);
  return pathToFileURL(path).href;
}
