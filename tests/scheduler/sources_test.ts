import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { sourceListing } from "../../lib/scheduler/key.ts";
import { Store } from "../../lib/store/store.ts";
import { type StageOptions, TestProject } from "./project.ts";

/** Sources of a task that has the parameter `data`. */
const SOURCES = "sources: (params: any) => ({ data: params.data }),";

const STAGES: Record<string, StageOptions> = {
  reader: { task: "reader", params: { data: "data" } },
};

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

Deno.test("run() fails a stage whose source folder has a file only while it runs, each time", async () => {
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
    /^Its sources keep changing \(".*data" changed\)/,
  );
});

Deno.test("run() keeps a file whose name has a backslash", async () => {
  using project = new TestProject();
  project.task(
    "writer",
    "Deno.writeTextFileSync(stage.output + '/a\\\\b', 'text'); return 1;",
  );
  const stages = { writer: { task: "writer" } };
  await project.run(stages);
  assertEquals(project.read("out/test/writer/a\\b"), "text");
  assertEquals((await project.run(stages)).summary.unchanged, 1);
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

Deno.test({
  name:
    "sourceListing() refuses pipes and devices at once, and files whose names Deno cannot express",
  ignore: Deno.build.os === "windows",
  async fn() {
    using project = new TestProject();
    const store = new Store(project.path("out/cache"));
    const { success } = new Deno.Command("bash", {
      args: [
        "-ec",
        "mkdir a b c; mkfifo pipe a/pipe; ln -s /dev/zero b/zero; touch $'c/\\xff'",
      ],
      cwd: project.folder,
    }).outputSync();
    assert(success);
    const reader = new Deno.Command("cat", { stdin: "piped" }).spawn();
    const cases = {
      [project.path("pipe")]: "is neither a file nor a folder; write its",
      // As the path that a shell gives for a process substitution.
      [`/proc/${reader.pid}/fd/0`]: " is neither a file nor a folder",
      "/dev/zero": " is neither a file",
      [project.path("a")]: `/a/pipe" is neither a file`,
      [project.path("b")]: `/b/zero" is neither a file`,
      [project.path("c")]: '/c/\uFFFD" does not exist',
    };
    // Lets a reader of the pipe go on, so that the test fails instead of
    // hanging.
    using _writer = Deno.openSync(project.path("pipe"), {
      read: true,
      write: true,
    });
    for (const [path, message] of Object.entries(cases)) {
      const tooLong = AbortSignal.timeout(5000);
      const digest = Promise.race([
        sourceListing(path, store),
        new Promise<never>((_, reject) =>
          tooLong.onabort = () => reject(new Error("reads on and on"))
        ),
      ]);
      await assertRejects(() => digest, Error, message);
    }
    await reader.stdin.close();
    await reader.status;
  },
});
