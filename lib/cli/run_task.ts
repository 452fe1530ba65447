import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { loadTask } from "../pipeline/load_task.ts";
import {
  allow,
  follow,
  newMark,
  stageEnvironment,
} from "../scheduler/process.ts";
import type { Spec } from "../scheduler/child.ts";
import type { Event } from "../scheduler/events.ts";
import type { Runtime } from "../scheduler/settings.ts";
import { local } from "../scheduler/executors/local.ts";
import { projectFlags } from "../scheduler/project.ts";
import { PROJECT } from "./place.ts";

/** A task that a command runs by itself, with no pipeline and no cache. */
export interface TaskByHand {
  /** The task's module. */
  readonly file: string;
  readonly params: Readonly<Record<string, unknown>>;
  /** Folder of the artifact for each input. */
  readonly inputs: Readonly<Record<string, string>>;
  readonly engine: Runtime;
  /** Ids of the GPUs that it may use. */
  readonly gpus: readonly string[];
  readonly cpus: number;
  /** Existing, empty folder for everything that it writes. */
  readonly folder: string;
  readonly emit: (event: Event) => void;
  readonly signal: AbortSignal;
}

const PERFORM = new URL("./perform_task.ts", import.meta.url).href;

/** Seconds that it may take to end when it is interrupted. */
const GRACE = 10;

/**
 * Runs a task in a process of its own, which may read everything, and write
 * into its folder only.
 *
 * @returns The folder of its artifact.
 * @throws {StageFailure} If it fails.
 */
export async function runTask(
  { file, params, inputs, engine, gpus, cpus, folder, emit, signal }:
    TaskByHand,
): Promise<string> {
  const module = pathToFileURL(file).href;
  const task = await loadTask(module);
  await engine.prepare();
  const [output, checkpoint, temporary] = ["output", "checkpoint", "tmp"].map(
    (name) => join(folder, name),
  ) as [string, string, string];
  for (const path of [output, checkpoint, temporary]) Deno.mkdirSync(path);
  const mark = newMark();
  const spec: Spec = {
    mark,
    params: task.params.parse(params),
    inputs: Object.fromEntries(
      Object.entries(inputs).map((
        [name, path],
      ) => [name, [{ stage: name, matrix: {}, path }]]),
    ),
    output,
    checkpoint,
    cpus,
    runtimes: { engine: engine.settings },
  };
  const input = join(folder, "spec.json");
  Deno.writeTextFileSync(input, JSON.stringify(spec));
  const execution = local.start({
    name: "predict",
    resources: { cpus, gpus: gpus.length, memory: 0 },
    args: [
      "run",
      "--quiet",
      "--no-check",
      "--no-prompt",
      ...projectFlags(PROJECT),
      "--allow-read",
      ...allow("write", [folder]),
      "--allow-env",
      ...engine.flags,
      PERFORM,
      module,
    ],
    input,
    env: {
      ...stageEnvironment({}, [engine], temporary),
      CUDA_VISIBLE_DEVICES: gpus.join(),
    },
    startsPrograms: true,
    folder,
  });
  await follow(execution, {
    stage: "predict",
    mark,
    emit,
    onReady() {},
    timeout: undefined,
    grace: GRACE,
    signal,
  });
  return output;
}
