import { assert, assertEquals, assertMatch } from "@std/assert";
import { TestProject } from "../project.ts";
import { Cluster, HAS_SLURM, slurm } from "./cluster.ts";
import {
  equalStages,
  go,
  isBegun,
  jobsIn,
  LIMITS,
  messages,
  QUICK,
  quick,
  slurmTest,
  stateOf,
  waiter,
} from "./waiting_stages.ts";

let cluster: Cluster;

Deno.test.beforeAll(async () => {
  if (HAS_SLURM) cluster = await Cluster.start();
});

Deno.test.afterAll(async () => {
  if (HAS_SLURM) await cluster[Symbol.asyncDispose]();
});

slurmTest(
  "run() runs stages as jobs of Slurm, with their resources",
  async () => {
    using project = new TestProject();
    project.task("make", "stage.metric('m', 7); stage.log('hello'); return 1;");
    project.task("add", "return Number(read('a')) + 1;", {
      inputs: { a: { kind: "text" } },
    });
    const resources = { cpus: 2, memory: 1e9, time: 3600 };
    const { ran, events } = await project.run({
      "make@x": { task: "make", resources },
      add: { task: "add", inputs: { a: ["make@x"] } },
    }, { executor: quick(), limits: LIMITS });
    assertEquals(messages(events), []);
    assertEquals(ran, ["make@x", "add"]);
    assertEquals(project.read("out/test/add/out.txt"), "2");
    const [job] = jobsIn(events);
    const shown = await slurm("scontrol", "show", "job", job!);
    assertMatch(shown, /JobName=dylora-make/);
    assertMatch(shown, /TimeLimit=01:00:00/);
    assertMatch(shown, /MinMemoryNode=954M/);
    assertMatch(shown, /CPUs\/Task=2/);
  },
);

slurmTest(
  "run() reports the error of a stage that fails in a job",
  async () => {
    using project = new TestProject();
    project.task("bad", "throw new Error('the data is bad');");
    const { summary, events } = await project.run({ bad: { task: "bad" } }, {
      executor: quick(),
      limits: LIMITS,
    });
    assertEquals(summary.failed, 1);
    assertEquals(messages(events), ["the data is bad"]);
  },
);

slurmTest(
  "run() runs small stages, and those that the settings name, where the scheduler runs",
  async () => {
    using project = new TestProject();
    for (const task of ["small", "named", "forced"]) {
      project.task(task, "return 1;", {
        rest: `small: ${task !== "named"},`,
      });
    }
    const { ran, events } = await project.run({
      small: { task: "small" },
      named: { task: "named" },
      forced: { task: "forced" },
    }, {
      executor: quick({
        stages: { "nam*": { run: "local" }, forced: { run: "slurm" } },
      }),
      limits: LIMITS,
    });
    assertEquals(ran.length, 3);
    assertEquals(
      new Set(events.flatMap((it) => it.type === "queued" ? [it.stage] : [])),
      new Set(["forced"]),
    );
  },
);

slurmTest(
  "run() makes equal stages job arrays that the cluster accepts, and keeps within jobs",
  async () => {
    using project = new TestProject();
    const before = await cluster.submitted();
    const { ran, events } = await project.run(equalStages(project, 12), {
      executor: quick({ jobs: 4 }),
      limits: LIMITS,
    });
    assertEquals(messages(events), []);
    assertEquals(ran.length, 12);
    const arrays = (await cluster.submitted()).length - before.length;
    // MaxArraySize of the cluster is 9.
    assertEquals(arrays >= 2 && arrays <= 5, true, `${arrays} arrays`);
    let most = 0;
    const active = new Set<string>();
    for (const event of events) {
      if (event.type === "queued" && event.state === "RUNNING") {
        active.add(event.stage);
      }
      if (event.type === "finished") active.delete(event.stage);
      most = Math.max(most, active.size);
    }
    assertEquals(most <= 4, true, `${most} at a time`);
  },
);

slurmTest(
  "run() takes the result of a job that ended while no scheduler lived",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    const killed = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await killed.event(isBegun);
    killed.process.kill("SIGKILL");
    await killed.end();
    go(project);
    const [job] = jobsIn(killed.events);
    await cluster.until(async () => await stateOf(job!) === "COMPLETED");
    const { ran } = await project.run(stages, {
      executor: quick(),
      limits: LIMITS,
    });
    assertEquals(ran, ["wait"]);
    assertEquals((await cluster.submitted()).length, before.length + 1);
  },
);

slurmTest(
  "run() leaves its jobs with detach, and the next run takes up their results",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    project.task("after", "return read('a') + '!';", {
      inputs: { a: { kind: "text" } },
    });
    stages.after = { task: "after", inputs: { a: ["wait"] } };
    const before = await cluster.submitted();
    const executor = () => quick({ detach: true });
    const first = await project.run(stages, {
      executor: executor(),
      limits: LIMITS,
    });
    const [job] = jobsIn(first.events);
    assertEquals(
      first.events.flatMap((it) => it.type === "finished" ? [it.note] : []),
      Array(2).fill(`job ${job} goes on; run the pipeline again to follow it`),
    );
    const again = await project.run(stages, {
      executor: executor(),
      limits: LIMITS,
    });
    assertEquals(jobsIn(again.events), jobsIn(first.events));
    go(project);
    const last = await project.run(stages, {
      executor: quick(),
      limits: LIMITS,
    });
    assertEquals(last.ran, ["wait", "after"]);
    assertEquals(project.read("out/test/after/out.txt"), "went!");
    assertEquals((await cluster.submitted()).length, before.length + 2);
  },
);

slurmTest(
  "run() cancels or leaves its jobs on an interrupt, as it is told",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    for (const onInterrupt of ["leave", "cancel"] as const) {
      const slurm = { ...QUICK, onInterrupt };
      const running = project.spawn(stages, { slurm, limits: LIMITS });
      await running.event(isBegun);
      running.process.kill("SIGINT");
      const summary = await running.end();
      const [job] = jobsIn(running.events);
      const state = await stateOf(job!);
      if (onInterrupt === "leave") {
        assertEquals(state, "RUNNING");
        assertEquals(summary?.type === "summary" && summary.skipped, 1);
      } else {
        assertMatch(state, /^(COMPLETING|FAILED|CANCELLED)$/);
        assert(running.events.some(({ type }) => type === "interrupted"));
        assertEquals(messages(running.events), []);
      }
    }
  },
);

slurmTest("run() lets two schedulers share one job", async () => {
  using project = new TestProject();
  const stages = waiter(project);
  const before = await cluster.submitted();
  const first = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
  const second = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
  await Promise.race([first.event(isBegun), second.event(isBegun)]);
  go(project);
  const ends = await Promise.all([first.end(), second.end()]);
  assertEquals(
    ends.map((it) => it?.type === "summary" ? it.failed : "no summary"),
    [0, 0],
  );
  assertEquals((await cluster.submitted()).length, before.length + 1);
});
