import {
  assert,
  assertEquals,
  assertIsError,
  assertMatch,
  assertRejects,
} from "@std/assert";
import { BusyError } from "../../lib/scheduler/failure.ts";
import type { Manifest } from "../../lib/store/manifests.ts";
import { statIfThere, writeSealed } from "../../lib/files/files.ts";
import { Store } from "../../lib/store/store.ts";
import { engine, type Ran, type StageOptions, TestProject } from "./project.ts";
import { firstLine, gateOf, holdTask, meet } from "./span_tasks.ts";

/** A project whose two stages have run, and the manifest of the first. */
async function ranProject(): Promise<
  {
    project: TestProject;
    stages: Record<string, StageOptions>;
    manifest: Manifest;
    store: Store;
  }
> {
  const project = new TestProject();
  project.task("make", "return params.text;");
  project.task("upper", "return read('from').toUpperCase();", {
    inputs: { from: { kind: "text" } },
  });
  const stages = {
    a: { task: "make", params: { text: "some text" } },
    up: { task: "upper", inputs: { from: ["a"] } },
  };
  await project.run(stages);
  const store = new Store(project.path("out/cache"));
  const [key] = store.histories.read("test", "a").keys;
  const found = store.manifests.read(key!);
  assert(found.state === "found");
  return { project, stages, manifest: found.manifest, store };
}

function reason({ events }: Ran, stage: string): string | undefined {
  const started = events.find((event) =>
    event.type === "started" && event.stage === stage
  );
  return started?.type === "started" ? started.reason : undefined;
}

function damage(path: string, text: string): void {
  Deno.chmodSync(path, 0o644);
  Deno.writeTextFileSync(path, text);
}

Deno.test("run() runs a stage again when a blob of its result is truncated, changed or lost, and says why", async () => {
  const damages: ((path: string) => void)[] = [
    (path) => damage(path, "some"),
    (path) => damage(path, "Some text"),
    (path) => Deno.removeSync(path),
  ];
  for (const act of damages) {
    const { project, stages, manifest, store } = await ranProject();
    using _project = project;
    act(store.blobs.path(manifest.files[0]!.blob));
    const ran = await project.run(stages);
    assertEquals(ran.ran, ["a"]);
    assertEquals(
      reason(ran, "a"),
      'its result in the cache has lost "out.txt"',
    );
    assertEquals(project.read("out/test/up/out.txt"), "SOME TEXT");
  }
});

Deno.test("run() runs a stage whose manifest is of another version, damaged or misplaced, and says why", async () => {
  const cases: [string, (store: Store, manifest: Manifest) => void][] = [
    [
      "was written by another version of this program",
      (store, manifest) =>
        writeSealed(store.manifests.path(manifest.key), {
          ...manifest,
          version: 3,
          more: [],
        }),
    ],
    [
      "was written by another version of this program",
      (store, manifest) =>
        writeSealed(store.manifests.path(manifest.key), {
          ...manifest,
          version: 1,
          more: [],
        }),
    ],
    ["is damaged", (store, manifest) => {
      const path = store.manifests.path(manifest.key);
      const text = Deno.readTextFileSync(path);
      Deno.writeTextFileSync(path, text.replace('"size":9', '"size":8'));
    }],
    [
      "is damaged",
      (store, manifest) =>
        Deno.truncateSync(store.manifests.path(manifest.key), 100),
    ],
    [
      "belongs to another key",
      (store, manifest) =>
        writeSealed(store.manifests.path(manifest.key), {
          ...manifest,
          key: manifest.content,
        }),
    ],
  ];
  for (const [fault, act] of cases) {
    const { project, stages, manifest, store } = await ranProject();
    using _project = project;
    act(store, manifest);
    const ran = await project.run(stages);
    assertEquals(ran.ran, ["a"]);
    assertEquals(reason(ran, "a"), `its result in the cache ${fault}`);
  }
});

Deno.test("run() waits for another process that runs the same stage, and reuses its result", async () => {
  using project = new TestProject();
  const letGo = holdTask(project);
  const stages = { hold: { task: "hold" } };
  const first = project.spawn(stages);
  await first.event((event) => event.type === "started");
  const second = project.spawn(stages);
  assertMatch(await firstLine(second), /^hold: Waiting for process \d+/);
  letGo();
  await first.end();
  const summary = await second.end();
  assert(summary?.type === "summary");
  assertEquals([summary.ran, summary.failed], [0, 0]);
});

Deno.test("run() throws BusyError when another process runs the stage and wait is false", async () => {
  using project = new TestProject();
  const letGo = holdTask(project);
  const stages = { hold: { task: "hold" } };
  const first = project.spawn(stages);
  await first.event((event) => event.type === "started");
  assertIsError(
    await assertRejects(() => project.run(stages, { wait: false })),
    BusyError,
    /"hold" would have to wait for process \d+, which runs the same stage/,
  );
  letGo();
  await first.end();
});

Deno.test("run() runs one of two stages with the same key, even when wait is false", async () => {
  using project = new TestProject();
  project.task(
    "slow",
    "await new Promise((r) => setTimeout(r, 200)); return crypto.randomUUID();",
  );
  const stages = { one: { task: "slow" }, two: { task: "slow" } };
  const { summary } = await project.run(stages, { wait: false });
  assertEquals([summary.ran, summary.restored], [1, 1]);
  const [one, two] = ["one", "two"].map((id) =>
    project.read("out/test", id, "out.txt")
  );
  assertEquals(one, two);
});

Deno.test("run() leaves the place of a stage that waits for another with its key to others", async () => {
  using project = new TestProject();
  const { one, two } = meet(project);
  const [first, second] = [{ ...one, timeout: 20 }, { ...two, timeout: 20 }];
  const stages = { first, same: first, second };
  const { summary } = await project.run(stages);
  assertEquals([summary.ran, summary.restored], [2, 1]);
});

Deno.test("run() starts a stage over when its source changed while it ran", async () => {
  using project = new TestProject();
  const gate = gateOf(project);
  project.write("data.txt", "old");
  project.task(
    "reader",
    `const text = Deno.readTextFileSync(params.data);
     stage.log("read");
     ${gate.wait()}
     return text;`,
    {
      rest:
        `sources: (params: any) => ({ data: params.data }), ${gate.permissions}`,
    },
  );
  const stages = { reader: { task: "reader", params: { data: "data.txt" } } };
  const scheduler = project.spawn(stages);
  await scheduler.event((event) => event.type === "log");
  project.write("data.txt", "new");
  gate.open();
  const summary = await scheduler.end();
  assertEquals(summary?.type === "summary" && summary.ran, 1);
  const starts = scheduler.events.filter(({ type }) => type === "started");
  assertEquals(starts.length, 2);
  assertEquals(project.read("out/test/reader/out.txt"), "new");
  assertEquals((await project.run(stages)).summary.ran, 0);
  Deno.renameSync(project.path("data.txt"), project.path("moved.txt"));
  Deno.mkdirSync(project.path("elsewhere"));
  Deno.renameSync(
    project.path("moved.txt"),
    project.path("elsewhere/data.txt"),
  );
  const moved = {
    reader: { task: "reader", params: { data: "elsewhere/data.txt" } },
  };
  assertEquals(
    (await project.run(moved)).summary.ran,
    0,
    "a source counts by what it holds, not by where it lies",
  );
});

Deno.test("run() identifies a source folder by its name and content, not by its location", async () => {
  using project = new TestProject();
  project.write("models/base/weights.txt", "7");
  project.task(
    "namer",
    "return params.folder.split(/[\\\\/]/).at(-1)!;",
    { rest: "sources: (params: any) => ({ folder: params.folder })," },
  );
  const run = async (folder: string) => {
    const stages = { namer: { task: "namer", params: { folder } } };
    const { ran } = (await project.run(stages)).summary;
    return [ran, project.read("out/test/namer/out.txt")];
  };
  assertEquals(await run("models/base"), [1, "base"]);
  Deno.renameSync(project.path("models"), project.path("moved"));
  assertEquals(await run("moved/base"), [0, "base"]);
  Deno.renameSync(project.path("moved/base"), project.path("moved/large"));
  assertEquals(await run("moved/large"), [1, "large"]);
});

Deno.test("run() runs the code that is in the key, whatever is edited meanwhile", async () => {
  using project = new TestProject();
  const gate = gateOf(project);
  project.write("lib/value.ts", "export const value = 1;");
  project.task("late", "return (await import('../lib/value.ts')).value;", {
    // The scheduler, which has arguments, imports the task, too.
    head: `if (Deno.args.length === 0) ${gate.wait()}`,
    rest: gate.permissions,
  });
  const stages = { late: { task: "late" } };
  const scheduler = project.spawn(stages);
  await scheduler.event((event) => event.type === "started");
  project.write("lib/value.ts", "export const value = 2;");
  gate.open();
  const summary = await scheduler.end();
  assertEquals(summary?.type === "summary" && summary.ran, 1);
  assertEquals(project.read("out/test/late/out.txt"), "1");
  assertEquals((await project.run(stages)).summary.ran, 1);
  assertEquals(project.read("out/test/late/out.txt"), "2");
});

Deno.test("run() runs a stage when its source is an empty folder of another name", async () => {
  using project = new TestProject();
  for (const name of ["a", "b"]) Deno.mkdirSync(project.path(name));
  project.task("name", "return params.folder.split('/').at(-1);", {
    rest: "sources: (params: any) => ({ folder: params.folder }),",
  });
  for (const folder of ["a", "b"]) {
    await project.run({ name: { task: "name", params: { folder } } });
    assertEquals(project.read("out/test/name/out.txt"), folder);
  }
});

Deno.test("run() runs forced stages, and their dependents only when the results differ", async () => {
  const { project, stages } = await ranProject();
  using _project = project;
  const { ran } = await project.run(stages, { force: new Set(["a"]) });
  assertEquals(ran, ["a"]);
});

Deno.test("run() does not run a stage again when its input stage was renamed", async () => {
  const { project, stages } = await ranProject();
  using _project = project;
  const renamed = {
    b: stages.a!,
    up: { task: "upper", inputs: { from: ["b"] } },
  };
  const { summary } = await project.run(renamed);
  assertEquals(summary.ran, 0);
  assertEquals(project.read("out/test/b/out.txt"), "some text");
});

Deno.test("run() gives recorded seconds and metrics to tasks with timings only", async () => {
  using project = new TestProject();
  project.task("make", "stage.metric('loss', params.loss); return 'same';");
  const source =
    "return JSON.stringify(stage.inputs.of.map((a: any) => [a.stage, a.matrix, a.seconds, a.metrics]));";
  const inputs = { of: { kind: "text", many: true } };
  project.task("blind", source, { inputs });
  project.task("timed", source, { inputs, rest: "timings: true," });
  const stages = (loss: number) => ({
    "make@x": { task: "make", params: { loss }, matrix: { m: "x" } },
    blind: { task: "blind", inputs: { of: ["make@x"] } },
    timed: { task: "timed", inputs: { of: ["make@x"] } },
  });
  await project.run(stages(1));
  assertEquals(
    project.read("out/test/blind/out.txt"),
    '[["make@x",{"m":"x"},null,null]]',
  );
  const [[, , seconds, metrics]] = JSON.parse(
    project.read("out/test/timed/out.txt"),
  );
  assert(seconds > 0 && seconds < 30);
  assertEquals(metrics, { loss: 1 });
  const { ran } = await project.run(stages(2));
  assertEquals(ran, ["make@x", "timed"]);
});

Deno.test("run() records what computed a stage beside its seconds, for tasks with timings", async () => {
  using project = new TestProject();
  project.task("make", "return 'same';", { rest: "needs: ['engine']," });
  const source =
    "return JSON.stringify(stage.inputs.of.map((a: any) => a.machine));";
  const inputs = { of: { kind: "text", many: true } };
  project.task("timed", source, { inputs, rest: "timings: true," });
  await project.run({
    make: { task: "make" },
    timed: { task: "timed", inputs: { of: ["make"] } },
  }, engine("e 1", { machine: () => Promise.resolve("Processor 5") }));
  assertEquals(
    project.read("out/test/timed/out.txt"),
    '["Processor 5, 1 thread"]',
  );
});

Deno.test("run() gives a stage the code of its key when a module is edited before the stage imports it", async () => {
  using project = new TestProject();
  const gate = gateOf(project);
  project.write("lib/late.ts", "export const late = 1;");
  project.task(
    "patient",
    `stage.log("running");
     ${gate.wait()}
     const { late } = await import("../lib/late.ts");
     return late;`,
    { rest: gate.permissions },
  );
  const stages = { patient: { task: "patient" } };
  const scheduler = project.spawn(stages);
  await scheduler.event((event) => event.type === "log");
  project.write("lib/late.ts", "export const late = 2;");
  gate.open();
  const summary = await scheduler.end();
  assertEquals(summary?.type === "summary" && summary.ran, 1);
  assertEquals(project.read("out/test/patient/out.txt"), "1");
  const again = await project.run(stages);
  assertEquals(again.ran, ["patient"]);
  assertEquals(project.read("out/test/patient/out.txt"), "2");
});

Deno.test("run() keeps the cache within its limit when it has only restored results, as those of a remote", async () => {
  using project = new TestProject();
  project.task("make", "return 1;");
  const stages = { make: { task: "make" } };
  await project.run(stages);
  const unneeded = `out/cache/blobs/00/${"1".repeat(62)}`;
  project.write(unneeded, "1");
  const visible = project.path("out/test/make");
  Deno.removeSync(visible, { recursive: true });
  const { summary } = await project.run(stages, { cacheLimit: 1 });
  assertEquals(summary.restored, 1);
  assertEquals(statIfThere(project.path(unneeded)), undefined);
  assertEquals(project.read("out/test/make/out.txt"), "1");
});
