import { assertEquals, assertMatch } from "@std/assert";
import { linesOf } from "../../../lib/scheduler/process.ts";
import { entriesOf } from "../../../lib/store/files.ts";
import { slurmTest } from "../../scheduler/executors/cluster.ts";
import { CliProject } from "../project.ts";

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
  short: { task: make, with: { text: "\${params.word}", seconds: 1 } }
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
