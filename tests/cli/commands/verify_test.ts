import { assertEquals, assertMatch } from "@std/assert";
import { CliProject } from "../project.ts";

Deno.test("verify exits with 0 if a stage makes the same files again", async () => {
  using project = new CliProject(`name: test
stages:
  start: { task: make, with: { text: start } }
`);
  assertEquals((await project.call("pipeline")).code, 0);
  const { code, stdout, stderr } = await project.call("verify", "start");
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^start: 1 file identical, in /m);
});

Deno.test("verify exits with 1 and names the files if a stage is not deterministic", async () => {
  using project = new CliProject(`name: test
stages:
  random: { task: random }
`);
  project.write(
    "tasks/random.ts",
    `import * as z from "zod";
export default {
  description: "Never the same twice",
  params: z.object({}),
  inputs: {},
  output: { kind: "text", files: ["out.txt"] },
  async run(stage) {
    Deno.writeTextFileSync(stage.output + "/out.txt", crypto.randomUUID());
  },
};
`,
  );
  await project.call("pipeline");
  const { code, stdout } = await project.call("verify", "random");
  assertEquals(code, 1);
  assertMatch(
    stdout,
    /^random: 1 of 1 file different, in .*\n {2}out\.txt: \d+ of 36 bytes differ, the first at \d+$/m,
  );
});
