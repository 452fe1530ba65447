/**
 * What tests with a real Slurm share: settings that look at everything often,
 * and stages that wait.
 */
import type { Event } from "../../lib/scheduler/events.ts";
import { Slurm } from "../../lib/slurm/executor.ts";
import { INTERVALS, type SlurmSettings } from "../../lib/slurm/settings.ts";
import type { Ran, StageOptions, TestProject } from "../scheduler/project.ts";
import { slurm } from "./cluster.ts";

/** Settings that look at everything often. */
export const QUICK: SlurmSettings = {
  partition: "main",
  jobs: 100,
  stages: {},
  folder: Deno.makeTempDirSync({ prefix: "schedulers-" }),
  pace: {
    ...INTERVALS,
    gather: 0.05,
    files: 0.05,
    queue: 0.2,
    slowest: 0.5,
    late: 10,
    vanished: 10,
    call: 10,
    beat: 0.5,
    grace: 1,
  },
};

/** An executor that looks at everything often. */
export function quick(
  { pace, ...more }: Partial<Omit<SlurmSettings, "pace">> & {
    readonly pace?: Partial<SlurmSettings["pace"]>;
  } = {},
  say?: (text: string) => void,
): Slurm {
  return new Slurm(
    { ...QUICK, ...more, pace: { ...QUICK.pace, ...pace } },
    say,
  );
}

/** Limits that leave everything to Slurm. */
export const LIMITS = { jobs: 1000, cpus: 2, memory: 1e9, gpus: [] };

/**
 * Runs stages as jobs.
 *
 * @param settings Of {@linkcode quick}.
 * @param more Of the run.
 */
export async function runJobs(
  project: TestProject,
  stages: Record<string, StageOptions>,
  settings: Parameters<typeof quick>[0] = {},
  more: Parameters<TestProject["run"]>[1] = {},
): Promise<Ran> {
  const executor = quick(settings);
  return await project.run(stages, { executor, limits: LIMITS, ...more });
}

/** True if tests that take minutes run as well. */
export const IS_LONG = Deno.env.get("DYLORA_LONG") === "1";

export function messages(events: readonly Event[]): string[] {
  return events.flatMap((it) => it.type === "failed" ? [it.message] : []);
}

export function logs(events: readonly Event[]): string[] {
  return events.flatMap((it) => it.type === "log" ? [it.line] : []);
}

/** Numbers of the jobs that events name. */
export function jobsIn(events: readonly Event[]): Set<string> {
  return new Set(events.flatMap((it) => it.type === "queued" ? [it.job] : []));
}

/** A stage "wait" that runs until {@linkcode go}. */
export function waiter(project: TestProject): Record<string, StageOptions> {
  project.task(
    "wait",
    `stage.log("begun");
     while (true) {
       try { return Deno.readTextFileSync(params.go); } catch { /* not yet */ }
       await new Promise((r) => setTimeout(r, 50));
       stage.signal.throwIfAborted();
     }`,
    {
      rest:
        'permissions: { read: () => [decodeURIComponent(new URL("../go", import.meta.url).pathname)] },',
    },
  );
  return { wait: { task: "wait", params: { go: project.path("go") } } };
}

/** Ends the stage "wait", whose output is then "went". */
export function go(project: TestProject): void {
  project.write("going", "went");
  Deno.renameSync(project.path("going"), project.path("go"));
}

/** True for the first event of the stage "wait". */
export function isBegun(event: Event): boolean {
  return event.type === "log" && event.line === "begun";
}

/** Stages "make@n=0", "make@n=1", ..., all equal. */
export function equalStages(
  project: TestProject,
  count: number,
): Record<string, StageOptions> {
  project.task("make", "return params.n;");
  return Object.fromEntries(
    Array.from({ length: count }, (_, n) => [
      `make@n=${n}`,
      { task: "make", params: { n } },
    ]),
  );
}

/** State of a job, in Slurm's words. */
export async function stateOf(job: string): Promise<string> {
  const text = await slurm(
    "squeue",
    "--noheader",
    `--jobs=${job}`,
    "--states=all",
    "--format=%T",
  );
  return text.trim();
}
