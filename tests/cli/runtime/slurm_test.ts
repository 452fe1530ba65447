import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { loadProfile } from "../../../lib/cli/runtime/profile.ts";
import { listFiles } from "../../../lib/store/blobs.ts";
import { readSealed, writeSealed } from "../../../lib/store/files.ts";
import { slurm, slurmTest } from "../../slurm/cluster.ts";
import { IS_LONG, stateOf } from "../../slurm/waiting_stages.ts";
import { linesOf } from "../../lines.ts";
import { callMain, CliProject, spawnMain } from "../project.ts";

/** Epochs of a training that takes longer than two minutes, also on a fast machine. */
const LONG_EPOCHS = 500;

/** Epochs of a training that goes on when the signal after its first step arrives: 63 steps of 10 ms are over by then. */
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
          nodes: Record<string, { machine: string; text: string }>;
        };
      };
      const answers = Object.values(memo.sections.nodes);
      assertEquals(answers.length > 0, true);
      for (const answer of answers) {
        // It decides on the precision of products.
        assertMatch(answer.text, /"\[\\"read\\",\\"\/proc\/cpuinfo\\"\]":"/);
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
    Deno.env.set("DYLORA_PROFILE", profile);
    try {
      const events = await runBoth(folder, LONG_EPOCHS);
      assert(restarts(events).length > 0);
    } finally {
      Deno.env.delete("DYLORA_PROFILE");
      Deno.removeSync(folder, { recursive: true });
    }
  },
  IS_LONG,
);

slurmTest(
  "pipeline follows the user's profile, shows jobs, and logs prints their states",
  async () => {
    using project = new CliProject(`name: test
stages:
  first: { task: make, with: { text: a } }
  second: { task: make, with: { text: b }, inputs: { from: first } }
`);
    project.write(
      "profile.yaml",
      `executor: slurm
partition: other
time: 30m
memory: 1GB
arguments: [--nice=5]
jobs: 3
stages:
  other-*: { time: 2h }
`,
    );
    Deno.env.set("DYLORA_PROFILE", project.path("profile.yaml"));
    try {
      const { code, stdout, stderr } = await project.call("pipeline");
      assertEquals(code, 0, stderr);
      const [, job] = /first: job (\d+) /.exec(stdout) ?? [];
      const shown = await slurm("scontrol", "show", "job", job!);
      assertMatch(shown, /Partition=other/);
      assertMatch(shown, /TimeLimit=00:30:00/);
      assertMatch(shown, /MinMemoryNode=954M/);
      assertMatch(shown, /Nice=5/);
      assertEquals(project.read("out/test/second/out.txt"), "a\nb\n");
      const logs = await project.call("logs", "first");
      assertMatch(logs.stdout, new RegExp(`job ${job}: `));
      // The command line has the last word.
      const local = await project.call(
        "pipeline",
        "--force",
        "--executor",
        "local",
      );
      assertEquals(/job \d+/.test(local.stdout), false);
    } finally {
      Deno.env.delete("DYLORA_PROFILE");
    }
  },
);

slurmTest(
  "pipeline --detach submits the run itself as a job, whose stages status shows and logs -f follows",
  async (cluster) => {
    using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: a, seconds: 2 } }
`);
    const { code, stdout } = await project.call(
      ...["pipeline", "--executor", "slurm", "--detach"],
    );
    assertEquals(code, 0);
    const [, job, log] =
      /as job (\d+); .*, "(.*)" what it prints/.exec(stdout) ?? [];
    assertMatch(
      await slurm("scontrol", "show", "job", job!),
      /JobName=dylora-scheduler/,
    );
    await cluster.until(async () =>
      /running +long .* by process \d+/
        .test((await project.call("status", "--executor", "slurm")).stdout)
    );
    const { stdout: followed } = await project.call("logs", "long", "-f");
    const lines = followed.split("\n").map((line) => line.slice(10));
    assertMatch(lines[0]!, /^attempt 1: /);
    assertEquals(lines.filter((it) => /^(makes|length)/.test(it)), [
      "makes a",
      "length = 1",
    ]);
    await cluster.until(async () => await stateOf(job!) === "COMPLETED");
    assertMatch(Deno.readTextFileSync(log!), /^long: done/m);
    assertEquals(Deno.statSync(log!).mode! & 0o077, 0);
    const status = await project.call("status", "--executor", "slurm");
    assertMatch(status.stdout, /^unchanged +long/);
  },
);

Deno.test("pipeline shows all faults of a profile with their places", async () => {
  using project = new CliProject(`name: test
stages:
  first: { task: make, with: { text: a } }
`);
  const file = project.path("profile.yaml");
  project.write(
    "profile.yaml",
    `executor: slurn
partiton: gpu
stages:
  train-*: { time: soon }
`,
  );
  Deno.env.set("DYLORA_PROFILE", file);
  try {
    const { code, stderr } = await project.call("pipeline");
    assertEquals(code, 2);
    for (
      const fault of [
        `${file}:1:11: Invalid "executor" of the profile: expected "local" or "slurm", got text "slurn"; did you mean "slurm"?`,
        `${file}:2:1: Unknown key "partiton" of the profile; did you mean "partition"?`,
        `${file}:4:20: Invalid "stages.train-*.time" of the profile: expected a duration such as "90s", "30m" or "1h30m", got text "soon"`,
      ]
    ) assert(stderr.includes(fault), stderr);
    Deno.env.set("DYLORA_PROFILE", project.path("missing.yaml"));
    const missing = await project.call("pipeline");
    assertMatch(missing.stderr, /missing\.yaml: The file does not exist/);
  } finally {
    Deno.env.delete("DYLORA_PROFILE");
  }
});

Deno.test("loadProfile() takes the example of the README of lib/slurm", async () => {
  const readme = new URL(
    "../../../lib/slurm/README.md",
    import.meta.url,
  );
  const [, example] = /^```text\n(executor: slurm .*?)^```/ms
    .exec(Deno.readTextFileSync(readme))!;
  const file = Deno.makeTempFileSync({ suffix: ".yaml" });
  try {
    Deno.writeTextFileSync(file, example!);
    const profile = await loadProfile(file);
    assertEquals(profile.executor, "slurm");
    assertEquals(profile.stages?.["train-*"], {
      partition: "a100",
      time: 12 * 3600,
      jobs: 8,
    });
  } finally {
    Deno.removeSync(file);
  }
});
