import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { Arguments } from "../../../lib/cli/arguments/arguments.ts";
import { asLastRun, keepRun } from "../../../lib/cli/arguments/last_run.ts";
import { PROJECT } from "../../../lib/cli/arguments/options.ts";
import { CliProject } from "../project.ts";

const PIPELINE = `name: test
params: { text: first }
profiles: { second: { text: of the profile } }
stages:
  write: { task: make, with: { text: "\${params.text}" } }
`;

Deno.test("logs, explain and status take the settings of the last run of any pipeline, and say which", async () => {
  using project = new CliProject(PIPELINE);
  const logged = async (...args: string[]) => {
    const called = await project.call("logs", "write", ...args);
    assertEquals(called.code, 0, called.stderr);
    return [/makes .*/.exec(called.stdout)?.[0], called.stderr];
  };
  await project.call("pipeline");
  assertEquals(await logged(), ["makes first", ""]);
  await project.call("pipeline", "--profile", "second");
  const taken = "As in the last run: --profile second\n";
  assertEquals(await logged(), ["makes of the profile", taken]);
  await project.call("pipeline", "-S", "text=it's new");
  assertEquals(await logged(), [
    "makes it's new",
    "As in the last run: -S 'text=it'\\''s new'\n",
  ]);
  assertEquals(await logged("-S", "text=first"), ["makes first", ""]);
  assertEquals(await logged("--profile", "second"), [
    "makes of the profile",
    "",
  ]);
  const { stdout } = await project.call("explain", "write");
  assertMatch(stdout, /^write: unchanged/);
  const status = await project.call("status");
  assertMatch(status.stdout, /^unchanged {2}write/);
  const plan = await project.call("plan");
  assertMatch(plan.stdout, /^restore {4}write/, "a new run has its own");
});

Deno.test("logs takes the last run with the given --name", async () => {
  using project = new CliProject(PIPELINE);
  await project.call("pipeline", "--name", "a", "-S", "text=named");
  await project.call("pipeline", "-S", "text=unnamed");
  const logged = async (...args: string[]) =>
    /makes .*/.exec((await project.call("logs", "write", ...args)).stdout)?.[0];
  assertEquals(await logged("--name", "a"), "makes named");
  assertEquals(await logged(), "makes unnamed");
});

Deno.test("asLastRun() takes nothing from another pipeline with a file of the same name, nor for texts after --adapter", () => {
  const folder = Deno.makeTempDirSync();
  try {
    const given = (pipeline: string, ...names: string[]) =>
      new Arguments(
        [join(folder, pipeline)],
        new Map([["out", folder], ...names.map((name) => [name, "x"])]
          .map(([name, value]) => [name!, [value!]])),
      );
    keepRun(given("a/test.yaml", "set"));
    const taken = (args: Arguments) => asLastRun(args).values("set");
    assertEquals(taken(given("a/test.yaml")), ["x"]);
    assertEquals(taken(given("b/test.yaml")), []);
    assertEquals(taken(given("a/test.yaml", "adapter")), []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

Deno.test("asLastRun() finds the output folder of the last run of a pipeline of the project, while it exists", () => {
  const out = Deno.makeTempDirSync();
  const pipeline = join(PROJECT, "out/last-run-test.yaml");
  const kept = join(PROJECT, "out/cache/commands/last-run-test.json");
  try {
    keepRun(new Arguments([pipeline], new Map([["out", [out]]])));
    const taken = () => asLastRun(new Arguments([pipeline], new Map()));
    assertEquals(taken().value("out"), out);
    Deno.removeSync(out, { recursive: true });
    assertEquals(taken().value("out"), undefined);
  } finally {
    Deno.removeSync(kept);
  }
});
