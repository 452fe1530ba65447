import type { Job } from "./executor.ts";

/** How jobs of one kind of stage are submitted. Each is the option of `sbatch` of the same name. */
export interface SlurmKind {
  readonly partition?: string | undefined;
  readonly account?: string | undefined;
  readonly qos?: string | undefined;
  readonly constraint?: string | undefined;
  /** Seconds, for stages without `resources.time`. */
  readonly time?: number | undefined;
  /** Bytes, for stages without `resources.memory`. */
  readonly memory?: number | undefined;
  /** The most jobs of a task that run at a time. */
  readonly jobs?: number | undefined;
  /** Further options of `sbatch`. */
  readonly arguments?: readonly string[] | undefined;
  /** Where its stages run: as jobs, or where the scheduler runs. By default, the task decides. */
  readonly run?: "slurm" | "local" | undefined;
}

/** Settings of the executor. */
export interface SlurmSettings extends SlurmKind {
  /** The most jobs, of all tasks, that run at a time. */
  readonly jobs: number;
  /** Differences for some tasks, by name or by a pattern with `*`. The last match counts. */
  readonly stages: Readonly<Record<string, SlurmKind>>;
  /** Submits what is ready, and follows no job that has not ended. */
  readonly detach: boolean;
  /** What happens to jobs when the run is interrupted. */
  readonly onInterrupt: "cancel" | "leave";
  readonly pace: Pace;
}

/** How often things are looked at, in seconds. */
export interface Pace {
  /** A batch of equal stages is submitted when no further one has become ready for so long. */
  readonly gather: number;
  /** Between two looks at the files of running jobs. */
  readonly files: number;
  /** Between two calls of `squeue` while states change. */
  readonly queue: number;
  /** Between two calls of `squeue` at most. */
  readonly slowest: number;
  /** A file that another host wrote appears at the latest after so long. */
  readonly late: number;
  /** A job that `squeue` no longer lists is given up after so long. */
  readonly vanished: number;
  /** After which a call of a Slurm command is given up. */
  readonly call: number;
  /** Before its time limit, a job is asked to write a checkpoint and end; at most for the last quarter of a short one. */
  readonly warning: number;
}

export const PACE: Pace = {
  gather: 0.2,
  files: 0.5,
  queue: 1,
  slowest: 15,
  late: 60,
  vanished: 300,
  call: 60,
  warning: 120,
};

/** The most jobs that run at a time, unless the profile says otherwise. */
export const MOST_JOBS = 100;

/** Settings for the stages of a task. */
export function kindOf(settings: SlurmSettings, task: string): SlurmKind {
  const { stages, ...kind } = settings;
  const matching = Object.entries(stages).filter(([pattern]) =>
    new RegExp(
      `^${
        pattern.replace(/[^\w*]/g, (it) => `\\${it}`).replaceAll("*", ".*")
      }$`,
    ).test(task)
  );
  return Object.assign({}, kind, ...matching.map(([, more]) => more));
}

/** What decides on which nodes the stages of a task run. */
export function nodesOf(settings: SlurmSettings, task: string): string {
  const { partition = "", constraint = "", arguments: more = [] } = kindOf(
    settings,
    task,
  );
  return [`partition "${partition}"`, `constraint "${constraint}"`, ...more]
    .join(", ");
}

/** Options of `sbatch` for a job, except those of the array. Equal jobs have equal options. */
export function sbatchOptions(settings: SlurmSettings, job: Job): string[] {
  const kind = kindOf(settings, job.task);
  const { cpus, gpus } = job.resources;
  const memory = job.resources.memory || kind.memory;
  const time = job.resources.time ?? kind.time;
  const warning = Math.min(settings.pace.warning, (time ?? Infinity) / 4);
  const given = (name: string, value: string | number | undefined) =>
    value === undefined ? [] : [`--${name}=${value}`];
  return [
    // Neither the environment of the scheduler nor a log-in on the node: the script sets its own.
    "--export=NIL",
    "--requeue",
    "--input=/dev/null",
    "--output=/dev/null",
    "--chdir=/",
    `--job-name=dylora-${job.task}`,
    "--nodes=1",
    "--ntasks=1",
    `--cpus-per-task=${cpus}`,
    `--signal=B:USR1@${Math.ceil(warning)}`,
    ...given("mem", memory && `${Math.ceil(memory / 2 ** 20)}M`),
    ...given("time", time && slurmTime(time)),
    ...given("gres", gpus > 0 ? `gpu:${gpus}` : undefined),
    ...given("partition", kind.partition),
    ...given("account", kind.account),
    ...given("qos", kind.qos),
    ...given("constraint", kind.constraint),
    ...kind.arguments ?? [],
  ];
}

/** Seconds as `HOURS:MINUTES:SECONDS`. */
function slurmTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  return [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
    .map((part) => String(part).padStart(2, "0")).join(":");
}
