import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../lib/store/blobs.ts";
import { readSealed, writeSealed } from "../../lib/files/files.ts";
import { callMain, spawnMain } from "../cli/project.ts";
import { setEnvironment } from "../environment.ts";
import { linesOf } from "../lines.ts";
import { TestProject } from "../scheduler/project.ts";
import { slurm, slurmTest } from "../slurm/cluster.ts";
import { equalStages, IS_LONG, runJobs } from "../slurm/waiting_stages.ts";

/**
 * Epochs of a training that takes longer than two minutes, also on a fast
 * machine.
 */
const LONG_EPOCHS = 500;

/**
 * Epochs of a training that goes on when the signal after its first step
 * arrives: 63 steps of 10 ms are over by then.
 */
const SOME_EPOCHS = 8;

/** The part of the pipeline "smoke" that trains DyLoRA. */
function smoke(epochs: number): string[] {
  return ["smoke", "train-dylora", "-S", `train.epochs=${epochs}`, "--json"];
}

/** Where {@linkcode runBoth} lets Slurm run it. */
function onSlurm(folder: string): string[] {
  return ["--executor", "slurm", "--out", join(folder, "slurm")];
}

const TRAIN = "train-dylora@sst2,seed=0";

/** Restarts from a checkpoint at a time limit. */
// deno-lint-ignore no-explicit-any
function restarts(events: readonly any[]) {
  return events.filter(({ type, line }) =>
    type === "log" && /reached its time limit; it goes on/.test(line)
  );
}

/**
 * Runs {@linkcode smoke} here and on Slurm, and checks that both give the same
 * files.
 *
 * @param trained Called when a job has made the first step of the training.
 * @returns The events of the run on Slurm.
 */
async function runBoth(
  folder: string,
  epochs: number,
  // deno-lint-ignore no-explicit-any
  trained: (job: string, events: readonly any[]) => Promise<void> =
    async () => {},
) {
  const here = ["--out", join(folder, "local")];
  const locally = await callMain("pipeline", ...smoke(epochs), ...here);
  assertEquals(locally.code, 0, locally.stderr);
  const running = spawnMain("pipeline", ...smoke(epochs), ...onSlurm(folder));
  const errors = new Response(running.stderr).text();
  // deno-lint-ignore no-explicit-any
  const events: any[] = [];
  let job: string | undefined;
  for await (const line of linesOf(running.stdout)) {
    const event = JSON.parse(line);
    events.push(event);
    if (event.stage !== TRAIN) continue;
    if (event.type === "queued") job = event.job;
    if (event.type === "progress" && event.done > 0 && job !== undefined) {
      await trained(job, events);
      job = undefined;
    }
  }
  const failures = events.filter(({ type }) => type === "failed")
    .map(({ message }) => message);
  assertEquals(failures, [], await errors);
  assertEquals((await running.status).code, 0);
  const stages = events.filter(({ outcome }) => outcome === "ran");
  assertEquals(stages.length, 4);
  for (const { stage } of stages) {
    const [a, b] = ["local", "slurm"].map((name) =>
      join(folder, name, "smoke", stage)
    );
    const files = listFiles(a!, "refuse");
    assertEquals(files, listFiles(b!, "refuse"));
    for (const file of files) {
      assertEquals(
        Deno.readFileSync(join(a!, file)),
        Deno.readFileSync(join(b!, file)),
        `${stage}/${file}`,
      );
    }
  }
  return events;
}

slurmTest(
  "pipeline --executor slurm makes the adapters of a local run byte for byte, even after a time limit, and asks a node for its engine once",
  async () => {
    const folder = Deno.makeTempDirSync({ prefix: "smoke-" });
    try {
      const events = await runBoth(folder, SOME_EPOCHS, async (job, events) => {
        // What Slurm sends some time before the limit.
        if (restarts(events).length === 0) {
          await slurm("scancel", "--batch", "--signal=USR1", job);
        }
      });
      assertEquals(restarts(events).length, 1);
      assertEquals(
        events.filter(({ type, text = "" }) =>
          type === "note" && text.startsWith("Asking a node")
        ).length,
        1,
      );
      const jobs = new Set(
        events.filter(({ type }) => type === "queued").map(({ stage }) =>
          stage
        ),
      );
      assertEquals(
        [...jobs].map((stage) => stage.split("@")[0]).sort(),
        ["tokenize", "train-dylora"],
      );
      const planned = await callMain(
        "plan",
        ...smoke(SOME_EPOCHS),
        ...onSlurm(folder),
      );
      assertEquals(planned.json().at(-1).planned.unchanged, 4);

      // The nodes change: a stage that lands on another kind of node must fail.
      const path = join(folder, "slurm", "cache", "memo.json");
      const memo = readSealed(path) as {
        sections: {
          "node-facts": Record<string, { machine: string; text: string }>;
        };
      };
      const answers = Object.values(memo.sections["node-facts"]);
      assertEquals(answers.length > 0, true);
      for (const answer of answers) {
        // It decides on the precision of products.
        assertMatch(answer.text, /"texts":\{.*"\/proc\/cpuinfo":"/);
        answer.machine = "a riscv64";
      }
      writeSealed(path, memo);
      const failed = await callMain(
        "pipeline",
        ...smoke(SOME_EPOCHS),
        ...onSlurm(folder),
        "--force",
      );
      assertEquals(failed.code, 1);
      assertMatch(
        failed.json().find(({ type, stage }) =>
          type === "failed" && /-dylora/.test(stage)
        ).message,
        /^Node "n\d" of job \d+ is of another kind than the one whose engine is in the stage's key/,
      );
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
);

slurmTest(
  "pipeline --executor slurm makes the adapters of a local run byte for byte when Slurm ends trainings at their time limit",
  async () => {
    const folder = Deno.makeTempDirSync({ prefix: "smoke-" });
    const profile = join(folder, "profile.yaml");
    Deno.writeTextFileSync(profile, "stages: { train-*: { time: 2m } }\n");
    using _env = setEnvironment({ DYLORA_PROFILE: profile });
    try {
      const events = await runBoth(folder, LONG_EPOCHS);
      assert(restarts(events).length > 0);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
  IS_LONG,
);

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
