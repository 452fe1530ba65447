import { assertEquals } from "@std/assert";
import type { Executor, Job } from "../../lib/scheduler/executors/executor.ts";
import { local } from "../../lib/scheduler/executors/local.ts";
import { TestProject } from "./project.ts";

/**
 * An executor that allots resources itself, and keeps the jobs that it is
 * given.
 */
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
  const { cpus, gpus, memory } = jobs[0]!.resources;
  assertEquals({ cpus, gpus, memory }, { cpus: 64, gpus: 4, memory: 1e15 });
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

/**
 * An executor that starts each stage again whenever `isAgain` says so of the
 * number of its start.
 */
function restarting(isAgain: (start: number) => boolean): Executor {
  let starts = 0;
  return {
    ...local,
    start(job) {
      const again = isAgain(starts++);
      const execution = local.start(job);
      const ended = execution.ended.then((end) =>
        again ? { again, reason: `start ${starts - 1} was lost` } : end
      );
      return { ...execution, ended };
    },
  };
}

Deno.test("run() starts a stage again from its checkpoint, in another folder, when its executor says so, as one attempt", async () => {
  using project = new TestProject();
  project.task(
    "resume",
    `const file = stage.checkpoint + "/state";
     let before = "";
     try { before = Deno.readTextFileSync(file); } catch { /* the first start */ }
     Deno.writeTextFileSync(file, before + "x");
     Deno.writeTextFileSync(stage.output + "/" + before + ".txt", "");
     stage.log("from " + before);
     return before;`,
  );
  const { ran, events } = await project.run({ a: { task: "resume" } }, {
    executor: restarting((start) => start < 2),
  });
  assertEquals(ran, ["a"]);
  assertEquals(
    events.flatMap((it) => it.type === "log" ? [it.line] : []),
    ["from ", "start 0 was lost", "from x", "start 1 was lost", "from xx"],
  );
  assertEquals(events.filter(({ type }) => type === "started").length, 1);
  assertEquals(
    [...Deno.readDirSync(project.path("out/test/a"))].map(({ name }) => name)
      .toSorted(),
    ["out.txt", "xx.txt"],
  );
});

Deno.test("run() counts all starts of a stage towards its timeout", async () => {
  using project = new TestProject();
  project.task("slow", "await new Promise((r) => setTimeout(r, 400));");
  const { events } = await project.run({ a: { task: "slow", timeout: 1 } }, {
    executor: restarting(() => true),
  });
  assertEquals(
    events.flatMap((it) => it.type === "failed" ? [it.message] : []),
    ["Timed out after 1 s"],
  );
});
