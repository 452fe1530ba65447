import { assertEquals, assertMatch } from "@std/assert";
import { linesOf } from "../../../lib/scheduler/process.ts";
import { entriesOf } from "../../../lib/store/files.ts";
import { slurm, slurmTest } from "../../scheduler/executors/cluster.ts";
import { stateOf } from "../../scheduler/executors/waiting_stages.ts";
import { CliProject, errorsOf } from "../project.ts";

const FLAGS = ["--executor", "slurm"];

/** Submits the stages and leaves their jobs; gives the id of the last one. */
async function detach(project: CliProject): Promise<string> {
  const { stdout } = await project.call("pipeline", ...FLAGS, "--detach");
  return /job (\d+) goes on/.exec(stdout)![1]!;
}

/** Path of the only run folder. */
function runFolder(project: CliProject): string {
  const [run] = entriesOf(project.path("out/cache/runs"));
  return `out/cache/runs/${run!.name}`;
}

slurmTest(
  "status, plan and dash say that a left job has ended, and only to those who ask with its parameters",
  async (cluster) => {
    using project = new CliProject(`name: test
params: { word: one }
stages:
  short: { task: make, with: { text: "\${params.word}", waits: true } }
`);
    await detach(project);
    const going = await project.call("status", ...FLAGS);
    assertMatch(
      going.stdout,
      /^running +short .* by a job that no run follows$/m,
    );
    const plan = () => project.call("plan", ...FLAGS);
    assertMatch(
      (await plan()).stdout,
      /^run +short +an earlier run left its job, which goes on$/m,
    );
    const other = await project.call("status", ...FLAGS, "-S", "word=two");
    assertMatch(other.stdout, /^run +short +never ran; no earlier result$/m);

    const folder = runFolder(project);
    project.write("go", "");
    await cluster.until(() => project.exists(`${folder}/end-0`));
    const ended = /its job has ended; the next run takes its result$/m;
    const status = await project.call("status", ...FLAGS);
    assertMatch(
      status.stdout,
      new RegExp(`^ended +short +${ended.source}`, "m"),
    );
    assertMatch((await plan()).stdout, ended);
    const dash = project.spawn("dash", ...FLAGS, "--json");
    for await (const line of linesOf(dash.stdout)) {
      const state = await fetch(`${JSON.parse(line).url}state`);
      const [{ state: shown, reason }] = (await state.json()).stages;
      assertEquals(shown, "waiting");
      assertMatch(reason, ended);
      dash.kill("SIGINT");
    }
    await dash.stderr.cancel();
    assertEquals((await dash.status).code, 130);

    assertEquals((await project.call("pipeline", ...FLAGS)).code, 0);
    const taken = await project.call("status", ...FLAGS);
    assertMatch(taken.stdout, /^unchanged +short /m);
  },
);

slurmTest(
  "status and plan say that a left job was cancelled before it started",
  async () => {
    using project = new CliProject(`name: test
stages:
  held: { task: make, with: { text: x } }
`);
    project.write("profile.yaml", "arguments: [--hold]\n");
    const env = { DYLORA_PROFILE: project.path("profile.yaml") };
    const call = (command: string, ...args: string[]) =>
      project.callWith({ env }, command, ...FLAGS, ...args);
    const { stdout } = await call("pipeline", "--detach");
    const [, job] = /job (\d+) goes on/.exec(stdout)!;
    assertMatch((await call("status")).stdout, /^running +held /m);
    await slurm("scancel", job!);
    const lost = `Job ${job} was cancelled, not by this run$`;
    assertMatch(
      (await call("status")).stdout,
      new RegExp(`^ended +held +${lost}`, "m"),
    );
    assertMatch(
      (await call("plan")).stdout,
      new RegExp(`^run +held +${lost}`, "m"),
    );
    // Slurm does not list the jobs of others here.
    Deno.chownSync(project.path(runFolder(project)), 65534, 65534);
    assertMatch((await call("status")).stdout, /^running +held /m);
  },
);

/** Tells "step 0", "step 1", ... until there is a file "go", and then "last". */
const STEPS = `
import { z } from "zod";
export default {
  description: "Counts",
  params: z.strictObject({ go: z.string() }),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  permissions: { read: () => ["/"] },
  async run({ params, output, log, signal }) {
    for (let step = 0;; step++) {
      // A test that fails leaves no process behind.
      if (step === 4000) throw new Error("Waited in vain");
      log("step " + step);
      await new Promise((resolve) => setTimeout(resolve, 50));
      signal.throwIfAborted();
      try {
        Deno.statSync(params.go);
        break;
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    log("last");
    Deno.writeTextFileSync(output + "/out.txt", "");
  },
};`;

/** Follows a stage by \`logs -f\`; calls \`hear\` with each line that its task logs, and gives all of them. */
async function follow(
  project: CliProject,
  stage: string,
  hear: (line: string) => Promise<void> | void,
): Promise<string[]> {
  const following = project.spawn("logs", stage, "-f");
  const lines: string[] = [];
  for await (const text of linesOf(following.stdout)) {
    const line = text.slice(10);
    if (!/^(step|last)/.test(line)) continue;
    lines.push(line);
    await hear(line);
  }
  assertEquals(errorsOf(await new Response(following.stderr).text()), "");
  assertEquals((await following.status).code, 0);
  return lines;
}

slurmTest(
  "logs -f goes on with a job that its run leaves, without telling a line twice",
  async () => {
    using project = new CliProject(`name: test
stages:
  steps: { task: steps, with: { go: GO } }
`);
    project.edit("test.yaml", "GO", project.path("go"));
    project.write("tasks/steps.ts", STEPS);
    const run = project.spawn("pipeline", ...FLAGS, "--json");
    const begun = Promise.withResolvers<void>();
    const read = (async () => {
      for await (const line of linesOf(run.stdout)) {
        if (JSON.parse(line).line === "step 3") begun.resolve();
      }
    })();
    await begun.promise;
    let told = 0;
    const lines = await follow(project, "steps", async () => {
      told++;
      if (told === 10) {
        run.kill("SIGKILL");
        await Promise.all([read, run.status]);
      }
      if (told === 60) project.write("go", "");
    });
    await run.stderr.cancel();
    assertEquals(
      lines.slice(0, -1),
      lines.slice(0, -1).map((_, i) => `step ${i}`),
    );
    assertEquals(lines.at(-1), "last");
  },
);

slurmTest(
  "logs -f goes on with a job that Slurm starts again without a run, and ends with one that was cancelled",
  async (cluster) => {
    const tasks = ["killed", "requeued", "cancelled"] as const;
    using project = new CliProject(
      "name: test\nstages:\n" +
        tasks.map((it) => `  ${it}: { task: ${it}, with: { go: GO } }\n`).join(
          "",
        ),
    );
    project.edit("test.yaml", /GO/g, project.path("go"));
    for (const task of tasks) project.write(`tasks/${task}.ts`, STEPS);
    await detach(project);
    /** Follows a job, and disturbs it after its third step. */
    const disturbed = async (
      task: typeof tasks[number],
      disturb: (job: string) => Promise<void>,
    ) => {
      let count = 0;
      return await follow(project, task, async (line) => {
        count++;
        if (count === 3) {
          const name = `--name=dylora-${task}`;
          const job = await slurm("squeue", "--noheader", name, "--format=%i");
          await disturb(job.trim());
        }
        if (count > 3 && line === "step 0") project.write(`${task}.again`, "");
      });
    };
    const [killed, requeued, cancelled] = await Promise.all([
      disturbed("killed", async (job) => {
        // No file tells of its end.
        await slurm("scancel", "--batch", "--signal=KILL", job);
        await cluster.until(async () => await stateOf(job) === "FAILED");
        await slurm("scontrol", "requeue", job);
      }),
      disturbed("requeued", async (job) => {
        await slurm("scontrol", "requeue", job);
      }),
      disturbed("cancelled", async (job) => {
        await slurm("scancel", job);
      }),
      cluster.until(() =>
        project.exists("killed.again") && project.exists("requeued.again")
      ).then(() => project.write("go", "")),
    ]);
    for (const lines of [killed, requeued]) {
      assertEquals(lines.filter((line) => line === "step 0").length, 2);
      assertEquals(lines.at(-1), "last");
    }
    assertEquals(cancelled.includes("last"), false);
  },
);
