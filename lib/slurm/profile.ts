/** What a user's profile says of jobs of Slurm. */
import * as z from "zod";
import { Bytes, Duration } from "../pipeline/schema.ts";

/** How jobs of one kind of stage are submitted. Most are the option of `sbatch` of the same name. */
const KIND = {
  partition: z.string().min(1).optional(),
  account: z.string().min(1).optional(),
  qos: z.string().min(1).optional(),
  constraint: z.string().min(1).optional(),
  /** Seconds and bytes, for stages without `resources.time` and `resources.memory`. */
  time: Duration.optional(),
  memory: Bytes.optional(),
  /** Maximum number of jobs of a task that run at a time. */
  jobs: z.number().int().positive().optional(),
  /** Further options of `sbatch`. */
  arguments: z.array(z.string().startsWith("--")).optional(),
};

const SlurmKind = z.strictObject({
  ...KIND,
  /** Where its stages run: as jobs, or where the scheduler runs. By default, the task decides. */
  run: z.enum(["slurm", "local"]).optional(),
});
export type SlurmKind = z.output<typeof SlurmKind>;

const { jobs: _, ...SCHEDULER } = KIND;

/** Members of a profile, besides those of other executors. */
export const SLURM_PROFILE = {
  ...KIND,
  /** Seconds before its limit at which a job is asked to write a checkpoint. */
  warning: Duration.optional(),
  /** How the scheduler itself is submitted. By default, its partition, account and QOS are those of jobs. */
  scheduler: z.strictObject(SCHEDULER).optional(),
  /** Differences for some tasks, by name or by a pattern with `*`. The last match counts. */
  stages: z.record(z.string(), SlurmKind).optional(),
};
const SlurmProfile = z.object(SLURM_PROFILE);
export type SlurmProfile = z.output<typeof SlurmProfile>;
