import { assert, assertEquals } from "@std/assert";
import type { Job } from "../../../lib/scheduler/executors/executor.ts";
import {
  kindOf,
  sbatchOptions,
} from "../../../lib/scheduler/executors/slurm_settings.ts";
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
