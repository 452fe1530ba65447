/** Results that are read while other runs go on. */
import { assertEquals } from "@std/assert";
import { openStore } from "../../lib/scheduler/context.ts";
import { openResults } from "../../lib/scheduler/results.ts";
import { type StageOptions, TestProject } from "./project.ts";

Deno.test("openResults() gives folders that other runs do not change, and removes them on disposal", async () => {
  using project = new TestProject();
  project.task("base", "return 'base of ' + params.by;");
  project.task("make", "return read('from') + ', made by ' + params.by;", {
    inputs: { from: { kind: "text" } },
  });
  const stages = (by: string): Record<string, StageOptions> => ({
    base: { task: "base", params: { by } },
    make: { task: "make", params: { by }, inputs: { from: ["base"] } },
  });
  const settings = project.settings();
  await project.run(stages("one"));
  const results = await openResults(
    await project.graph(stages("one")),
    "make",
    ["make", "base"],
    settings,
    openStore(settings),
  );
  const read = () =>
    ["make", "base"].map((stage) =>
      Deno.readTextFileSync(`${results.of(stage)}/out.txt`)
    );
  const expected = ["base of one, made by one", "base of one"];
  assertEquals(read(), expected);

  await project.run(stages("two"), { cacheLimit: 0 });
  assertEquals(
    project.read("out/test/make/out.txt"),
    "base of two, made by two",
  );
  assertEquals(read(), expected);
  assertEquals(
    results.lastingPaths(`${results.of("make")}/out.txt`),
    project.path("out/test/make/out.txt"),
  );
  results[Symbol.dispose]();
  assertEquals([...Deno.readDirSync(project.path("out/cache/runs"))], []);
});
