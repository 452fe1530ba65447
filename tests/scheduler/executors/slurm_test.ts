import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { BusyError } from "../../../lib/scheduler/failure.ts";
import { type StageOptions, TestProject } from "../project.ts";
import { slurm, slurmTest } from "./cluster.ts";
import {
  equalStages,
  go,
  isBegun,
  jobsIn,
  killScheduler,
  LIMITS,
  messages,
  QUICK,
  runJobs,
  stateOf,
  waiter,
} from "./waiting_stages.ts";

slurmTest(
  "run() runs stages as jobs of Slurm, with their resources",
  async () => {
    using project = new TestProject();
    project.task("make", "stage.metric('m', 7); stage.log('hello'); return 1;");
    project.task("add", "return Number(read('a')) + 1;", {
      inputs: { a: { kind: "text" } },
    });
    const resources = { cpus: 2, memory: 1e9, time: 3600 };
    const { ran, events } = await runJobs(project, {
      "make@x": { task: "make", resources },
      add: { task: "add", inputs: { a: ["make@x"] } },
    });
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
  "run() gives a stage the GPUs that Slurm allots to its job, and none to one that asks for none",
  async () => {
    using project = new TestProject();
    project.task("see", "return Deno.env.get('CUDA_VISIBLE_DEVICES');", {
      rest: 'permissions: { env: ["CUDA_VISIBLE_DEVICES"] },',
    });
    await runJobs(project, {
      two: { task: "see", resources: { gpu: 2 } },
      none: { task: "see", params: { n: 1 } },
    }, { partition: "other" });
    assertEquals(project.read("out/test/two/out.txt"), "0,1");
    assertEquals(project.read("out/test/none/out.txt"), "");
  },
);

slurmTest(
  "run() reports the error of a stage that fails in a job",
  async () => {
    using project = new TestProject();
    project.task("bad", "throw new Error('the data is bad');");
    const { summary, events } = await runJobs(project, {
      bad: { task: "bad" },
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
    const { ran, events } = await runJobs(project, {
      small: { task: "small" },
      named: { task: "named" },
      forced: { task: "forced" },
    }, {
      stages: { "nam*": { run: "local" }, forced: { run: "slurm" } },
    });
    assertEquals(ran.length, 3);
    assertEquals(
      new Set(events.flatMap((it) => it.type === "queued" ? [it.stage] : [])),
      new Set(["forced"]),
    );
  },
);

/** How many of the spans, at most, go on at the same time. */
function atOnce(spans: readonly [start: number, end: number][]): number {
  return Math.max(
    ...spans.map(([now]) =>
      spans.filter(([start, end]) => start <= now && now < end).length
    ),
  );
}

slurmTest(
  "run() makes equal stages job arrays that the cluster accepts, and keeps within the jobs of all and of a task, also when some fail",
  async (cluster) => {
    using project = new TestProject();
    const before = await cluster.submitted();
    for (const task of ["make", "few"]) {
      project.task(
        task,
        `const start = Date.now();
         await new Promise((r) => setTimeout(r, 200));
         stage.log(JSON.stringify([start, Date.now()]));
         if (params.n % 4 === 1) throw new Error("odd");
         return params.n;`,
      );
    }
    const stages = (task: string, count: number) =>
      Object.fromEntries(
        [...Array(count).keys()]
          .map((n) => [`${task}@n=${n}`, { task, params: { n } }]),
      );
    const { ran, events } = await runJobs(project, {
      ...stages("make", 11),
      ...stages("few", 3),
    }, {
      jobs: 4,
      stages: { few: { jobs: 1 } },
      pace: { gather: 0.3 },
    });
    assertEquals(messages(events), Array(4).fill("odd"));
    assertEquals(ran.length, 10);
    // MaxArraySize of the cluster is 9.
    const arrays = (await cluster.submitted()).length - before.length;
    assertEquals(arrays >= 3 && arrays <= 8, true, `${arrays} arrays`);
    const spansOf = (task: string) =>
      events.flatMap((it) =>
        it.type === "log" && it.stream === "log" && it.stage.startsWith(task)
          ? [JSON.parse(it.line) as [number, number]]
          : []
      );
    assertEquals(spansOf("make").length, 11);
    assertEquals(atOnce(spansOf("few")), 1);
    const most = atOnce(spansOf(""));
    assertEquals(most <= 4, true, `${most} at a time`);
  },
);

slurmTest(
  "run() takes the result of a job that ended while no scheduler lived",
  async (cluster) => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    const killed = await killScheduler(project, stages);
    go(project);
    const [job] = jobsIn(killed);
    await cluster.until(async () => await stateOf(job!) === "COMPLETED");
    const { ran } = await runJobs(project, stages);
    assertEquals(ran, ["wait"]);
    assertEquals((await cluster.submitted()).length, before.length + 1);
  },
);

slurmTest(
  "run() leaves its jobs with detach, whatever their names, and the next run takes up their results",
  async (cluster) => {
    using project = new TestProject();
    const { wait } = waiter(project);
    project.task("after", "return read('a') + '!';", {
      inputs: { a: { kind: "text" } },
    });
    // An id that the executor itself uses as a name.
    const stages = {
      probe: wait!,
      after: { task: "after", inputs: { a: ["probe"] } },
    };
    const before = await cluster.submitted();
    const detach = { detach: true };
    const first = await runJobs(project, stages, detach, {
      signal: AbortSignal.timeout(20_000),
    });
    const [job] = jobsIn(first.events);
    assertEquals(
      first.events.flatMap((it) => it.type === "finished" ? [it.note] : []),
      Array(2).fill(`job ${job} goes on; run the pipeline again to follow it`),
    );
    const again = await runJobs(project, stages, detach);
    assertEquals(jobsIn(again.events), jobsIn(first.events));
    go(project);
    const last = await runJobs(project, stages);
    assertEquals(last.ran, ["probe", "after"]);
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

slurmTest("run() lets two schedulers share one job", async (cluster) => {
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

slurmTest(
  "run() runs 200 trivial stages",
  async () => {
    using project = new TestProject();
    const { ran } = await runJobs(project, equalStages(project, 200), {
      jobs: 8,
    });
    assertEquals(ran.length, 200);
  },
);

slurmTest(
  "run() does not start a stage while a job that a run has left holds its mutex",
  async (cluster) => {
    using project = new TestProject();
    const { wait } = waiter(project);
    project.task("quick", "return 1;");
    const stages: Record<string, StageOptions> = {
      first: { ...wait!, mutex: "m" },
      second: { task: "quick", mutex: "m" },
    };
    const before = await cluster.submitted();
    const submitted = async () =>
      (await cluster.submitted()).length - before.length;
    await runJobs(project, stages, { detach: true }, { targets: ["first"] });
    const again = await runJobs(project, stages, { detach: true });
    assertMatch(
      again.events.flatMap((it) =>
        it.type === "finished" && it.stage === "second" ? [it.note] : []
      ).join(),
      /^the job of "first" in ".*", which an earlier run has left, holds the mutex "m"; run/,
    );
    assertEquals(await submitted(), 1);
    // It waits for a job that its run does not take up, and for one that it does.
    const second = project.spawn({ second: stages.second! }, {
      slurm: QUICK,
      limits: LIMITS,
    });
    await second.event((it) =>
      it.type === "log" && it.line.startsWith('Waiting: the job of "first"')
    );
    second.process.kill("SIGINT");
    await second.end();
    const both = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await both.event(isBegun);
    assertEquals(await submitted(), 1);
    go(project);
    await both.end();
    assertEquals(messages(both.events), []);
    assertEquals(
      both.events.flatMap((it) => it.type === "finished" ? [it.stage] : []),
      ["first", "second"],
    );
    assertEquals(await submitted(), 2);
  },
);

slurmTest(
  "run() with wait: false fails a stage whose mutex a left job holds, unless the run takes up the job",
  async (cluster) => {
    using project = new TestProject();
    const { wait } = waiter(project);
    project.task("quick", "return 1;");
    const first = { ...wait!, mutex: "m" };
    const second = { task: "quick", mutex: "m" };
    const before = await cluster.submitted();
    await runJobs(project, { first }, { detach: true });
    const holds =
      'the job of "first" in ".*", which an earlier run has left, holds the mutex "m"';
    const noWait = { wait: false, signal: AbortSignal.timeout(20_000) };
    // With other parameters, a run does not take up the job of its stage.
    const other = { ...first, params: { ...first.params, other: true } };
    for (
      const stages of [{ second }, { first: other }, { first: other, second }]
    ) {
      const refused = await assertRejects(
        () => runJobs(project, stages, {}, noWait),
        BusyError,
      );
      assertMatch(refused.message, new RegExp(`cannot start: ${holds}$`));
    }
    const left = await runJobs(
      project,
      { first, second },
      { detach: true },
      noWait,
    );
    assertEquals(messages(left.events), []);
    const both = project.spawn({ first, second }, {
      slurm: QUICK,
      limits: LIMITS,
      wait: false,
    });
    await both.event(isBegun);
    assertEquals((await cluster.submitted()).length, before.length + 1);
    go(project);
    await both.end();
    assertEquals(messages(both.events), []);
    assertEquals(project.read("out/test/second/out.txt"), "1");
    assertEquals((await cluster.submitted()).length, before.length + 2);
  },
);
