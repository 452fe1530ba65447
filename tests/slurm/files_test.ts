import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { TestProject } from "../scheduler/project.ts";
import { HAS_SLURM, shadow, slurmTest } from "./cluster.ts";
import {
  equalStages,
  jobsIn,
  LIMITS,
  messages,
  QUICK,
  runJobs,
  stateOf,
} from "./waiting_stages.ts";

/** True if programs may get mount points and a host name of their own. */
const MAY_UNSHARE = HAS_SLURM &&
  new Deno.Command("unshare", { args: ["--mount", "--uts", "true"] })
    .outputSync().success;

/** Puts a line of shell into the script of each job before it is submitted. */
function inScript(project: TestProject, line: string): Disposable {
  project.write("line.sh", `${line}\n`);
  return shadow(
    "sbatch",
    `sed -i "2r ${project.path("line.sh")}" ${
      project.path("out/cache/runs")
    }/*/0/job.sh; exec $REAL "$@"`,
  );
}

/** The folder of the job of a stage. */
function jobFolder(project: TestProject, stage: string): string {
  const runs = project.path("out/cache/runs");
  return [...Deno.readDirSync(runs)].map(({ name }) => join(runs, name))
    .find((run) =>
      Deno.readTextFileSync(join(run, "run.json")).includes(`"${stage}"`)
    ) + "/0";
}

slurmTest(
  "run() waits for an exit file, and then for an output, that appear some time after the job has ended",
  async (cluster) => {
    using project = new TestProject();
    using _script = inScript(
      project,
      'mv() { case "$2" in end) /bin/mv output/out.txt late;; *) /bin/mv "$@";; esac; }',
    );
    const running = project.spawn(equalStages(project, 1), {
      slurm: { ...QUICK, pace: { ...QUICK.pace, late: 60 } },
      limits: LIMITS,
    });
    await running.event((it) => it.type === "queued");
    const [job] = jobsIn(running.events);
    await cluster.until(async () => await stateOf(job!) === "COMPLETED");
    const pause = () => new Promise((resolve) => setTimeout(resolve, 700));
    await pause();
    const folder = jobFolder(project, "make@n=0");
    Deno.renameSync(join(folder, "end.new"), join(folder, "end"));
    await pause();
    Deno.renameSync(join(folder, "late"), join(folder, "output", "out.txt"));
    await running.end();
    assertEquals(messages(running.events), []);
    assertEquals(project.read("out/test/make@n=0/out.txt"), "0");
  },
);

slurmTest(
  "run() fails a stage whose output does not appear in time",
  async () => {
    using project = new TestProject();
    using _script = inScript(
      project,
      'mv() { case "$2" in end) rm output/out.txt;; esac; /bin/mv "$@"; }',
    );
    const { events } = await runJobs(project, equalStages(project, 1), {
      pace: { late: 1 },
    });
    assertMatch(
      messages(events).join(),
      /^The output of job \d+ on node "n\d" is not complete here after 1 s: check the file system of "/,
    );
  },
);

slurmTest(
  "run() fails a stage whose node cannot write to its run folder, though Slurm says that its job has ended",
  async () => {
    using project = new TestProject();
    project.write(
      "readonly.sh",
      `mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec /bin/bash "$@"`,
    );
    using _sbatch = shadow(
      "sbatch",
      `sed 's|exec /bin/bash|exec unshare --mount /bin/bash ${
        project.path("readonly.sh")
      }|' | exec $REAL "$@"`,
    );
    const { events } = await runJobs(project, equalStages(project, 1), {
      pace: { late: 1 },
    });
    assertMatch(
      messages(events).join(),
      /^Job \d+ ended on node "n\d" and has left no exit file in ".*": check that the node has this folder/,
    );
  },
  MAY_UNSHARE,
);
