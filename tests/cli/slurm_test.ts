import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { listFiles } from "../../lib/store/blobs.ts";
import { readSealed, writeSealed } from "../../lib/store/files.ts";
import { Cluster, HAS_SLURM, slurm } from "../scheduler/executors/cluster.ts";
import { linesOf } from "../../lib/scheduler/process.ts";
import { callMain, CliProject, spawnMain } from "./project.ts";

let cluster: Cluster;

Deno.test.beforeAll(async () => {
  if (HAS_SLURM) cluster = await Cluster.start();
});

Deno.test.afterAll(async () => {
  if (HAS_SLURM) await cluster[Symbol.asyncDispose]();
});

/** A test that needs Slurm. */
function slurmTest(name: string, run: () => Promise<void>): void {
  Deno.test(name, { ignore: !HAS_SLURM }, run);
}

/** The part of the pipeline "smoke" that trains DyLoRA, for one epoch. */
const SMOKE = ["smoke", "train-dylora", "-S", "train.epochs=1", "--json"];

const TRAIN = "train-dylora@sst2,seed=0";

function isRestart(event: { type: string; line?: string }): boolean {
  return event.type === "log" &&
    /reached its time limit; it goes on/.test(event.line ?? "");
}

slurmTest(
  "pipeline --executor slurm makes the adapters of a local run byte for byte, even after a time limit, and asks a node for its engine once",
  async () => {
    const folder = Deno.makeTempDirSync({ prefix: "smoke-" });
    const out = (name: string) => ["--out", join(folder, name)];
    const onSlurm = ["--executor", "slurm", ...out("slurm")];
    try {
      const locally = await callMain("pipeline", ...SMOKE, ...out("local"));
      assertEquals(locally.code, 0, locally.stderr);
      const running = spawnMain("pipeline", ...SMOKE, ...onSlurm);
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
          // What Slurm sends some time before the limit.
          if (!events.some(isRestart)) {
            await slurm("scancel", "--batch", "--signal=USR1", job);
          }
          job = undefined;
        }
      }
      assertEquals((await running.status).code, 0, await errors);
      assertEquals(events.filter(isRestart).length, 1);
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
      const planned = await callMain("plan", ...SMOKE, ...onSlurm);
      assertEquals(planned.json().at(-1).planned.unchanged, 4);

      // The nodes change: a stage that lands on another kind of node must fail.
      const path = join(folder, "slurm", "cache", "nodes.json");
      const sealed = readSealed(path);
      assert(sealed.state === "whole");
      const { nodes, ...rest } = sealed.value as {
        nodes: Record<string, { machine: string; text: string }>;
      };
      for (const answer of Object.values(nodes)) answer.machine = "a riscv64";
      writeSealed(path, { ...rest, nodes });
      const failed = await callMain(
        "pipeline",
        ...SMOKE,
        ...onSlurm,
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
  "pipeline --detach leaves its jobs, and status shows them",
  async () => {
    using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: a, seconds: 60 } }
`);
    const flags = ["--executor", "slurm"];
    const { code, stdout } = await project.call(
      "pipeline",
      ...flags,
      "--detach",
    );
    assertEquals(code, 0);
    const [, job] = /job (\d+) goes on/.exec(stdout) ?? [];
    const status = await project.call("status", ...flags);
    assertMatch(status.stdout, /running +long .* by a job that no run follows/);
    const interrupted = project.spawn(
      ...["pipeline", ...flags, "--json", "--on-interrupt", "cancel"] as [
        string,
        ...string[],
      ],
    );
    for await (
      const chunk of interrupted.stdout.pipeThrough(new TextDecoderStream())
    ) {
      if (chunk.includes('"metric"')) interrupted.kill("SIGINT");
    }
    assertEquals((await interrupted.status).code, 130);
    await interrupted.stderr.cancel();
    await cluster.until(async () =>
      !/RUNNING|COMPLETING/.test(await slurm("scontrol", "show", "job", job!))
    );
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
