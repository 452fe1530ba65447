import { assertEquals, assertMatch } from "@std/assert";
import { CliProject, TASKS_PIPELINE } from "../project.ts";

Deno.test("logs prints what a stage logged, with the seconds since its start", async () => {
  using project = new CliProject(TASKS_PIPELINE);
  assertEquals((await project.call("pipeline")).code, 0);
  const { stdout } = await project.call("logs", "middle@cola");
  assertMatch(stdout, /^ +[\d.]+ {2}makes cola$/m);
  assertMatch(stdout, /^ +[\d.]+ {2}length = 4$/m);
});

Deno.test("logs asks for one stage that has run", async () => {
  using project = new CliProject(TASKS_PIPELINE);
  const ambiguous = await project.call("logs", "middle");
  assertEquals(ambiguous.code, 2);
  assertMatch(
    ambiguous.stderr,
    /^"middle" selects more than one stage: "middle@mrpc", "middle@cola"; name one of them$/m,
  );
  const early = await project.call("logs", "start");
  assertEquals(early.code, 1);
  assertMatch(
    early.stderr,
    /^Stage "start" has no result yet:\n {2}run: deno task pipeline .*test\.yaml'? start --tasks .+ --out .+$/m,
  );
});
