import { assertEquals, assertMatch } from "@std/assert";
import { openJournal } from "../../lib/scheduler/journal.ts";
import { readLog } from "../../lib/scheduler/journal.ts";
import { openStageLog } from "../../lib/scheduler/results.ts";
import { Store } from "../../lib/store/store.ts";
import { TemporaryFolder } from "../files/temporary_folder.ts";
import { TestProject } from "./project.ts";
import { gateOf } from "./span_tasks.ts";

Deno.test("openJournal() writes each event at once", () => {
  using folder = new TemporaryFolder();
  const path = folder.join("log.jsonl");
  using log = openJournal(path);
  log.write({ type: "log", stage: "a", line: "now", stream: "log" });
  assertMatch(Deno.readTextFileSync(path), /"line":"now"/);
});

Deno.test("logs -f goes on with the next attempt of a stage, and ends with the last one", async () => {
  using project = new TestProject();
  const gate = gateOf(project);
  project.task(
    "second",
    `const file = stage.checkpoint + "/state";
     stage.log("begun");
     const isFirst = [...Deno.readDirSync(stage.checkpoint)].length === 0;
     ${gate.wait('isFirst ? "first" : "second"')}
     Deno.writeTextFileSync(file, "");
     if (isFirst || params.fail) throw new Error("Not now");
     stage.log("done");
     return 1;`,
    { rest: gate.permissions },
  );
  const store = new Store(project.path("out/cache"));
  for (const fail of [false, true]) {
    const stages = { s: { task: "second", params: { fail }, retries: 1 } };
    const scheduler = project.spawn(stages);
    await scheduler.event((event) => event.type === "log");
    const graph = await project.graph(stages);
    const found = await openStageLog(graph, "s", project.settings(), store);
    const told: string[] = [];
    for await (const line of readLog(found, true)) {
      if (line.type === "started") told.push(`attempt ${line.attempt}`);
      if (line.type === "failed") told.push(line.message);
      if (line.type === "log" && line.stream === "log") told.push(line.line);
      if (told.at(-1) !== "begun") continue;
      gate.open(told.includes("attempt 2") ? "second" : "first");
    }
    await scheduler.end();
    for (const name of ["first", "second"]) gate.close(name);
    assertEquals(told, [
      ...["attempt 1", "begun", "Not now", "attempt 2", "begun"],
      fail ? "Not now" : "done",
    ]);
  }
});

Deno.test("logs -f follows the run as it was planned when its code has been edited since", async () => {
  using project = new TestProject();
  const gate = gateOf(project);
  project.task(
    "second",
    `stage.log("begun"); ${gate.wait()} throw new Error("Not now");`,
    { rest: gate.permissions },
  );
  const store = new Store(project.path("out/cache"));
  const stages = { s: { task: "second", retries: 1 } };
  const scheduler = project.spawn(stages);
  await scheduler.event((event) => event.type === "log");
  const graph = await project.graph(stages);
  const found = await openStageLog(graph, "s", project.settings(), store);
  project.task("second", "return 2;");
  const told: string[] = [];
  for await (const line of readLog(found, true)) {
    if (line.type === "started") told.push(`attempt ${line.attempt}`);
    if (line.type === "failed") told.push(line.message);
    if (line.type === "log") gate.open();
  }
  await scheduler.end();
  assertEquals(told, ["attempt 1", "Not now", "attempt 2", "Not now"]);
  const log = project.read("out/cache/failures/test/s.jsonl");
  assertEquals(log.match(/"attempt":\d,"reason"/g)?.length, 2);
});
