import { assertEquals, assertMatch } from "@std/assert";
import { callMain, CliProject } from "./project.ts";

const PIPELINE = `name: test
params: { word: one }
stages:
  start: { task: make, with: { text: "\${params.word}" } }
  middle:
    task: make
    matrix: { glue: [mrpc, cola] }
    with: { text: "\${matrix.glue}" }
    inputs: { from: start }
  end: { task: make, with: { text: end }, inputs: { from: middle[*] } }
`;

Deno.test("graph draws a pipeline in the terminal, for Mermaid and for Graphviz", async () => {
  using project = new CliProject(PIPELINE);
  assertEquals(
    (await project.call("graph")).stdout,
    "●  start\n●  middle ×2\n●  end\n",
  );
  assertEquals(
    (await project.call("graph", "--expand")).stdout,
    `●  start
├──╮
│  ●  middle@mrpc
●  │  middle@cola
├──╯
●  end
`,
  );
  assertEquals(
    (await project.call("graph", "--format", "mermaid", "middle")).stdout,
    `flowchart TD
  s0["start"]
  s1["middle ×2"]
  s0 --> s1
`,
  );
  assertEquals(
    (await project.call("graph", "--format", "dot", "--expand", "middle@cola"))
      .stdout,
    `digraph "test" {
  node [shape=box, style=rounded];
  "start" [label="start"];
  "middle@cola" [label="middle@cola"];
  "start" -> "middle@cola";
}
`,
  );
});

Deno.test("explain, status, logs, verify and cache tell what became of stages", async () => {
  using project = new CliProject(PIPELINE);
  assertEquals((await project.call("pipeline")).code, 0);

  const explained = await project.call("explain", "start", "-S", "word=two");
  assertMatch(
    explained.stdout,
    /^start: run - param text "one" -> "two"\n\n {2}Compared with the result of .*:\n {4}param text: "one" -> "two"\n/,
  );
  project.edit("tasks/make.ts", '"\\n"', '"\\n\\n"');
  const code = await project.call("explain", "start");
  assertMatch(
    code.stdout,
    /code .*make\.ts changed\n +.*make\.ts:2\d\n +- .*\n +\+ /,
  );
  const parsed = (await project.call("explain", "start", "--json")).json()[0];
  assertEquals(parsed.decision.state, "run");
  project.edit("tasks/make.ts", '"\\n\\n"', '"\\n"');
  project.write("tasks/new.ts", "export const more = 1;");
  project.edit(
    "tasks/make.ts",
    "export default",
    'import "./new.ts";\nexport default',
  );
  assertMatch(
    (await project.call("explain", "start")).stdout,
    /^ {4}code task:new\.ts is new$/m,
  );
  project.edit("tasks/make.ts", 'import "./new.ts";\n', "");

  const status = await project.call("status");
  assertEquals(status.lines.length, 4);
  assertMatch(
    status.lines[0]!,
    /^unchanged {2}start +ran \d{4}-\d\d-\d\d \d\d:\d\d, [\d.]+ s$/,
  );

  const logs = await project.call("logs", "middle@cola");
  assertMatch(logs.stdout, /^ +[\d.]+ {2}makes cola$/m);
  assertMatch(logs.stdout, /^ +[\d.]+ {2}length = 4$/m);
  const ambiguous = await project.call("logs", "middle");
  assertEquals(ambiguous.code, 2);
  assertMatch(ambiguous.stderr, /"middle" selects more than one stage/);

  const verified = await project.call("verify", "middle");
  assertEquals(verified.code, 0, verified.stderr);
  assertMatch(verified.stdout, /^middle@mrpc: 1 file came out the same, in /m);

  const cache = (...args: string[]) =>
    callMain("cache", ...args, "--out", project.path("out"));
  const listed = (await cache("ls", "--json")).json();
  assertEquals(
    new Set(listed.map((it) => it.stage)),
    new Set(["start", "middle@mrpc", "middle@cola", "end"]),
  );
  assertEquals((await cache("pin", "test/end")).code, 0);
  assertMatch((await cache("ls")).stdout, /test\/end {2}pinned$/m);
  const unknown = await cache("pin", "test/ned");
  assertEquals(unknown.code, 2);
  assertMatch(
    unknown.stderr,
    /has no result "test\/ned"; did you mean "test\/end"\?/,
  );
  const key = listed.find((it) => it.stage === "end").key;
  assertEquals((await cache("unpin", key.slice(0, 12))).code, 0);
  assertMatch((await cache("du")).stdout, /contents of 4 results/);
  assertMatch(
    (await cache("gc", "--cache-limit", "1B")).stdout,
    /^0 results removed/,
  );
  assertEquals((await cache("verify")).code, 0);
});

Deno.test("cache verify exits with 4 for a damaged cache, which the next run heals", async () => {
  using project = new CliProject(PIPELINE);
  await project.call("pipeline");
  const blobs = project.path("out/cache/blobs");
  const folder = [...Deno.readDirSync(blobs)][0]!.name;
  const file = [...Deno.readDirSync(`${blobs}/${folder}`)][0]!.name;
  const path = `${blobs}/${folder}/${file}`;
  Deno.chmodSync(path, 0o644);
  Deno.writeTextFileSync(path, "damaged");
  const { code, stdout } = await callMain(
    "cache",
    "verify",
    "--out",
    project.path("out"),
  );
  assertEquals(code, 4);
  assertMatch(stdout, /^damaged, removed: .*blobs/m);
  assertEquals((await project.call("pipeline")).code, 0);
});

Deno.test("verify exits with 1 if a stage comes out otherwise", async () => {
  using project = new CliProject(`name: test
stages:
  random: { task: random }
`);
  project.write(
    "tasks/random.ts",
    `import { z } from "zod";
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
    /^random: 1 of 1 file came out otherwise, .*: out\.txt$/m,
  );
});

Deno.test("every command that tells something tells it as JSON lines with --json", async () => {
  using project = new CliProject(PIPELINE);
  assertEquals((await project.call("pipeline")).code, 0);
  const ofPipeline: [string, ...string[]][] = [
    ["plan"],
    ["explain", "start"],
    ["graph"],
    ["status"],
    ["logs", "start"],
    ["logs", "start", "--follow"],
    ["verify", "start"],
  ];
  for (const [command, ...args] of ofPipeline) {
    const called = await project.call(command, ...args, "--json");
    assertEquals(called.code, 0, called.stderr);
    for (const line of called.json()) assertEquals(typeof line, "object");
    assertEquals(called.lines.length > 0, true, command);
  }
  for (const action of ["ls", "du", "verify", "gc", "pin", "unpin"]) {
    const named = /pin/.test(action) ? ["test/end"] : [];
    const out = ["--out", project.path("out")];
    const called = await callMain("cache", action, ...named, ...out, "--json");
    assertEquals(called.code, 0, called.stderr);
    assertEquals(called.json().length > 0, true, action);
  }
});
