import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { CliProject } from "../project.ts";

const PIPELINE = `name: test
params: { word: one }
profiles: { quick: { word: two } }
stages:
  start: { task: make, with: { text: "\${params.word}" } }
  end: { task: make, with: { text: end }, inputs: { from: start } }
`;

Deno.test("openPipeline() notices every change that a saved graph depends on", async () => {
  using project = new CliProject(PIPELINE);
  const old = new Date(Date.now() - 60_000);
  const settle = async () => {
    for (const file of ["tasks/make.ts", "test.yaml"]) {
      Deno.utimeSync(project.path(file), old, old);
    }
    // The inode's own time cannot be set back.
    await new Promise((resolve) => setTimeout(resolve, 2100));
  };
  await settle();
  assertEquals((await project.call("pipeline")).code, 0);
  const saved = () => [...Deno.readDirSync(project.path("out/cache/graphs"))];
  assertEquals(saved().length, 1);
  const planned = async () => {
    const { lines } = await project.call("plan");
    return lines.slice(0, -1).map((line) => line.split(/ +/)[0]);
  };
  assertEquals(new Set(await planned()), new Set(["unchanged"]));

  project.edit("test.yaml", "text: end", "text: END");
  assertNotEquals((await planned()).indexOf("run"), -1);
  project.edit("test.yaml", "text: END", "text: end");
  assertEquals(new Set(await planned()), new Set(["unchanged"]));

  // A default of a task's schema, of the same length, in the same second.
  project.edit("tasks/make.ts", "default(1)", "default(2)");
  const { lines } = await project.call("explain", "start");
  assertMatch(lines.join("\n"), /param size: 1 -> 2/);
});

Deno.test("pipeline rejects stages, parameters and profiles that its file does not have with exit code 2", async () => {
  using project = new CliProject(PIPELINE);
  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [["strat"], /^No stage matches "strat"; did you mean "start"\?$/m],
    [
      ["-S", "wrd=x"],
      /^-S wrd=x: Unknown parameter "wrd"; did you mean "word"\?$/m,
    ],
    [["-S", "word"], /^Setting "word" must have the form KEY=VALUE/],
    [
      ["--profile", "quik"],
      /test\.yaml: Unknown profile "quik"; did you mean "quick"\?$/m,
    ],
    [
      ["-S", "word=5"],
      /^-S word=5: Invalid "text" of task "make": expected text, got "5"$/m,
    ],
  ];
  for (const [args, message] of refused) {
    const { code, stderr } = await project.call("pipeline", ...args);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
  }
  assertEquals(project.exists("out/test"), false);
});

Deno.test("pipeline reports every fault of a file, and with --json as JSON too", async () => {
  using project = new CliProject(`name: test
stages:
  a: { task: mak }
  b: { task: make, with: { txt: x } }
`);
  const { code, stderr, json } = await project.call("pipeline", "--json");
  assertEquals(code, 2);
  assertMatch(stderr, /^ {5}\| {14}~~~$/m);
  const [error] = json();
  assertEquals(
    error.faults.map((it: Record<string, unknown>) => [it.line, it.column]),
    [[3, 14], [4, 20], [4, 28]],
  );
  assertEquals(error.type, "error");
});
