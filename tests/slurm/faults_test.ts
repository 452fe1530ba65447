import { assert, assertEquals, assertMatch } from "@std/assert";
import { TestProject } from "../scheduler/project.ts";
import { shadow, slurm, slurmTest } from "./cluster.ts";
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
  runJobs,
  stateOf,
  waiter,
} from "./waiting_stages.ts";

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
    const { ran, events } = await runJobs(project, equalStages(project, 1), {
      pace: { call: 0.5 },
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
      }/*/0/end ]; do sleep 0.05; done
sleep 0.5; exec $REAL "$@"`,
    );
    const { ran, events } = await runJobs(project, stages);
    assertEquals(ran.length, 1);
    assertEquals(jobsIn(events).size, 1);
  },
);

slurmTest(
  "run() does not end on an interrupt before Slurm says that the jobs have ended",
  async (cluster) => {
    using project = new TestProject();
    // As when the controller has not yet heard of the end of a job.
    using _squeue = shadow(
      "squeue",
      `[ -e ${project.path("heard")} ] && exec $REAL "$@"
$REAL "$@" | sed -E 's/[|](COMPLETING|COMPLETED|CANCELLED)[|]/|RUNNING|/'`,
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
    await cluster.until(async () => await stateOf(job!) === "CANCELLED");
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
    const { events } = await runJobs(project, waiter(project), {
      pace: { vanished: 1 },
    });
    assertMatch(
      messages(events).join(),
      /^Job \d+ is no longer in the queue and has left no exit file in "/,
    );
  },
);

slurmTest(
  "run() submits a job once, even if sbatch hangs after it has done so",
  async (cluster) => {
    using project = new TestProject();
    const before = await cluster.submitted();
    using _hanging = shadow("sbatch", `$REAL "$@" >/dev/null; exec sleep 100`);
    const { ran, events } = await runJobs(project, equalStages(project, 1), {
      pace: { call: 2 },
    });
    assertEquals(messages(events), []);
    assertEquals(ran, ["make@n=0"]);
    assertEquals((await cluster.submitted()).length, before.length + 1);
  },
);

slurmTest(
  "run() submits a job again that sbatch did not submit, and no late copy of it runs",
  async (cluster) => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    // The first call hangs, and submits its job when the second one is made.
    using _late = shadow(
      "sbatch",
      `export HERE REAL
if mkdir $HERE/first 2>/dev/null; then
  cat >$HERE/script
  setsid bash -c 'until [ -e $HERE/second ] || [ ! -e $HERE ]; do sleep 0.1; done
    $REAL "$@" <$HERE/script' late "$@" >/dev/null 2>&1 &
  exec sleep 100
fi
mkdir -p $HERE/second
exec $REAL "$@"`,
    );
    const running = project.spawn(stages, {
      slurm: { ...QUICK, pace: { ...QUICK.pace, call: 1 } },
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
    const { events } = await runJobs(project, equalStages(project, 1), {
      partition: "nowhere",
    });
    assertMatch(
      messages(events).join(),
      /^sbatch failed: .*invalid partition/i,
    );
  },
);

slurmTest(
  "run() fails stages that are killed, and says whether time or memory was short",
  async () => {
    using project = new TestProject();
    project.task(
      "wait",
      `stage.log("begun"); setInterval(() => {}, 1e6); await new Promise(() => {});`,
    );
    // What Slurm says where it enforces limits of time and memory.
    using _squeue = shadow(
      "squeue",
      `$REAL "$@" | sed -E 's/^([0-9]+_0)[|](FAILED|CANCELLED)/\\1|TIMEOUT/; s/^([0-9]+_1)[|](FAILED|CANCELLED)/\\1|OUT_OF_MEMORY/'`,
    );
    const resources = { time: 3600, memory: 2 ** 30 };
    const stages = ["a", "b"].map((n) => [`wait@n=${n}`, n] as const);
    const running = project.spawn(
      Object.fromEntries(stages.map(([id, n]) => [
        id,
        { task: "wait", params: { n }, resources },
      ])),
      { slurm: QUICK, limits: { ...LIMITS, memory: 2 ** 40 } },
    );
    for (const [id] of stages) {
      await running.event((it) =>
        isBegun(it) && "stage" in it && it.stage === id
      );
    }
    const jobs = [...jobsIn(running.events)];
    await slurm("scancel", "--full", "--signal=KILL", ...jobs);
    await running.end();
    const [, time, memory] = /^(Job \d+_0 .*)\n(Job \d+_1 .*)$/.exec(
      messages(running.events).sort().join("\n"),
    ) ?? [];
    assertMatch(
      time ?? "",
      /reached its time limit \(01:00:00\) on node "n\d": raise "time"/,
    );
    assertMatch(
      memory ?? "",
      /ran out of memory \(1024M\) on node "n\d": raise "memory"/,
    );
  },
);

slurmTest(
  "run() follows a job that somebody moves to another partition",
  async (cluster) => {
    using project = new TestProject();
    const running = project.spawn(equalStages(project, 1), {
      slurm: { ...QUICK, arguments: ["--hold"] },
      limits: LIMITS,
    });
    await running.event((it) =>
      it.type === "queued" && it.reason === "JobHeldUser"
    );
    const [job] = jobsIn(running.events);
    // Slurm refuses this while it schedules jobs.
    await cluster.until(async () => {
      await slurm("scontrol", "update", `JobId=${job}`, "Partition=other");
      return /Partition=other/.test(
        await slurm("scontrol", "show", "job", job!),
      );
    });
    await slurm("scontrol", "release", job!);
    await running.end();
    assertEquals(messages(running.events), []);
    assertEquals(project.read("out/test/make@n=0/out.txt"), "0");
    assertMatch(await slurm("scontrol", "show", "job", job!), /NodeList=n3/);
  },
);

slurmTest(
  "run() asks squeue once for all jobs, and less and less often while nothing changes",
  async () => {
    using project = new TestProject();
    const { wait } = waiter(project);
    using _squeue = shadow(
      "squeue",
      `echo >>${project.path("calls")}; exec $REAL "$@"`,
    );
    const running = project.spawn(
      { a: wait!, b: { ...wait!, params: { ...wait!.params, n: 1 } } },
      {
        slurm: { ...QUICK, pace: { ...QUICK.pace, queue: 0.1, slowest: 2 } },
        limits: LIMITS,
      },
    );
    for (const stage of ["a", "b"]) {
      await running.event((it) =>
        isBegun(it) && "stage" in it && it.stage === stage
      );
    }
    const calls = () => project.read("calls").length;
    const before = calls();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    // Every 0.1 s for each of both jobs, it would be 40.
    assertEquals(calls() - before <= 10, true, `${calls() - before} calls`);
    go(project);
    await running.end();
    assertEquals(messages(running.events), []);
  },
);
