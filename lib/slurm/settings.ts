/**
 * What a user's profile says of jobs of Slurm, and the options of `sbatch` that
 * follow from it.
 */
import * as z from "zod";
import { Bytes, Duration } from "../pipeline/schema.ts";
import type { Job } from "../scheduler/executors/executor.ts";

/**
 * How jobs of one kind of stage are submitted. Most are the option of `sbatch`
 * of the same name.
 */
const KIND = {
  partition: z.string().min(1).optional(),
  account: z.string().min(1).optional(),
  qos: z.string().min(1).optional(),
  constraint: z.string().min(1).optional(),
  /**
   * Seconds and bytes, for stages without `resources.time` and
   * `resources.memory`.
   */
  time: Duration.optional(),
  memory: Bytes.optional(),
  /** Maximum number of jobs of a task at a time. */
  jobs: z.number().int().positive().optional(),
  /** Further options of `sbatch`. */
  arguments: z.array(z.string().startsWith("--")).optional(),
};

const SlurmKind = z.strictObject({
  ...KIND,
  /**
   * Where its stages run: as jobs, or where the scheduler runs. By default, the
   * task decides.
   */
  run: z.enum(["slurm", "local"]).optional(),
});
export type SlurmKind = z.output<typeof SlurmKind>;

/** Members of a profile, besides those of other executors. */
export const SLURM_PROFILE = {
  ...KIND,
  /** Seconds before its limit at which a job is asked to write a checkpoint. */
  warning: Duration.optional(),
  /**
   * How the scheduler itself is submitted. By default, its partition, account
   * and QOS are those of jobs.
   */
  scheduler: z.strictObject(KIND).omit({ jobs: true }).optional(),
  /**
   * Differences for some tasks, by name or by a pattern with `*`. The last
   * match counts.
   */
  stages: z.record(z.string(), SlurmKind).optional(),
};
const SlurmProfile = z.object(SLURM_PROFILE);
type SlurmProfile = z.output<typeof SlurmProfile>;

/** Settings of the executor: those of a profile, and more. */
export interface SlurmSettings
  extends Omit<SlurmProfile, "warning" | "jobs" | "stages"> {
  /** Maximum number of jobs of all tasks at a time. */
  readonly jobs: number;
  readonly stages: Readonly<Record<string, SlurmKind>>;
  /**
   * Folder that all nodes see, for the file by which jobs see that the
   * scheduler lives.
   */
  readonly folder: string;
  readonly pace: Intervals;
}

/** Intervals and time limits, in seconds. */
export const INTERVALS = {
  /**
   * A batch of equal stages is submitted when no further one has become ready
   * for this time.
   */
  gather: 0.2,
  /** Interval between two checks of the files of running jobs. */
  files: 0.5,
  /** Interval between two calls of `squeue` while states change. */
  queue: 1,
  /** Maximum interval between two calls of `squeue`. */
  slowest: 15,
  /** Maximum time until a file from another host appears. */
  late: 60,
  /** Time after which a job that `squeue` no longer lists counts as lost. */
  vanished: 300,
  /** Heartbeat interval; jobs end when the heartbeat stops. */
  beat: 5,
  /**
   * Time between asking a stage to end, as the scheduler is gone, and killing
   * it.
   */
  grace: 15,
  /** Time limit of a call of a Slurm command. */
  call: 60,
  /**
   * Time before its limit at which a job is asked to write a checkpoint and
   * end; at most a quarter of the limit.
   */
  warning: 120,
};
export type Intervals = Readonly<typeof INTERVALS>;

/** Default of {@linkcode SlurmSettings.jobs}. */
const MAX_JOBS = 100;

/** The settings of a profile. */
export function settingsIn(
  { warning = INTERVALS.warning, ...profile }: SlurmProfile,
  { folder, jobs = profile.jobs ?? MAX_JOBS }: {
    readonly folder: string;
    readonly jobs?: number | undefined;
  },
): SlurmSettings {
  const { stages = {} } = profile;
  return { ...profile, stages, jobs, folder, pace: { ...INTERVALS, warning } };
}

/** Settings for the stages of a task. */
export function kindOf(settings: SlurmSettings, task: string): SlurmKind {
  const { stages, ...kind } = settings;
  const matching = Object.entries(stages).filter(([pattern]) => {
    const source = RegExp.escape(pattern).replaceAll("\\*", ".*");
    return new RegExp(`^${source}$`).test(task);
  });
  return Object.assign({}, kind, ...matching.map(([, more]) => more));
}

/** Options of `sbatch` for every job. */
const COMMON = ["--input=/dev/null", "--nodes=1", "--ntasks=1"];

/**
 * Options of `sbatch` for a job, except those of the array. Equal jobs have
 * equal options.
 */
export function sbatchOptions(settings: SlurmSettings, job: Job): string[] {
  const kind = kindOf(settings, job.task);
  const { cpus, gpus, timeout = Infinity } = job.resources;
  const memory = job.resources.memory || kind.memory;
  const time = Math.min(job.resources.time ?? kind.time ?? Infinity, timeout);
  const warning = Math.min(settings.pace.warning, time / 4);
  return [
    ...COMMON,
    // Passes no environment, neither of the scheduler nor of a login shell on
    // the node: the script sets its own.
    "--export=NIL",
    // The scheduler starts it again itself, in another folder.
    "--no-requeue",
    "--output=/dev/null",
    "--chdir=/",
    `--job-name=dylora-${job.task}`,
    `--cpus-per-task=${cpus}`,
    `--signal=B:USR1@${Math.ceil(warning)}`,
    ...(gpus > 0 ? [`--gres=gpu:${gpus}`] : []),
    ...kindOptions({ ...kind, memory, time }),
  ];
}

/**
 * Options of `sbatch` for the scheduler itself, which gets this environment.
 *
 * @param log File for what it prints.
 */
export function schedulerOptions(
  { partition, account, qos, scheduler }: SlurmSettings,
  log: string,
): string[] {
  return [
    ...COMMON,
    "--export=ALL",
    "--requeue",
    `--output=${log}`,
    "--open-mode=append",
    `--chdir=${Deno.cwd()}`,
    "--job-name=dylora-scheduler",
    ...kindOptions({ partition, account, qos, ...scheduler }),
  ];
}

function kindOptions(kind: SlurmKind): string[] {
  const { memory, time = Infinity, partition, account, qos, constraint } = kind;
  const options = {
    mem: memory && `${Math.ceil(memory / 2 ** 20)}M`,
    time: time < Infinity ? slurmTime(time) : undefined,
    partition,
    account,
    qos,
    constraint,
  };
  return [
    ...Object.entries(options).filter(([, value]) => value !== undefined)
      .map(([name, value]) => `--${name}=${value}`),
    ...kind.arguments ?? [],
  ];
}

/** Seconds as `HOURS:MINUTES:SECONDS`. */
function slurmTime(seconds: number): string {
  const whole = Math.ceil(seconds);
  return [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
    .map((part) => String(part).padStart(2, "0")).join(":");
}
