import { assert, assertEquals } from "@std/assert";
import type {
  Job,
  JobResources,
} from "../../lib/scheduler/executors/executor.ts";
import { kindOf, sbatchOptions } from "../../lib/slurm/settings.ts";
import { QUICK } from "./waiting_stages.ts";

Deno.test("kindOf() takes the last pattern that matches a task, and settings for all in other respects", () => {
  const settings = {
    ...QUICK,
    time: 60,
    stages: {
      "train-*": { partition: "gpu", jobs: 8 },
      "*-dylora": { partition: "large" },
      "train": { partition: "never" },
      "t.ain-*": { partition: "never" },
    },
  };
  const { partition, jobs, time } = kindOf(settings, "train-dylora");
  assertEquals({ partition, jobs, time }, {
    partition: "large",
    jobs: 8,
    time: 60,
  });
  assertEquals(kindOf(settings, "tokenize").partition, "main");
});

Deno.test("sbatchOptions() warns a job before its time limit, but at most for a quarter of it", () => {
  const options = (time?: number) =>
    sbatchOptions(
      { ...QUICK, pace: { ...QUICK.pace, warning: 120 } },
      {
        task: "train",
        resources: { cpus: 1, gpus: 0, memory: 0, ...(time && { time }) },
      } as Job,
    );
  assert(options().includes("--signal=B:USR1@120"));
  assert(options(7200).includes("--signal=B:USR1@120"));
  assert(options(60).includes("--signal=B:USR1@15"));
  assert(options(60).includes("--time=00:01:00"));
});

Deno.test("sbatchOptions() reserves the time of the stage or the profile, unless the timeout is shorter", () => {
  const time = (profile: number | undefined, own: Partial<JobResources>) =>
    sbatchOptions(
      { ...QUICK, time: profile },
      {
        task: "train",
        resources: { cpus: 1, gpus: 0, memory: 0, ...own },
      } as Job,
    ).find((it) => it.startsWith("--time="));
  const hours = (count: number) => 3600 * count;
  for (
    const [profile, own, expected] of [
      [undefined, {}, undefined],
      [undefined, { timeout: hours(24) }, 24],
      [hours(4), {}, 4],
      [hours(4), { timeout: hours(24) }, 4],
      [hours(4), { time: hours(8) }, 8],
      [hours(4), { time: hours(8), timeout: hours(24) }, 8],
      [hours(4), { time: hours(8), timeout: hours(6) }, 6],
    ] as const
  ) {
    const option = expected &&
      `--time=${String(expected).padStart(2, "0")}:00:00`;
    assertEquals(time(profile, own), option);
  }
});
