import { assertEquals, assertMatch } from "@std/assert";
import type { Event } from "../../lib/scheduler/events.ts";
import { type StageOptions, TestProject } from "../scheduler/project.ts";
import { hide, shadow, slurm, slurmTest } from "../slurm/cluster.ts";
import {
  go,
  IS_LONG,
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
} from "../slurm/waiting_stages.ts";

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

/**
 * A stage that leaves a checkpoint when it is asked to end, and goes on from
 * it; and one that leaves none.
 */
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
    const { events } = await runJobs(project, limited(project));
    checkLimited(project, events);
  },
  IS_LONG,
);

/**
 * Runs the stage "wait" on a partition until `disturb` has made Slurm end its
 * job, and a line says why.
 */
async function startedAgain(
  partition: string,
  cpus: number,
  again: RegExp,
  disturb: () => Promise<void>,
): Promise<void> {
  using project = new TestProject();
  const { wait } = waiter(project);
  const running = project.spawn({ wait: { ...wait!, resources: { cpus } } }, {
    slurm: { ...QUICK, partition },
    limits: LIMITS,
  });
  await running.event(isBegun);
  await disturb();
  await running.event((it) => it.type === "log" && again.test(it.line));
  go(project);
  await running.end();
  assertEquals(messages(running.events), []);
  assertEquals(project.read("out/test/wait/out.txt"), "went");
  assertEquals(jobsIn(running.events).size, 2);
}

// Together, since Slurm lets both wait for some seconds before they start
// again.
slurmTest(
  "run() starts stages again whose node failed, or that were pre-empted",
  async () => {
    await Promise.all([
      startedAgain("frail", 1, /^Job \d+ lost its node "n4"$/, async () => {
        const node = ["update", "NodeName=n4"] as const;
        await slurm("scontrol", ...node, "State=DOWN", "Reason=test");
        await slurm("scontrol", ...node, "State=RESUME");
      }),
      startedAgain(
        "low",
        4,
        /^Job \d+ was pre-empted on node "n3"$/,
        async () => {
          const job = ["--partition=other", "--cpus-per-task=4", "--chdir=/"];
          await slurm("sbatch", ...job, "--output=/dev/null", "--wrap=sleep 1");
        },
      ),
    ]);
  },
);

/** True for what the executor tells the user. */
function isSaid(event: Event): boolean {
  return event.type === "log" && event.stage === "";
}

slurmTest(
  "run() waits for a controller that was killed, and says so",
  async (cluster) => {
    using project = new TestProject();
    const stages = waiter(project);
    project.task("after", "return read('a') + '!';", {
      inputs: { a: { kind: "text" } },
    });
    stages.after = { task: "after", inputs: { a: ["wait"] } };
    const running = project.spawn(stages, {
      slurm: { ...QUICK, pace: { ...QUICK.pace, call: 2 } },
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
    assertMatch(
      said[0]!,
      /^Slurm's controller does not answer \(.*\); waiting for it/,
    );
    assertEquals(said.at(-1), "Slurm's controller answers again");
  },
);

slurmTest(
  "run() waits for a controller from which the commands get their configuration",
  async () => {
    using project = new TestProject();
    const stages = waiter(project);
    go(project);
    using _squeue = shadow(
      "squeue",
      `echo >>$HERE/calls
[ $(wc -l <$HERE/calls) -gt 2 ] && exec $REAL "$@"
cat >&2 <<'END'
squeue: error: fetch_config: DNS SRV lookup failed
squeue: error: _establish_config_source: failed to fetch config
squeue: fatal: Could not establish a configuration source
END
exit 1`,
    );
    const said: string[] = [];
    const { ran, events } = await project.run(stages, {
      executor: quick({}, (text) => said.push(text)),
      limits: LIMITS,
    });
    assertEquals(messages(events), []);
    assertEquals(ran, ["wait"]);
    assertMatch(said[0]!, /^Slurm's controller does not answer \(.*DNS SRV/);
  },
);

slurmTest(
  "run() fails the stages that are jobs where a command of Slurm is missing, and others go on",
  async () => {
    using project = new TestProject();
    project.task("near", "return 'near';", { rest: "small: true," });
    using _squeue = hide("squeue");
    const { ran, events } = await runJobs(project, {
      ...waiter(project),
      near: { task: "near" },
    });
    assertEquals(messages(events), [
      `"squeue" was not found: Slurm's commands must be in PATH where the scheduler runs`,
    ]);
    assertEquals(ran, ["near"]);
  },
);

/**
 * A stage that writes a checkpoint when it is asked to end, and goes on from
 * it.
 */
function resuming(project: TestProject): Record<string, StageOptions> {
  project.task(
    "resume",
    `const file = stage.checkpoint + "/state";
     try { return "from " + Deno.readTextFileSync(file); } catch { /* the first start */ }
     stage.log("begun");
     const timer = setTimeout(() => {}, 1e6);
     await new Promise((r) => stage.signal.addEventListener("abort", r));
     clearTimeout(timer);
     Deno.writeTextFileSync(file, "checkpoint");
     throw stage.signal.reason;`,
  );
  return { resume: { task: "resume" } };
}

slurmTest(
  "a job ends by itself when its scheduler was killed, and the next run goes on from its checkpoint",
  async (cluster) => {
    using project = new TestProject();
    const stages = resuming(project);
    const killed = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await killed.event(isBegun);
    const [job] = jobsIn(killed.events);
    killed.process.kill("SIGKILL");
    await killed.end();
    assertEquals(await stateOf(job!), "RUNNING");
    await cluster.until(async () => await stateOf(job!) === "FAILED");
    const { ran } = await runJobs(project, stages);
    assertEquals(ran, ["resume"]);
    assertEquals(project.read("out/test/resume/out.txt"), "from checkpoint");
    assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);
  },
);

slurmTest(
  "the job of a killed scheduler ends as soon as another run finds its folder, and writes to no checkpoint of that run",
  async (cluster) => {
    using project = new TestProject();
    const stages = resuming(project);
    // Without the next run, this job would go on for a minute.
    const pace = { ...QUICK.pace, beat: 8 };
    const killed = project.spawn(stages, {
      slurm: { ...QUICK, pace },
      limits: LIMITS,
    });
    await killed.event(isBegun);
    const [job] = jobsIn(killed.events);
    killed.process.kill("SIGKILL");
    await killed.end();
    const next = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await next.event(isBegun);
    const folder = project.path("out/cache/checkpoints");
    const [key] = [...Deno.readDirSync(folder)];
    await cluster.until(async () => await stateOf(job!) !== "RUNNING");
    assertEquals(
      [...Deno.readDirSync(`${folder}/${key!.name}/2`)],
      [],
    );
    next.process.kill("SIGINT");
    await next.end();
  },
);
