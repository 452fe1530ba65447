import { assert, assertEquals, assertMatch } from "@std/assert";
import { loadProfile } from "../../../lib/cli/runtime/profile.ts";
import { withEnvironment } from "../../environment.ts";
import { slurm, slurmTest } from "../../slurm/cluster.ts";
import { stateOf } from "../../slurm/waiting_stages.ts";
import { CliProject } from "../project.ts";

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
    const profile = { DYLORA_PROFILE: project.path("profile.yaml") };
    await withEnvironment(profile, async () => {
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
      assertMatch(logs.stdout, new RegExp(`job ${job} `));
      // The command line has the last word.
      const local = await project.call(
        "pipeline",
        "--force",
        "--executor",
        "local",
      );
      assertEquals(/job \d+/.test(local.stdout), false);
    });
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
  await withEnvironment({ DYLORA_PROFILE: file }, async () => {
    const { code, stderr } = await project.call("pipeline");
    assertEquals(code, 2);
    for (
      const fault of [
        `${file}:1:11: Invalid "executor" of the profile: expected "local" or "slurm", got text "slurn"; did you mean "slurm"?`,
        `${file}:2:1: Unknown key "partiton" of the profile; did you mean "partition"?`,
        `${file}:4:20: Invalid "stages.train-*.time" of the profile: expected a duration such as "90s", "30m" or "1h30m", got text "soon"`,
      ]
    ) assert(stderr.includes(fault), stderr);
  });
  const missing = { DYLORA_PROFILE: project.path("missing.yaml") };
  await withEnvironment(missing, async () => {
    const { stderr } = await project.call("pipeline");
    assertMatch(stderr, /missing\.yaml: The file does not exist/);
  });
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
