import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { renderPage } from "../../../lib/report/page.ts";
import { CliProject } from "../project.ts";

const PAGE = renderPage({
  report: { comparisons: [], averages: [], choices: [] },
  markdown: "# Report\n",
  figures: [],
  runtime: "",
});

const RENDER = `
import * as z from "zod";
export default {
  description: "Writes a page",
  params: z.strictObject({}),
  inputs: { from: { kind: "text", many: true } },
  output: { kind: "report", files: ["report.html", "report.json"] },
  async run({ output }) {
    Deno.writeTextFileSync(output + "/report.json", '{ "comparisons": [] }');
    Deno.writeTextFileSync(output + "/report.html", ${JSON.stringify(PAGE)});
  },
};
`;

const PIPELINE = `name: test
params: { text: "a $& b </script>" }
stages:
  start: { task: make, with: { text: "\${params.text}" } }
  middle: { task: make, with: { text: x }, inputs: { from: start } }
  report: { task: render, inputs: { from: [start, middle] } }
`;

Deno.test("pipeline writes the page of a report with what made it, unless it had nothing to do", async () => {
  using project = new CliProject(PIPELINE);
  project.write("tasks/render.ts", RENDER);
  const run = () => {
    const text = project.read("out/test/report.html");
    const [before, json, after] = text.split(
      /(?<=id="run">)(.*?)(?=<\/script>)/,
    )
      .filter((part) => part !== "");
    assertEquals(`${before}null${after}`, PAGE);
    return JSON.parse(json!);
  };
  const start = Date.now();
  const first = await project.call("pipeline", "-S", "text=it's $& </script>");
  assertEquals(first.code, 0, first.stderr);
  assert(
    first.lines.some((line) =>
      /^report +\S*out\/test\/report\.html$/.test(line)
    ),
  );
  const facts = run();
  assertEquals([facts.pipeline, facts.source], [
    "test",
    project.path("test.yaml"),
  ]);
  assertMatch(
    facts.command,
    /^deno task pipeline .*test\.yaml .* -S 'text=it'\\''s \$& <\/script>'$/,
  );
  assertEquals(facts.options.slice(0, 2), ["--set", "text=it's $& </script>"]);
  assert(
    Date.parse(facts.date) >= start && Date.parse(facts.date) <= Date.now(),
  );
  assertEquals(facts.versions.Deno, Deno.version.deno);
  assertMatch(facts.machine.Processor, / threads?$/);
  assertEquals(
    // deno-lint-ignore no-explicit-any
    facts.stages.map(({ id, outcome }: any) => [id, outcome]),
    [["start", "ran"], ["middle", "ran"], ["report", "ran"]],
  );
  assertEquals(
    // deno-lint-ignore no-explicit-any
    facts.groups.map(({ seconds: _, ...group }: any) => group),
    [
      { name: "start", count: 1, needs: [], depth: 0 },
      { name: "middle", count: 1, needs: ["start"], depth: 1 },
      // That it needs "start" too follows from "middle".
      { name: "report", count: 1, needs: ["middle"], depth: 2 },
    ],
  );
  for (const { seconds, started } of facts.stages) {
    assert(seconds > 0 && Date.parse(started) >= start - 1000);
  }

  const setting = ["-S", "text=it's $& </script>"];
  await project.call("pipeline", ...setting);
  assertEquals(run(), facts);

  // A page that is lost is written again, from what the cache knows.
  Deno.removeSync(project.path("out/test/report.html"));
  await project.call("pipeline", ...setting);
  const again = run();
  assertEquals(
    again.stages.map((stage: object) => ({ ...stage, outcome: "ran" })),
    facts.stages,
  );
  assert(
    again.stages.every(({ outcome }: { outcome: string }) =>
      outcome === "unchanged"
    ),
  );

  await project.call("pipeline", "start");
  assertEquals(run(), again, "Other stages leave the page alone");
  await project.call("pipeline");
  assertMatch(JSON.stringify(run().stages), /"outcome":"ran"/);
});

Deno.test("pipeline moves a file of the user aside that has the place of a page, and an edited page, but no page of its own", async () => {
  using project = new CliProject(`name: test
stages:
  start: { task: make, with: { text: x } }
  report: { task: render, inputs: { from: start } }
`);
  project.write("tasks/render.ts", RENDER);
  const page = project.path("out/test/report.html");
  const run = async () => {
    const { code, stderr } = await project.call(
      ...["pipeline", "report", "--force"],
    );
    assertEquals(code, 0, stderr);
  };
  const kept = (n: number) =>
    Deno.readTextFileSync(
      project.path(`out/test/_kept/report/${n}/report.html`),
    );
  Deno.mkdirSync(project.path("out/test"), { recursive: true });
  Deno.writeTextFileSync(page, "mine");
  await run();
  assertEquals(kept(1), "mine");
  const edited = `${project.read("out/test/report.html")} note`;
  Deno.writeTextFileSync(page, edited);
  await run();
  assertEquals(kept(2), edited);
  await run();
  assertThrows(() => kept(3), Deno.errors.NotFound);
});
