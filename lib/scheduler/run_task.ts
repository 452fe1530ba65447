import { join } from "node:path";
import type { InputArtifact, Permissions } from "../pipeline/task.ts";
import { locateTrace } from "./bundle.ts";
import type { Spec } from "./child.ts";
import type {
  Execution,
  Executor,
  Job,
  JobResources,
} from "./executors/executor.ts";
import { confined } from "./landlock.ts";
import { type Sandbox, sandboxOf, stageEnvironment } from "./permissions.ts";
import { follow, type ProcessEnd, type Watch } from "./process.ts";
import type { StartFolder } from "./runs.ts";
import type { Runtime } from "./settings.ts";

/** A task to run in a process of its own. */
export interface TaskRun extends Omit<Watch, "folder" | "located" | "timeout"> {
  /** Name of the task. */
  readonly task: string;
  /** `file:` URL of its module. */
  readonly module: string;
  /** Folder of the project that the bundle was made from. */
  readonly project: string;
  readonly permissions: Permissions;
  readonly params: Readonly<Record<string, unknown>>;
  readonly inputs: Readonly<Record<string, readonly InputArtifact[]>>;
  /**
   * Files and folders that it may read besides its own folder: sources, and
   * inputs elsewhere.
   */
  readonly sources: readonly string[];
  readonly folder: StartFolder;
  readonly checkpoint: string;
  /** What it needs, by name, ready to be used. */
  readonly runtimes: ReadonlyMap<string, Runtime>;
  readonly resources: JobResources;
  /** Ids of the GPUs that it sees; undefined if the executor allots them. */
  readonly gpus: readonly string[] | undefined;
  readonly executor: Executor;
}

/**
 * Runs a task once, in a process that has the permissions which the task
 * declares, and reads and writes nothing else.
 */
export async function runTask(run: TaskRun): Promise<ProcessEnd> {
  const { folder, checkpoint, permissions, resources, executor } = run;
  Deno.writeTextFileSync(folder.spec, JSON.stringify(specOf(run)));
  const access = {
    read: [folder.code, folder.inputs, folder.stdout, ...run.sources],
    write: [folder.output, checkpoint, folder.temporary, folder.events],
  };
  const runtimes = [...run.runtimes.values()];
  const sandbox = sandboxOf(permissions, access, runtimes);
  if ("state" in sandbox) return sandbox;
  // A batch system enforces the time that it reserves.
  const { time, timeout = executor.allots ? undefined : time } = resources;
  const end = await follow((onState) => startTask(run, sandbox, onState), {
    ...run,
    folder: folder.path,
    located: (trace) =>
      locateTrace(trace, folder.code, run.module, run.project),
    timeout,
  });
  if (end.state === "done") await keepSharedFiles(run);
  return end;
}

/** What the process reads. */
function specOf(run: TaskRun): Spec {
  const { folder } = run;
  return {
    events: folder.events,
    stdout: folder.stdout,
    params: run.params,
    inputs: run.inputs,
    output: folder.output,
    checkpoint: run.checkpoint,
    cpus: run.resources.cpus,
    runtimes: Object.fromEntries(
      [...run.runtimes].map(([name, { settings, sharedFiles }]) => [name, {
        ...settings,
        ...sharedFiles?.settings(sharedFolder(folder, name)),
      }]),
    ),
  };
}

/** Starts the process in a sandbox. */
function startTask(
  run: TaskRun,
  { flags, rules }: Sandbox,
  onState: Job["onState"],
): Execution {
  const { folder, permissions } = run;
  const args = [
    "run",
    "--quiet",
    "--no-check",
    "--no-config",
    "--no-lock",
    "--no-npm",
    "--no-remote",
    "--cached-only",
    "--no-code-cache",
    // Deno parses what is not in node_modules, 80 ms for each MB, and cannot
    // remember it where its cache is read-only. Other stages could import
    // modules there that they may not read.
    ...(rules === undefined ? [] : ["--node-modules-dir=manual"]),
    ...flags,
    folder.code,
  ];
  const runtimes = [...run.runtimes.values()];
  const environment = stageEnvironment(
    permissions,
    runtimes,
    folder.temporary,
    run.project,
  );
  const startsPrograms = runtimes.length > 0 ||
    (permissions.run ?? []).length > 0;
  return run.executor.start({
    onState,
    name: run.stage,
    task: run.task,
    needs: [...run.runtimes.keys()],
    resources: run.resources,
    args: confined(
      args,
      rules,
      join(folder.path, "rules.json"),
      (line) => log(run, line),
    ),
    env: run.gpus === undefined
      ? environment
      : { ...environment, CUDA_VISIBLE_DEVICES: run.gpus.join() },
    startsPrograms,
    // Deno itself keeps a stage without native code and programs from the
    // network.
    offline: startsPrograms && permissions.net !== true,
    folder: folder.path,
    checkpoint: run.checkpoint,
  });
}

/** Keeps the files that runtimes share with later stages. */
async function keepSharedFiles(run: TaskRun): Promise<void> {
  for (const [name, { sharedFiles }] of run.runtimes) {
    try {
      await sharedFiles?.keep(sharedFolder(run.folder, name));
    } catch (error) {
      // The result is complete without it: the disk may be full, or the folder
      // another user's.
      const why = error instanceof Error ? error.message : error;
      log(run, `${sharedFiles!.title} is not kept for later stages: ${why}`);
    }
  }
}

function log({ emit, stage }: TaskRun, line: string): void {
  emit({ type: "log", stage, line, stream: "log" });
}

/**
 * Folder of the files that a runtime's stages share (`Runtime.sharedFiles`).
 */
function sharedFolder({ temporary }: StartFolder, runtime: string): string {
  return join(temporary, `${runtime}-shared`);
}
