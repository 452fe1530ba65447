import { assertEquals } from "@std/assert";
import type { Executor, Job } from "../../lib/scheduler/executors/executor.ts";
import { local } from "../../lib/scheduler/executors/local.ts";
import { TestProject } from "./project.ts";

/** An executor that allots resources itself, and keeps the jobs that it is given. */
function batch(jobs: Job[] = []): Executor {
  return {
    ...local,
    allots: true,
    start(job) {
      jobs.push(job);
      // The job waits in the queue as far as the scheduler knows.
      return { ...local.start(job), started: new Promise(() => {}) };
    },
  };
}

Deno.test("run() hands an executor the id and the resources of each stage", async () => {
  using project = new TestProject();
  project.task("make", "return 1;");
  const jobs: Job[] = [];
  const executor: Executor = {
    ...local,
    start(job) {
      jobs.push(job);
      return local.start(job);
    },
  };
  await project.run({
    "a@m=1": {
      task: "make",
      resources: { cpus: 2, memory: 5e8, time: 60 },
      timeout: 50,
    },
  }, { executor });
  assertEquals(jobs.map(({ name, resources }) => ({ name, resources })), [
    {
      name: "a@m=1",
      resources: { cpus: 2, gpus: 0, memory: 5e8, time: 60, timeout: 50 },
    },
  ]);
  assertEquals(jobs[0]!.env.CUDA_VISIBLE_DEVICES, "");
});

Deno.test("run() leaves resources to an executor that allots them", async () => {
  using project = new TestProject();
  project.task("make", "return 1;");
  const jobs: Job[] = [];
  const resources = { cpus: 64, gpu: 4, memory: 1e15 };
  const { ran } = await project.run(
    { a: { task: "make", resources } },
    { executor: batch(jobs) },
  );
  assertEquals(ran, ["a"]);
  assertEquals(jobs[0]!.resources, { cpus: 64, gpus: 4, memory: 1e15 });
  assertEquals("CUDA_VISIBLE_DEVICES" in jobs[0]!.env, false);
});

Deno.test("run() does not count the time in an executor's queue towards a timeout", async () => {
  using project = new TestProject();
  project.task("make", "await new Promise((r) => setTimeout(r, 300));");
  const { ran } = await project.run(
    { a: { task: "make", timeout: 0.1 } },
    { executor: batch() },
  );
  assertEquals(ran, ["a"]);
});
