import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { renderPage } from "../../../lib/report/page.ts";
import type { RunFacts } from "../../../lib/report/run_facts.ts";
import { shellWord } from "../../../lib/files/shell_word.ts";
import { CliProject } from "../project.ts";

const PAGE = renderPage({
  report: { comparisons: [], averages: [] },
  markdown: "# Report\n",
  figures: [],
  runtimes: [],
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
    return JSON.parse(json!) as RunFacts;
  };
  const start = Date.now();
  // In a process of its own, whose arguments the page shows.
  const setting = ["-S", "text=it's $& </script>"];
  const first = await project.callWith({}, "pipeline", ...setting);
  assertEquals(first.code, 0, first.stderr);
  assert(
    first.lines.some((line) =>
      /^report +.*out\/test\/report\.html$/.test(line)
    ),
  );
  const facts = run();
  assertEquals([facts.pipeline, facts.exporting], [
    "test",
    `deno task export ${shellWord(project.path("test.yaml"))}`,
  ]);
  assertMatch(
    facts.header,
    /<dd>deno task pipeline .*test\.yaml.* -S 'text=it'\\''s \$&#38; &#60;\/script&#62;'<\/dd>/,
  );
  assertEquals(facts.options.slice(0, 2), ["-S", "text=it's $& </script>"]);
  const [, minute] = /<dd>(\S+ \S+) UTC<\/dd>/.exec(facts.header)!;
  assert(Date.parse(`${minute}Z`) >= start - 60_000);
  assertMatch(
    facts.section,
    new RegExp(`<dt>Deno</dt> <dd>${RegExp.escape(Deno.version.deno)}</dd>`),
  );
  assertMatch(facts.section, /<dt>System<\/dt> <dd>\w+ .*\(\w+\)<\/dd>/);
  const outcomes = ({ section }: RunFacts) =>
    [...section.matchAll(/<tr><td>(\w+)<.*?<td>([\w ]+)<\/td><\/tr>/g)]
      .map(([, id, outcome]) => [id, outcome]);
  assertEquals(
    outcomes(facts),
    [["start", "ran"], ["middle", "ran"], ["report", "ran"]],
  );
  // That the report needs "start" too follows from "middle".
  assertEquals(facts.section.match(/<path /g)?.length, 2);

  await project.call("pipeline", ...setting);
  assertEquals(run(), facts);

  // A page that is lost is written again, from what the cache knows.
  Deno.removeSync(project.path("out/test/report.html"));
  const npx = { env: { npm_lifecycle_event: "npx" } };
  await project.callWith(npx, "pipeline", ...setting);
  const again = run();
  const typed = `npx -y deno@${Deno.version.deno} task`;
  assertEquals(
    again.exporting,
    `${typed} export ${shellWord(project.path("test.yaml"))}`,
  );
  assertStringIncludes(again.header, `<dd>${typed} pipeline `);
  assertEquals(
    outcomes(again),
    outcomes(facts).map(([id]) => [id, "from the cache"]),
  );

  await project.call("pipeline", "start");
  assertEquals(run(), again, "Other stages leave the page alone");
  await project.call("pipeline");
  assertMatch(outcomes(run()).join(), /,ran/);
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
