import { assertEquals, assertMatch } from "@std/assert";
import { setTimeout as sleep } from "node:timers/promises";
import { MappedFile } from "../store/mapped_file.ts";
import { type StageOptions, TestProject } from "./project.ts";

const isLinux = Deno.build.os === "linux";

/** Sources of a task that has the parameter `data`. */
const SOURCES = "sources: (params: any) => ({ data: params.data }),";

const STAGES: Record<string, StageOptions> = {
  reader: { task: "reader", params: { data: "data" } },
};

Deno.test(
  "run() gives a stage one state of a source that changes through a mapping all the time, and notices the last change",
  { ignore: !isLinux },
  async () => {
    using project = new TestProject();
    project.task(
      "reader",
      `const read = () => Deno.readTextFileSync(params.data + "/a.txt");
       const first = read();
       await new Promise((resolve) => setTimeout(resolve, 100));
       return first + read();`,
      { rest: SOURCES },
    );
    project.write("data/a.txt", "A");
    using mapped = new MappedFile(project.path("data/a.txt"));
    mapped.write("A");
    // From now on, the times of the file show no change.
    await sleep(2_100);
    let flips = 0;
    const timer = setInterval(() => mapped.write("AB"[++flips % 2]!), 10);
    await project.run(STAGES);
    clearInterval(timer);
    for (const text of ["A", "B", "A"]) {
      mapped.write(text);
      const { summary } = await project.run(STAGES);
      assertEquals(summary.failed, 0);
      assertEquals(project.read("out/test/reader/out.txt"), text + text);
    }
  },
);

Deno.test("run() runs a stage again when its source folder gets an empty folder, or loses it", async () => {
  using project = new TestProject();
  project.task(
    "reader",
    "return [...Deno.readDirSync(params.data)].map(({ name }) => name).sort().join();",
    { rest: SOURCES },
  );
  project.write("data/a.txt", "A");
  const texts: string[] = [];
  const run = async () => {
    await project.run(STAGES);
    texts.push(project.read("out/test/reader/out.txt"));
  };
  await run();
  Deno.mkdirSync(project.path("data/empty"));
  await run();
  Deno.removeSync(project.path("data/empty"));
  await run();
  assertEquals(texts, ["a.txt", "a.txt,empty", "a.txt"]);
});

Deno.test("run() discards a result when a file was in its source folder only while the stage ran", async () => {
  using project = new TestProject();
  project.write("data/sub/a.txt", "A");
  const data = JSON.stringify(project.path("data/sub"));
  project.task(
    "guest",
    `const name = params.data + "/sub/b.txt";
     Deno.writeTextFileSync(name, "B");
     const names = [...Deno.readDirSync(params.data + "/sub")].map(({ name }) => name);
     Deno.removeSync(name);
     return names.length;`,
    { rest: `${SOURCES} permissions: { write: () => [${data}] },` },
  );
  const { summary, events } = await project.run({
    guest: { task: "guest", params: { data: "data" } },
  });
  assertEquals(summary.failed, 1);
  const failed = events.find((event) => event.type === "failed");
  assertMatch(
    failed?.type === "failed" ? failed.message : "",
    /data" was changed while the stage ran, so its result is discarded/,
  );
});

Deno.test("run() refuses an output whose name has a backslash, which could not be restored everywhere", async () => {
  using project = new TestProject();
  project.task(
    "writer",
    "Deno.writeTextFileSync(stage.output + '/a\\\\b', ''); return 1;",
  );
  const { summary, events } = await project.run({ writer: { task: "writer" } });
  assertEquals(summary.failed, 1);
  const failed = events.find((event) => event.type === "failed");
  assertMatch(
    failed?.type === "failed" ? failed.message : "",
    /The stage wrote "a\\b", but names with a backslash/,
  );
});

Deno.test("run() fails a stage that leaves an empty folder in its output, which could not be restored", async () => {
  using project = new TestProject();
  project.task("empty", "Deno.mkdirSync(stage.output + '/logs'); return 1;");
  const { summary, events } = await project.run({ empty: { task: "empty" } });
  assertEquals(summary.failed, 1);
  const failed = events.find((event) => event.type === "failed");
  assertMatch(
    failed?.type === "failed" ? failed.message : "",
    /left the folder "logs\/" in its output empty/,
  );
});

Deno.test("run() gives a restored output the modes of the first one", async () => {
  using project = new TestProject();
  project.task(
    "tool",
    `Deno.mkdirSync(stage.output + "/bin", { mode: 0o700 });
     Deno.writeTextFileSync(stage.output + "/bin/tool", "#!/bin/sh", { mode: 0o755 });
     return 1;`,
  );
  const stages = { tool: { task: "tool" } };
  const modes = () =>
    ["", "bin", "bin/tool", "out.txt"].map((path) =>
      Deno.statSync(project.path("out/test/tool", path)).mode
    );
  await project.run(stages);
  const first = modes();
  Deno.removeSync(project.path("out/test/tool"), { recursive: true });
  assertEquals((await project.run(stages)).summary.restored, 1);
  assertEquals(modes(), first);
});
