import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { TestProject } from "../project.ts";
import { HAS_SLURM, shadow, slurmTest } from "./cluster.ts";
import {
  equalStages,
  go,
  isBegun,
  jobsIn,
  LIMITS,
  messages,
  QUICK,
  quick,
  stateOf,
  waiter,
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
    }/*/job.sh; exec $REAL "$@"`,
  );
}

/** The run folder of the only stage. */
function runFolder(project: TestProject): string {
  const runs = project.path("out/cache/runs");
  const [run] = [...Deno.readDirSync(runs)];
  return join(runs, run!.name);
}

slurmTest(
  "run() waits for an exit file, and then for an output, that appear some time after the job has ended",
  async (cluster) => {
    using project = new TestProject();
    using _script = inScript(
      project,
      'mv() { case "$2" in end-*) /bin/mv output-0/out.txt late;; *) /bin/mv "$@";; esac; }',
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
    const folder = runFolder(project);
    Deno.renameSync(join(folder, "end-0.new"), join(folder, "end-0"));
    await pause();
    Deno.renameSync(join(folder, "late"), join(folder, "output-0", "out.txt"));
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
      'mv() { case "$2" in end-*) rm output-0/out.txt;; esac; /bin/mv "$@"; }',
    );
    const { events } = await project.run(equalStages(project, 1), {
      executor: quick({ pace: { late: 1 } }),
      limits: LIMITS,
    });
    assertMatch(
      messages(events).join(),
      /^The output of job \d+ on node "n\d" is not complete here after 1 s: check the file system of "/,
    );
  },
);

slurmTest(
  "run() fails a stage whose node cannot write to its run folder, though Slurm calls its job completed",
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
    const { events } = await project.run(equalStages(project, 1), {
      executor: quick({ pace: { late: 1 } }),
      limits: LIMITS,
    });
    assertMatch(
      messages(events).join(),
      /^Job \d+ ended on node "n\d" and has left no exit file in ".*": check that the node has this folder/,
    );
  },
  MAY_UNSHARE,
);

slurmTest(
  "run() shares a job between hosts that do not see each other's locks, at two paths",
  async (cluster) => {
    using project = new TestProject();
    const stages = waiter(project);
    const before = await cluster.submitted();
    const first = project.spawn(stages, { slurm: QUICK, limits: LIMITS });
    await first.event(isBegun);
    // New files in place of the locked ones: the second host finds no lock taken.
    const cache = project.path("out/cache");
    const [run] = [...Deno.readDirSync(join(cache, "runs"))];
    for (
      const lock of [
        join(cache, "runs", run!.name, "lock"),
        ...[...Deno.readDirSync(join(cache, "locks"))]
          .map(({ name }) => join(cache, "locks", name)),
      ]
    ) {
      Deno.writeTextFileSync(`${lock}.new`, "");
      Deno.renameSync(`${lock}.new`, lock);
    }
    const elsewhere = Deno.makeTempDirSync({ prefix: "mount-" });
    const second = new TestProject(elsewhere).spawn(
      stages,
      { slurm: QUICK, limits: LIMITS },
      [
        ...["unshare", "--mount", "--uts", "sh", "-c"],
        `hostname elsewhere; mount --bind ${project.folder} ${elsewhere}; exec "$@"`,
        "sh",
      ],
    );
    await second.event(isBegun);
    go(project);
    const ends = await Promise.all([first.end(), second.end()]);
    Deno.removeSync(elsewhere);
    assertEquals(
      ends.map((it) => it?.type === "summary" ? it.failed : "no summary"),
      [0, 0],
      messages([...first.events, ...second.events]).join(),
    );
    assertEquals(project.read("out/test/wait/out.txt"), "went");
    assertEquals((await cluster.submitted()).length, before.length + 1);
    assertEquals(jobsIn(second.events), jobsIn(first.events));
  },
  MAY_UNSHARE,
);
