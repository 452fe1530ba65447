import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fingerprint } from "../../../lib/store/stats.ts";
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
  runJobs,
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

/** The run folder of a stage. */
function runFolder(project: TestProject, stage: string): string {
  const runs = project.path("out/cache/runs");
  return [...Deno.readDirSync(runs)].map(({ name }) => join(runs, name))
    .find((run) =>
      Deno.readTextFileSync(join(run, "run.json")).includes(`"${stage}"`)
    )!;
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
    const folder = runFolder(project, "make@n=0");
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

slurmTest(
  "run() fails only the stage whose job has a file that cannot be read, and keeps its folder",
  async (cluster) => {
    using project = new TestProject();
    const { wait } = waiter(project);
    const stages = (...numbers: number[]) =>
      Object.fromEntries(numbers.map((n) => [
        `wait@n=${n}`,
        { ...wait!, params: { ...wait!.params, n } },
      ]));
    const before = await cluster.submitted();
    await runJobs(project, stages(0, 1, 2), { detach: true });
    // What cannot be read: a folder where a file is expected.
    const files = [
      join(runFolder(project, "wait@n=0"), "end-0"),
      join(runFolder(project, "wait@n=1"), "slurm.json"),
    ];
    Deno.mkdirSync(files[0]!);
    Deno.renameSync(files[1]!, `${files[1]}.away`);
    Deno.mkdirSync(files[1]!);
    go(project);
    const { ran, events } = await runJobs(project, stages(0, 1, 2));
    assertEquals(ran, ["wait@n=2"]);
    const [note, end, ...others] = messages(events)
      .toSorted((a, b) =>
        Number(a.includes("end-0")) - Number(b.includes("end-0"))
      );
    assertEquals(others, []);
    assertMatch(
      note!,
      /^Is a directory.*; the stage's job goes on, and the next run takes it up$/,
    );
    assertMatch(
      end!,
      /^Is a directory.*; job \d+_\d goes on, and the next run takes it up$/,
    );
    await cluster.until(() =>
      fingerprint(join(files[0]!, "end-0.new")) !== undefined
    );
    Deno.renameSync(join(files[0]!, "end-0.new"), `${files[0]}.away`);
    for (const file of files) {
      Deno.removeSync(file);
      Deno.renameSync(`${file}.away`, file);
    }
    const next = await runJobs(project, stages(0, 1));
    assertEquals(next.ran.toSorted(), ["wait@n=0", "wait@n=1"]);
    assertEquals((await cluster.submitted()).length, before.length + 1);
  },
);

slurmTest(
  "run() submits the other jobs of a batch when one of them cannot be noted",
  async () => {
    using project = new TestProject();
    // A folder where the note is written, made before the first job is submitted.
    using _scontrol = shadow(
      "scontrol",
      `run=$(grep -l '"make@n=0"' ${
        project.path("out/cache/runs")
      }/*/run.json); mkdir "\${run%/*}/slurm.json.new"; exec $REAL "$@"`,
    );
    const { ran, events } = await runJobs(project, equalStages(project, 3), {
      pace: { gather: 0.5 },
    });
    assertEquals(ran.toSorted(), ["make@n=1", "make@n=2"]);
    assertMatch(messages(events).join(), /^Is a directory.*slurm\.json\.new/);
  },
);

slurmTest(
  "run() cancels a job that no run can follow, since what was noted at its start is damaged",
  async (cluster) => {
    using project = new TestProject();
    const stages = waiter(project);
    const left = await runJobs(project, stages, { detach: true });
    Deno.writeTextFileSync(
      join(runFolder(project, "wait"), "frozen.json"),
      "",
    );
    const { events } = await runJobs(project, stages, { detach: true });
    assertMatch(messages(events).join(), /frozen.json" is damaged/);
    const [job] = jobsIn(left.events);
    await cluster.until(async () =>
      /^(CANCELLED|FAILED)$/.test(await stateOf(job!))
    );
    assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);
  },
);
