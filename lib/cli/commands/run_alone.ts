import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { loadTask } from "../../pipeline/load_task.ts";
import type { Event } from "../../scheduler/events.ts";
import { withCache } from "../../scheduler/failure.ts";
import { openStore, taskCode } from "../../scheduler/context.ts";
import { local } from "../../scheduler/executors/local.ts";
import { runTask } from "../../scheduler/run_task.ts";
import { makeStart } from "../../scheduler/runs.ts";
import type { Runtime } from "../../scheduler/settings.ts";
import type { Arguments } from "../arguments/arguments.ts";
import { outOf, PROJECT, tasksOf } from "../arguments/options.ts";

interface Alone {
  readonly params: Readonly<Record<string, unknown>>;
  /**
   * Folders by the names of inputs; those that the task does not declare are
   * left out.
   */
  readonly inputs: Readonly<Record<string, string>>;
  readonly engine?: Runtime;
  readonly gpus?: readonly string[];
  /** Existing, empty folder for all that it writes. */
  readonly folder: string;
  /** Replaces temporary folders in a message by lasting ones. */
  readonly lastingPaths: (text: string) => string;
  readonly signal: AbortSignal;
  readonly emit?: (event: Event) => void;
}

/** Seconds that an interrupted task may take to end. */
const GRACE = 10;

/**
 * Runs a task as a stage of it runs, but on folders, and keeps no result.
 *
 * @returns The folder of its artifact, in the folder given.
 * @throws {Error} If it fails.
 */
export async function runAlone(
  args: Arguments,
  name: string,
  { params, inputs, engine, gpus = [], folder, ...run }: Alone,
): Promise<string> {
  const module = pathToFileURL(join(tasksOf(args), `${name}.ts`)).href;
  const task = await loadTask(module);
  const store = openStore({ out: outOf(args) });
  const code = await withCache(
    store,
    () => taskCode([module], PROJECT, store),
  );
  await engine?.prepare();
  const start = makeStart(join(folder, "run"));
  const { bundle } = code.get(module)!;
  await store.blobs.linkTo(bundle, start.code);
  const checkpoint = join(folder, "checkpoint");
  Deno.mkdirSync(checkpoint);
  const cpus = navigator.hardwareConcurrency;
  const declared = Object.entries(inputs)
    .filter(([input]) => Object.hasOwn(task.inputs, input));
  const end = await runTask({
    stage: name,
    task: name,
    module,
    project: PROJECT,
    permissions: task.permissions ?? {},
    params: task.params.parse(params),
    inputs: Object.fromEntries(
      declared.map(([input, path]) => [
        input,
        [{
          stage: input,
          matrix: {},
          path,
          visiblePath: run.lastingPaths(path),
        }],
      ]),
    ),
    // With the files that links lead to, as in caches of models.
    sources: declared.flatMap(([, path]) => [
      path,
      ...[...Deno.readDirSync(path)].filter(({ isSymlink }) => isSymlink)
        .map(({ name }) => Deno.realPathSync(join(path, name))),
    ]).map(readable),
    folder: start,
    checkpoint,
    runtimes: new Map(engine && [["engine", engine]]),
    resources: { cpus, gpus: gpus.length, memory: 0 },
    gpus,
    executor: local,
    grace: GRACE,
    emit: () => {},
    ...run,
  });
  if (end.state !== "done") throw new Error(end.message);
  return start.output;
}

/**
 * A path that Deno can be given, which splits paths at commas, as the folders
 * of stages have them: its nearest folder without one.
 */
function readable(path: string): string {
  return path.includes(",") ? readable(dirname(path)) : path;
}
