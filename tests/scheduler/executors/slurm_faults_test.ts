import { assertEquals, assertMatch } from "@std/assert";
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

/** A stage that leaves a checkpoint when it is asked to end, and ends in the round after that. */
function resumer(project: TestProject): Record<string, StageOptions> {
  project.task(
    "resume",
    `const file = stage.checkpoint + "/state";
     let before;
     try { before = Deno.readTextFileSync(file); } catch { /* the first round */ }
     if (before !== undefined) return "from " + before;
     Deno.writeTextFileSync(stage.output + "/unfinished.txt", "");
     stage.log("begun");
     const timer = setTimeout(() => {}, 1e6);
     await new Promise((resolve) => stage.signal.addEventListener("abort", resolve));
     clearTimeout(timer);
     Deno.writeTextFileSync(file, "checkpoint");
     throw stage.signal.reason;`,
  );
  return { resume: { task: "resume", resources: { time: 60 } } };
}

slurmTest(
  "run() goes on from the checkpoint of a job whose time limit is near",
  async () => {
    using project = new TestProject();
    // Slurm sends the signal up to a minute early, so for a limit of a minute it comes at once.
    const { ran, events } = await project.run(resumer(project), {
      executor: quick({ pace: { warning: 50 } }),
      limits: LIMITS,
    });
    assertEquals(messages(events), []);
    assertEquals(ran, ["resume"]);
    assertEquals(project.read("out/test/resume/out.txt"), "from checkpoint");
    assertEquals(
      [...Deno.readDirSync(project.path("out/test/resume"))]
        .map(({ name }) => name),
      ["out.txt"],
    );
    const [first, second] = jobsIn(events);
    assertEquals(logs(events).filter((it) => it.startsWith("Job")), [
      `Job ${first} reached its time limit; it goes on from its checkpoint`,
    ]);
    assertEquals(first === second, false);
  },
);

slurmTest(
  "run() fails a stage whose time limit comes before it leaves a checkpoint",
  async () => {
    using project = new TestProject();
    project.task(
      "slow",
      `const timer = setTimeout(() => {}, 1e6);
     await new Promise((r) => stage.signal.addEventListener("abort", r));
     clearTimeout(timer);
     throw stage.signal.reason;`,
    );
    const { events } = await project.run(
      { slow: { task: "slow", resources: { time: 60 } } },
      { executor: quick({ pace: { warning: 50 } }), limits: LIMITS },
    );
    assertMatch(
      messages(events).join(),
      /^Job \d+ reached its time limit and has left no checkpoint: raise "time" in its resources or the profile$/,
    );
  },
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
  (sleep 4; $REAL "$@" <$HERE/script) >/dev/null 2>&1 &
  exec sleep 100
fi
exec $REAL "$@"`,
    );
    const running = project.spawn(stages, {
      slurm: { ...QUICK, pace: { ...QUICK.pace, call: 0.5 } },
      limits: LIMITS,
    });
    await running.event(isBegun);
    await cluster.until(async () =>
      (await cluster.submitted()).length === before.length + 2
    );
    const [copy] = (await cluster.submitted())
      .filter((it) => !before.includes(it) && !jobsIn(running.events).has(it));
    await cluster.until(async () =>
      /COMPLETED/.test(await slurm("scontrol", "show", "job", copy!))
    );
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
