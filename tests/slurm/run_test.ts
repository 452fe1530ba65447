import { assert, assertEquals, assertMatch } from "@std/assert";
import { TestProject } from "../scheduler/project.ts";
import { slurm, slurmTest } from "./cluster.ts";
import {
  go,
  isBegun,
  jobsIn,
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
  "run() makes equal stages job arrays, and keeps within the jobs of all and of a task, also when some fail",
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
    const arrays = (await cluster.submitted()).length - before.length;
    assertEquals(arrays >= 3 && arrays < 14, true, `${arrays} arrays`);
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
  "run() cancels its jobs on an interrupt",
  async () => {
    using project = new TestProject();
    const running = project.spawn(waiter(project), {
      slurm: QUICK,
      limits: LIMITS,
    });
    await running.event(isBegun);
    running.process.kill("SIGINT");
    await running.end();
    const [job] = jobsIn(running.events);
    assertMatch(await stateOf(job!), /^(COMPLETING|FAILED|CANCELLED)$/);
    assert(running.events.some(({ type }) => type === "interrupted"));
    assertEquals(messages(running.events), []);
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
