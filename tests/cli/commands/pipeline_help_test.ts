import { assertEquals, assertMatch } from "@std/assert";
import { GoldenFile } from "../../golden.ts";
import { callHere, CliProject } from "../project.ts";

const golden = new GoldenFile(
  new URL("pipeline_help_golden.md", import.meta.url),
);

Deno.test("pipeline alone lists all pipelines with their descriptions", async () => {
  const { code, stdout } = await callHere("pipeline");
  assertEquals(code, 0);
  const folder = new URL("../../../pipelines/", import.meta.url);
  for (const { name } of Deno.readDirSync(folder)) {
    if (!name.endsWith(".yaml")) continue;
    const text = Deno.readTextFileSync(new URL(name, folder));
    const [, description] = /^description: (.+)$/m.exec(text)!;
    const entry = new RegExp(
      `^  ${name.replace(".yaml", "")} (.*(?:\n {5,}.*)*)`,
      "m",
    );
    assertEquals(
      entry.exec(stdout)![1]!.replaceAll(/\s+/g, " ").trim(),
      description,
    );
  }
  assertMatch(stdout, /deno task init FILE/);
});

Deno.test("pipeline NAME --help describes parameters by comments, else by what tasks say of them", async () => {
  using project = new CliProject(`name: test
description: Tests help
params:
  # The first word,
  # on two lines
  word: one
  last: null # said at the end
  many: [1, 2]
  group: { size: 3, text: "1" } # a whole group
  plain: [a]
  listed: [] # what is listed
  make: { size: 4 }
profiles: { quick: { word: two, group.size: 1 } }
stages:
  start: { task: make, with: { text: "\${params.word}", <<: "\${params.make}" } }
  end: { task: make, with: { text: "\${params.last}" }, inputs: { from: start } }
`);
  project.edit(
    "tasks/make.ts",
    "size: z.number().int().default(1)",
    'size: z.number().int().default(1).describe("How large it is")',
  );
  const { code, stdout } = await project.call("pipeline", "--help");
  assertEquals(code, 0);
  const [, parameters] = /KEY=VALUE\):\n(.*?)\n\n/s.exec(stdout)!;
  golden.check("parameters with comments and descriptions", parameters!);
  assertMatch(stdout, /^ {2}quick +word: two, group.size: 1$/m);
  assertMatch(stdout, /^ {2}start +make$/m);
});

Deno.test("pipeline NAME --help shows the faults of a file that is not YAML", async () => {
  using project = new CliProject("name: [");
  const { code, stderr } = await project.call("pipeline", "--help");
  assertEquals(code, 2);
  assertMatch(stderr, /test\.yaml:1:\d+: /);
});
