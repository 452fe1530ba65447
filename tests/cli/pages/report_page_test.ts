import { assert, assertEquals, assertMatch } from "@std/assert";
import { renderPage } from "../../../lib/report/page.ts";
import { CliProject } from "../project.ts";

const PAGE = renderPage({
  report: { comparisons: [], averages: [], choices: [] },
  markdown: "# Report\n",
  figures: [],
  runtime: "",
});

const RENDER = `
import { z } from "zod";
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
    facts.stages.map(({ id, name, needs, outcome }: any) => [
      id,
      name,
      needs,
      outcome,
    ]),
    [
      ["start", "start", [], "ran"],
      ["middle", "middle", ["start"], "ran"],
      ["report", "report", ["start", "middle"], "ran"],
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
