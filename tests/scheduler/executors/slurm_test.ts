import { assertEquals, assertMatch } from "@std/assert";
import { Slurm } from "../../../lib/scheduler/executors/slurm.ts";
import {
  PACE,
  type SlurmSettings,
} from "../../../lib/scheduler/executors/slurm_settings.ts";
import type { Event } from "../../../lib/scheduler/events.ts";
import { type StageOptions, TestProject } from "../project.ts";
import { Cluster, HAS_SLURM, slurm } from "./cluster.ts";

let cluster: Cluster;

Deno.test.beforeAll(async () => {
  if (HAS_SLURM) cluster = await Cluster.start();
});

Deno.test.afterAll(async () => {
  if (HAS_SLURM) await cluster[Symbol.asyncDispose]();
});

/** Settings that look at everything often. */
const QUICK: SlurmSettings = {
  partition: "main",
  jobs: 100,
  stages: {},
  detach: false,
  onInterrupt: "cancel",
  pace: {
    ...PACE,
    gather: 0.05,
    files: 0.05,
    queue: 0.2,
    slowest: 0.5,
    late: 3,
    vanished: 3,
    call: 10,
  },
};

function quick(more: Partial<SlurmSettings> = {}): Slurm {
  return new Slurm({ ...QUICK, ...more });
}

/** Limits that leave everything to Slurm. */
const LIMITS = { jobs: 1000, cpus: 2, memory: 1e9, gpus: [] };

/** A test that needs Slurm. */
function slurmTest(name: string, run: () => Promise<void>): void {
  Deno.test(name, { ignore: !HAS_SLURM }, run);
}

function messages(events: readonly Event[]): string[] {
  return events.flatMap((it) => it.type === "failed" ? [it.message] : []);
}

slurmTest("run() runs stages as jobs of Slurm, with their resources", async () => {
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
  const queued = events.find((it) => it.type === "queued");
  const job = queued?.type === "queued" ? queued.job : "";
  const shown = await slurm("scontrol", "show", "job", job);
  assertMatch(shown, /JobName=dylora-make/);
  assertMatch(shown, /TimeLimit=01:00:00/);
  assertMatch(shown, /MinMemoryNode=954M/);
  assertMatch(shown, /CPUs\/Task=2/);
});

slurmTest("run() reports the error of a stage that fails in a job", async () => {
  using project = new TestProject();
  project.task("bad", "throw new Error('the data is bad');");
  const stages: Record<string, StageOptions> = { bad: { task: "bad" } };
  const { summary, events } = await project.run(stages, {
    executor: quick(),
    limits: LIMITS,
  });
  assertEquals(summary.failed, 1);
  assertEquals(messages(events), ["the data is bad"]);
});
