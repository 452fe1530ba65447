import { assertEquals } from "@std/assert";
import { type StageOptions, TestProject } from "./project.ts";

/**
 * Two stages that write text, one that joins their texts, and one that reads
 * the joined text.
 */
function diamond(project: TestProject): Record<string, StageOptions> {
  project.task("make", "return params.text;");
  project.task("upper", "return read('from').toUpperCase();", {
    inputs: { from: { kind: "text" } },
  });
  project.task("join", "return readAll('parts').join('+');", {
    inputs: { parts: { kind: "text", many: true } },
  });
  return {
    a: { task: "make", params: { text: "a" } },
    b: { task: "make", params: { text: "b" } },
    up: { task: "upper", inputs: { from: ["a"] } },
    all: { task: "join", inputs: { parts: ["up", "b"] } },
  };
}

Deno.test("run() runs all stages once, and none when nothing changed", async () => {
  using project = new TestProject();
  const stages = diamond(project);
  const first = await project.run(stages);
  assertEquals(first.summary.ran, 4);
  assertEquals(project.read("out/test/all/out.txt"), "A+b");
  const second = await project.run(stages);
  assertEquals(second.summary.ran, 0);
  assertEquals(second.summary.unchanged, 4);
});

Deno.test("run() runs the stages that depend on a changed parameter, and says why", async () => {
  using project = new TestProject();
  const stages = diamond(project);
  await project.run(stages);
  const changed = { ...stages, b: { task: "make", params: { text: "c" } } };
  const { ran, events } = await project.run(changed);
  assertEquals(ran, ["b", "all"]);
  assertEquals(project.read("out/test/all/out.txt"), "A+c");
  const started = events.find((event) =>
    event.type === "started" && event.stage === "b"
  );
  assertEquals(
    started?.type === "started" && started.reason,
    'param text "b" -> "c"',
  );
});

Deno.test("run() does not run dependents of a stage whose output is the same as before", async () => {
  using project = new TestProject();
  const stages = diamond(project);
  await project.run(stages);
  const changed = { ...stages, a: { task: "make", params: { text: "A" } } };
  const { ran } = await project.run(changed);
  assertEquals(ran, ["a", "up"]);
});

Deno.test("run() restores a stage when its key was seen before, or its output was deleted or edited", async () => {
  using project = new TestProject();
  const stages = diamond(project);
  await project.run(stages);
  const changed = { ...stages, b: { task: "make", params: { text: "c" } } };
  await project.run(changed);
  const back = await project.run(stages);
  assertEquals(back.summary.ran, 0);
  assertEquals(back.summary.restored, 2);
  assertEquals(project.read("out/test/all/out.txt"), "A+b");
  Deno.removeSync(project.path("out/test/all"), { recursive: true });
  project.write("out/test/b/out.txt", "B");
  project.write("out/test/a/notes.txt", "mine");
  const again = await project.run(stages);
  assertEquals(again.summary.restored, 3);
  assertEquals(project.read("out/test/b/out.txt"), "b");
  assertEquals(project.read("out/test/all/out.txt"), "A+b");
});

Deno.test("run() skips dependents of a failed stage, and runs the others", async () => {
  using project = new TestProject();
  const stages = diamond(project);
  project.task("upper", "throw new Error('No upper case');", {
    inputs: { from: { kind: "text" } },
  });
  const { summary, events } = await project.run(stages);
  assertEquals(summary.ran, 2);
  assertEquals(summary.failed, 1);
  assertEquals(summary.skipped, 1);
  const failed = events.find((event) => event.type === "failed");
  assertEquals(failed?.type === "failed" && failed.message, "No upper case");
  const again = await project.run(stages);
  assertEquals(again.summary.failed, 1, "a failure is never cached");
});

Deno.test("plan() returns what run() would do", async () => {
  using project = new TestProject();
  const stages = diamond(project);
  const states = async () =>
    [...await project.plan(stages)].map(([id, { state }]) => `${id} ${state}`);
  assertEquals(await states(), [
    "a run",
    "b run",
    "up unknown",
    "all unknown",
  ]);
  await project.run(stages);
  Deno.removeSync(project.path("out/test/up"), { recursive: true });
  assertEquals(await states(), [
    "a unchanged",
    "b unchanged",
    "up restore",
    "all unchanged",
  ]);
});

Deno.test("run() starts no stage after a failure when keepGoing is false", async () => {
  using project = new TestProject();
  project.task("bad", "throw new Error('No');");
  project.task("good", "return 1;", {
    inputs: { from: { kind: "text", optional: true } },
  });
  // Either of the first two may start first, and the last one after both only.
  const stages: Record<string, StageOptions> = {
    bad: { task: "bad" },
    first: { task: "good" },
    last: { task: "good", inputs: { from: ["first"] } },
  };
  const limits = { jobs: 1, cpus: 1, memory: 1e9, gpus: [] };
  const stopped = await project.run(stages, { limits, keepGoing: false });
  assertEquals(stopped.summary.failed, 1);
  assertEquals(stopped.ran.includes("last"), false);
  const kept = await project.run(stages, { limits, keepGoing: true });
  assertEquals(kept.summary.failed, 1);
  assertEquals(kept.ran.includes("last"), true);
});
