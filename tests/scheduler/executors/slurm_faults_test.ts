import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import type { Event } from "../../../lib/scheduler/events.ts";
import { type StageOptions, TestProject } from "../project.ts";
import { Cluster, HAS_SLURM, shadow, slurm } from "./cluster.ts";
import {
  equalStages,
  go,
  isBegun,
  jobsIn,
  LIMITS,
  logs,
  messages,
  QUICK,
  quick,
  slurmTest,
  stateOf,
  waiter,
} from "./waiting_stages.ts";

/** True if tests that take minutes run as well. */
const IS_LONG = Deno.env.get("DYLORA_LONG") === "1";

let cluster: Cluster;

Deno.test.beforeAll(async () => {
  if (HAS_SLURM) cluster = await Cluster.start();
});

Deno.test.afterAll(async () => {
  if (HAS_SLURM) await cluster[Symbol.asyncDispose]();
});

slurmTest(
  "run() finds the jobs of a scheduler that was killed, and submits nothing twice",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    const killed = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await killed.event(isBegun);
    killed.process.kill("SIGKILL");
    await killed.end();
    const next = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await next.event(isBegun);
    go(project);
    await next.end();
    assertEquals(project.read("out/test/wait/out.txt"), "went");
    assertEquals(jobsIn(next.events), jobsIn(killed.events));
    assertEquals((await cluster.submitted()).length, before.length + 1);
    assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);
  },
);

slurmTest(
  "run() tells a job that somebody cancelled from one that failed",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    const running = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await running.event(isBegun);
    const [job] = jobsIn(running.events);
    await slurm("scancel", job!);
    await running.end();
    assertMatch(
      messages(running.events).join(),
      new RegExp(`^Job ${job} was cancelled on node "n\\d", not by this run$`),
    );
  },
);

/** A stage that leaves a checkpoint when it is asked to end, and goes on from it; and one that leaves none. */
function limited(project: TestProject): Record<string, StageOptions> {
  const untilAsked = `stage.log("begun");
     const timer = setTimeout(() => {}, 1e6);
     await new Promise((r) => stage.signal.addEventListener("abort", r));
     clearTimeout(timer);`;
  project.task(
    "resume",
    `const file = stage.checkpoint + "/state";
     let before;
     try { before = Deno.readTextFileSync(file); } catch { /* the first round */ }
     if (before !== undefined) return "from " + before;
     Deno.writeTextFileSync(stage.output + "/unfinished.txt", "");
     ${untilAsked}
     Deno.writeTextFileSync(file, "checkpoint");
     throw stage.signal.reason;`,
  );
  project.task("slow", `${untilAsked} throw stage.signal.reason;`);
  return {
    resume: { task: "resume", resources: { time: 60 } },
    slow: { task: "slow", resources: { time: 60 } },
  };
}

/** Checks that the first went on from its checkpoint, and the second failed. */
function checkLimited(project: TestProject, events: readonly Event[]): void {
  assertEquals(project.read("out/test/resume/out.txt"), "from checkpoint");
  assertEquals(
    [...Deno.readDirSync(project.path("out/test/resume"))]
      .map(({ name }) => name),
    ["out.txt"],
  );
  const [first, second] = jobsIn(
    events.filter((it) => "stage" in it && it.stage === "resume"),
  );
  assertEquals(first === second, false);
  assertEquals(logs(events).filter((it) => it.startsWith("Job")), [
    `Job ${first} reached its time limit; it goes on from its checkpoint`,
  ]);
  assertMatch(
    messages(events).join(),
    /^Job \d+ reached its time limit and has left no checkpoint: raise "time" in its resources or the profile$/,
  );
}

slurmTest(
  "run() goes on from the checkpoint of a job whose time limit is near, and fails one that leaves none",
  async () => {
    using project = new TestProject();
    const running = project.spawn(limited(project), {
      slurm: QUICK,
      limits: LIMITS,
    });
    for (const stage of ["resume", "slow"]) {
      await running.event((it) =>
        isBegun(it) && "stage" in it && it.stage === stage
      );
    }
    // As the controller does before the limit; see --signal in sbatch(1).
    await slurm(
      "scancel",
      "--batch",
      "--signal=USR1",
      ...jobsIn(running.events),
    );
    await running.end();
    checkLimited(project, running.events);
  },
);

slurmTest(
  "run() goes on from the checkpoint of a job when Slurm announces its time limit",
  async () => {
    using project = new TestProject();
    const { events } = await project.run(limited(project), {
      // Slurm looks at the limits every half minute, and sends the signal up to a minute early.
      executor: quick({ pace: { warning: 50 } }),
      limits: LIMITS,
    });
    checkLimited(project, events);
  },
  IS_LONG,
);

slurmTest(
  "run() runs 200 trivial stages",
  async () => {
    using project = new TestProject();
    const { ran } = await project.run(equalStages(project, 200), {
      executor: quick({ jobs: 8 }),
      limits: LIMITS,
    });
    assertEquals(ran.length, 200);
  },
  IS_LONG,
);

slurmTest("run() starts a stage again whose node fails", async () => {
  using project = new TestProject();
  const running = project.spawn(waiter(project), {
    slurm: { ...QUICK, partition: "other" },
    limits: LIMITS,
  });
  await running.event(isBegun);
  await slurm("scontrol", "update", "NodeName=n3", "State=DOWN", "Reason=test");
  go(project);
  await slurm("scontrol", "update", "NodeName=n3", "State=RESUME");
  await running.end();
  assertEquals(messages(running.events), []);
  assertEquals(project.read("out/test/wait/out.txt"), "went");
});

slurmTest(
  "run() starts a stage again that was pre-empted, when its node is free",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    const running = project.spawn(
      { wait: { ...stages.wait!, resources: { cpus: 4 } } },
      { slurm: { ...QUICK, partition: "low" }, limits: LIMITS },
    );
    await running.event(isBegun);
    await slurm(
      ...[
        "sbatch",
        "--partition=other",
        "--cpus-per-task=4",
        "--chdir=/",
      ] as const,
      ...["--output=/dev/null", "--wrap=sleep 1"],
    );
    await running.event((it) =>
      it.type === "log" && it.line.startsWith("Started again on node")
    );
    go(project);
    await running.end();
    assertEquals(messages(running.events), []);
    assertEquals(project.read("out/test/wait/out.txt"), "went");
    assertEquals(jobsIn(running.events).size, 1);
  },
);

/** True for what the executor tells the user. */
function isSaid(event: Event): boolean {
  return event.type === "log" && event.stage === "";
}

slurmTest(
  "run() waits for a controller that was killed, and says so",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    project.task("after", "return read('a') + '!';", {
      inputs: { a: { kind: "text" } },
    });
    stages.after = { task: "after", inputs: { a: ["wait"] } };
    const running = project.spawn(stages, {
      slurm: { ...QUICK, pace: { ...QUICK.pace, call: 1 } },
      limits: LIMITS,
    });
    await running.event(isBegun);
    await cluster.killController();
    await running.event(isSaid);
    // The stage ends, and the next one is ready, while there is no controller.
    go(project);
    await running.event((it) => it.type === "finished" && it.stage === "wait");
    await cluster.startController();
    await running.end();
    assertEquals(messages(running.events), []);
    assertEquals(project.read("out/test/after/out.txt"), "went!");
    const said = logs(running.events.filter(isSaid));
    assertEquals(said.length, 2);
    assertMatch(
      said[0]!,
      /^Slurm's controller does not answer \(.*\); waiting for it/,
    );
    assertEquals(said[1], "Slurm's controller answers again");
  },
);

slurmTest(
  "run() submits fewer jobs at a time where a limit refuses more",
  async () => {
    using project = new TestProject();
    using _limit = shadow(
      "sbatch",
      `case "$*" in *--array=0-3*)
  echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2
  echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)" >&2
  exit 1
esac
exec $REAL "$@"`,
    );
    const said: string[] = [];
    const { ran, events } = await project.run(equalStages(project, 4), {
      executor: quick({ pace: { gather: 0.5 } }, (text) => said.push(text)),
      limits: LIMITS,
    });
    assertEquals(messages(events), []);
    assertEquals(ran.length, 4);
    assertMatch(
      said.join(),
      /QOSMaxSubmitJobPerUserLimit.*; submitting fewer jobs at a time$/,
    );
  },
);

slurmTest(
  "run() takes neither an empty answer nor a hanging squeue for a failure",
  async () => {
    using project = new TestProject();
    using _flaky = shadow(
      "squeue",
      `echo >>$HERE/calls
case $(wc -l <$HERE/calls) in 1 | 2) exit 0;; 3) exec sleep 100;; esac
exec $REAL "$@"`,
    );
    const { ran, events } = await project.run(equalStages(project, 1), {
      executor: quick({ pace: { call: 0.5 } }),
      limits: LIMITS,
    });
    assertEquals(messages(events), []);
    assertEquals(ran, ["make@n=0"]);
  },
);

slurmTest(
  "run() names a job that ends before squeue first answers",
  async () => {
    using project = new TestProject();
    const stages = equalStages(project, 1);
    using _squeue = shadow(
      "squeue",
      `until [ -e ${
        project.path("out/cache/runs")
      }/*/end-0 ]; do sleep 0.05; done
sleep 0.5; exec $REAL "$@"`,
    );
    const { ran, events } = await project.run(stages, {
      executor: quick(),
      limits: LIMITS,
    });
    assertEquals(ran.length, 1);
    assertEquals(jobsIn(events).size, 1);
  },
);

slurmTest(
  "run() does not end on an interrupt before Slurm says that the jobs have ended",
  async () => {
    using project = new TestProject();
    // As when the controller has not yet heard of the end of a job.
    using _squeue = shadow(
      "squeue",
      `[ -e ${project.path("heard")} ] && exec $REAL "$@"
$REAL "$@" | sed -E 's/[|](COMPLETING|COMPLETED|FAILED)[|]/|RUNNING|/'`,
    );
    const running = project.spawn(waiter(project), {
      slurm: QUICK,
      limits: LIMITS,
    });
    await running.event(isBegun);
    running.process.kill("SIGINT");
    let isOver = false;
    const end = running.end().then(() => isOver = true);
    const [job] = jobsIn(running.events);
    await cluster.until(async () => await stateOf(job!) === "FAILED");
    await new Promise((resolve) => setTimeout(resolve, 500));
    assertEquals(isOver, false);
    project.write("heard", "");
    await end;
    assert(running.events.some(({ type }) => type === "interrupted"));
  },
);

slurmTest(
  "run() fails a stage whose job has vanished from the queue",
  async () => {
    using project = new TestProject();
    using _empty = shadow("squeue", "exit 0");
    const { events } = await project.run(waiter(project), {
      executor: quick({ pace: { vanished: 1 } }),
      limits: LIMITS,
    });
    assertMatch(
      messages(events).join(),
      /^Job \d+ is no longer in the queue and has left no exit file in "/,
    );
  },
);

slurmTest(
  "run() submits a job once, even if sbatch hangs after it has done so",
  async () => {
    using project = new TestProject();
    const before = await cluster.submitted();
    using _hanging = shadow("sbatch", `$REAL "$@" >/dev/null; exec sleep 100`);
    const { ran, events } = await project.run(equalStages(project, 1), {
      executor: quick({ pace: { call: 2 } }),
      limits: LIMITS,
    });
    assertEquals(messages(events), []);
    assertEquals(ran, ["make@n=0"]);
    assertEquals((await cluster.submitted()).length, before.length + 1);
  },
);

slurmTest(
  "run() submits a job again that sbatch did not submit, and no late copy of it runs",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    // The first call hangs, and submits its job when that of the second runs.
    using _late = shadow(
      "sbatch",
      `if mkdir $HERE/first 2>/dev/null; then
  cat >$HERE/script
  (sleep 5; $REAL "$@" <$HERE/script) >/dev/null 2>&1 &
  exec sleep 100
fi
exec $REAL "$@"`,
    );
    const running = project.spawn(stages, {
      slurm: { ...QUICK, pace: { ...QUICK.pace, call: 2 } },
      limits: LIMITS,
    });
    await running.event(isBegun);
    const copy = async () =>
      (await cluster.submitted())
        .find((it) => !before.includes(it) && !jobsIn(running.events).has(it));
    await cluster.until(async () => await copy() !== undefined);
    const late = (await copy())!;
    await cluster.until(async () => await stateOf(late) === "COMPLETED");
    go(project);
    await running.end();
    assertEquals(messages(running.events), []);
    assertEquals(logs(running.events).filter((it) => it === "begun").length, 1);
  },
);

slurmTest(
  "run() fails a stage with the words of sbatch when its options are wrong",
  async () => {
    using project = new TestProject();
    const { events } = await project.run(equalStages(project, 1), {
      executor: quick({ partition: "nowhere" }),
      limits: LIMITS,
    });
    assertMatch(
      messages(events).join(),
      /^sbatch failed: .*invalid partition/i,
    );
  },
);

slurmTest(
  "run() shares a job between hosts that do not see each other's locks, at two paths",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    const first = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await first.event(isBegun);
    // New files in place of the locked ones: the second host finds no lock taken.
    const cache = project.path("out/cache");
    const [run] = [...Deno.readDirSync(join(cache, "runs"))];
    for (
      const lock of [
        join(cache, "runs", run!.name, "lock"),
        ...[...Deno.readDirSync(join(cache, "locks"))]
          .map(({ name }) => join(cache, "locks", name)),
      ]
    ) {
      Deno.writeTextFileSync(`${lock}.new`, "");
      Deno.renameSync(`${lock}.new`, lock);
    }
    const elsewhere = Deno.makeTempDirSync({ prefix: "mount-" });
    const second = new TestProject(elsewhere).spawn(
      stages,
      { slurm: QUICK, limits: LIMITS },
      [
        ...["unshare", "--mount", "--uts", "sh", "-c"],
        `hostname elsewhere; mount --bind ${project.folder} ${elsewhere}; exec "$@"`,
        "sh",
      ],
    );
    await second.event(isBegun);
    go(project);
    const ends = await Promise.all([first.end(), second.end()]);
    Deno.removeSync(elsewhere);
    assertEquals(
      ends.map((it) => it?.type === "summary" ? it.failed : "no summary"),
      [0, 0],
      messages([...first.events, ...second.events]).join(),
    );
    assertEquals(project.read("out/test/wait/out.txt"), "went");
    assertEquals((await cluster.submitted()).length, before.length + 1);
    assertEquals(jobsIn(second.events), jobsIn(first.events));
  },
);
