import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { shellWord } from "../../../lib/files/shell_word.ts";
import { PROGRAM, PROJECT } from "../../../lib/cli/arguments/options.ts";
import { callMain, CliProject, errorsOf } from "../project.ts";
import { inTerminal } from "../terminal/pseudo_terminal.ts";

/**
 * A task that fails: by its parameter, because of the user's data or by a bug.
 * It may read a file.
 */
const FAIL = `
import * as z from "zod";
export default {
  description: "Fails",
  params: z.strictObject({ how: z.string(), file: z.string().optional() }),
  inputs: { from: { kind: "text", optional: true } },
  output: { kind: "text", files: ["out.txt"] },
  sources: ({ file }) => file === undefined ? {} : { file },
  async run(stage) {
    stage.log("reads the data");
    const { how } = stage.params;
    if (how === "bug") null.length;
    const from = stage.inputs.from?.[0]?.path;
    throw new SyntaxError(from === undefined
      ? "data.csv:3: Expected 2 columns"
      : from + "/out.txt:3: Expected 2 columns");
  },
};
`;

function failing(stages: string, params = "{}"): CliProject {
  const project = new CliProject(`name: test
params: ${params}
stages:
${stages}`);
  project.write("tasks/fail.ts", FAIL);
  return project;
}

/** Arguments that run the pipeline of a project. */
function argumentsOf(project: CliProject): string[] {
  return [
    ...[...PROGRAM, "pipeline", project.path("test.yaml")],
    ...["--tasks", project.path("tasks"), "--out", project.path("out")],
  ];
}

Deno.test("pipeline prints a fault of the user's data once, without a stack", async () => {
  using project = failing(`  bad: { task: fail, with: { how: data } }\n`);
  const [file, tasks, out] = ["test.yaml", "tasks", "out"]
    .map((it) => project.path(it));
  const words = ["logs", file, "bad", "--tasks", tasks, "--out", out];
  const log = `deno task ${words.map((it) => shellWord(it!)).join(" ")}`;
  const expected = [
    "bad: failed - data.csv:3: Expected 2 columns",
    `  log: ${log}`,
    "1 stage: 0 ran, 1 failed, in X s",
  ];
  const plain = await project.call("pipeline");
  assertEquals(plain.code, 1);
  assertEquals(
    plain.lines.map((it) => it.replace(/[\d.]+ s$/, "X s")),
    [
      "bad: run - no earlier result",
      "bad | reads the data",
      ...expected,
    ],
  );
  const { output } = await inTerminal([
    Deno.execPath(),
    ...argumentsOf(project),
  ]);
  // deno-lint-ignore no-control-regex
  const text = output.replaceAll(/\x1b\[[?\d;]*[A-Za-z]/g, "");
  assertEquals(text.match(/Expected 2 columns/g)?.length, 1, text);
  assert(!/\n\s+(\| +)?at /.test(text), text);
  // While it ran, its line of the table may have had its last words.
  const end = text.slice(text.indexOf("failed - "));
  assert(!end.includes("reads the data"), text);
  const logged = await project.call("logs", "bad");
  assertEquals(logged.lines.filter((it) => / at /.test(it)), []);
  const events = (await project.call("logs", "bad", "--json")).json();
  assert(
    events.some(({ stream, line }) => stream === "stack" && / at /.test(line)),
    "the stack is in the log, for those who write the task",
  );
});

Deno.test("pipeline prints where a bug of a task is", async () => {
  using project = failing(`  bad: { task: fail, with: { how: bug } }\n`);
  const { stdout } = await project.call("pipeline");
  assertMatch(stdout, /^ {2}\| +at .*\/fail\.ts:\d+:\d+/m);
  assertEquals(stdout.match(/Cannot read properties of null/g)?.length, 1);
});

Deno.test("pipeline prints the error that 9 stages share once, with their number and names", async () => {
  const seeds = Array.from({ length: 9 }, (_, i) => i).join(", ");
  using project = failing(
    `  bad:
    task: fail
    matrix: { seed: [${seeds}] }
    with: { how: data }
  after:
    task: make
    matrix: { seed: [${seeds}] }
    with: { text: x }
    inputs: { from: bad[seed] }
`,
  );
  const { code, lines } = await project.call("pipeline", "--keep-going");
  assertEquals(code, 1);
  const [fault, ...others] = lines.filter((it) => it.includes("Expected 2"));
  assertMatch(
    fault!,
    /^bad@seed=\d+: failed - data\.csv:3: Expected 2 columns$/,
  );
  assertEquals(others, []);
  const same = lines.filter((it) => it.startsWith("Same error"));
  assertEquals(same.length, 1);
  assertMatch(
    same[0]!,
    /^Same error in 8 more stages: (bad@seed=\d+, ){4}bad@seed=\d+ and 3 more$/,
  );
  assertMatch(lines.at(-1)!, /^18 stages: 0 ran, 9 failed, 9 skipped, /);
});

Deno.test("pipeline names all files that do not exist before anything runs", async () => {
  using project = failing(
    `  first: { task: make, with: { text: x } }
  bad:
    task: fail
    matrix: { seed: [0, 1, 2] }
    with: { how: data, file: "\${params.file}" }
    inputs: { from: first }
  last:
    task: fail
    with: { how: data, file: ./other.tsv }
    inputs: { from: first }
`,
    "{ file: ./none.tsv }",
  );
  const path = project.path("mine.tsv");
  const other = join(PROJECT, "other.tsv");
  const expected = [
    `Parameter "file" of stage "bad": "${path}" does not exist`,
    `Parameter "file" of stage "last": "${other}" does not exist`,
  ];
  for (const how of [[], ["--dry-run"], ["--keep-going"]]) {
    const called = await project.call("pipeline", ...how, "-S", `file=${path}`);
    assertEquals(called.code, 1);
    assertEquals(called.lines, []);
    assertEquals(called.stderr.trim().split("\n").slice(-2), expected);
  }
  const below = project.path("test.yaml/x.tsv");
  const inFile = await project.call("pipeline", "-S", `file=${below}`);
  assertStringIncludes(inFile.stderr, `"${below}" does not exist`);
  const alone = await project.call("pipeline", "first");
  assertEquals(alone.code, 0, "what is not selected is not needed");
});

Deno.test("pipeline names inputs in messages by the folders that the user sees", async () => {
  using project = failing(`  start: { task: make, with: { text: x } }
  bad: { task: fail, with: { how: data }, inputs: { from: start } }
`);
  const { stdout } = await project.call("pipeline");
  assertMatch(
    stdout,
    new RegExp(
      `^bad: failed - ${
        project.path("out/test/start/out.txt")
      }:3: Expected 2 columns$`,
      "m",
    ),
  );
  assert(!stdout.includes("cache/runs"), stdout);
});

Deno.test("pipeline refuses an output folder that cannot be one, in words", async () => {
  using project = new CliProject("");
  const file = project.path("test.yaml");
  const link = project.path("link");
  Deno.symlinkSync("/mnt/none", link);
  const cases = [
    [file, `"${file}" is a file`],
    [link, `"${link}" is a link to "/mnt/none", which does not exist`],
    [
      `${link}/out`,
      `"${link}" is a link to "/mnt/none", which does not exist`,
    ],
    [`${file}/out`, `"${file}" is a file`],
  ] as const;
  for (const [out, fault] of cases) {
    const { code, stderr } = await callMain("pipeline", "smoke", "--out", out);
    assertEquals(code, 2);
    assertEquals(
      stderr.split("\n")[0],
      `${fault}: choose another folder with --out`,
    );
  }
});

Deno.test("commands end quietly when nobody reads what they print", async () => {
  using project = new CliProject(`name: test
stages:
  long: { task: make, with: { text: x, seconds: 60 } }
`);
  const quoted = (args: readonly string[]) =>
    [Deno.execPath(), ...args].map((it) => `'${it}'`).join(" ");
  const all = argumentsOf(project);
  const commands = [
    [...PROGRAM, "--help"],
    [...PROGRAM, "schema"],
    all,
    [...all, "--json"],
  ];
  await Promise.all(commands.map(async (command) => {
    const { code, stdout, stderr } = await new Deno.Command("bash", {
      args: [
        "-c",
        `${quoted(command)} | head -n 1; echo "\${PIPESTATUS[0]}"`,
      ],
      // Of a locale that is not installed, bash would warn.
      env: { NO_COLOR: "1", LC_ALL: "C" },
    }).output();
    const decoder = new TextDecoder();
    assertEquals(code, 0);
    assertEquals(errorsOf(decoder.decode(stderr)), "", command.join(" "));
    assertMatch(decoder.decode(stdout), /^.+\n(0|129)\n$/);
  }));
});
