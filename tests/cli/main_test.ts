import { assert, assertEquals, assertMatch } from "@std/assert";
import { EXIT } from "../../lib/cli/arguments/arguments.ts";
import { exportCommand } from "../../lib/cli/commands/export.ts";
import { logsCommand } from "../../lib/cli/commands/logs.ts";
import { predictCommand } from "../../lib/cli/commands/predict.ts";
import { pushCommand } from "../../lib/cli/commands/push.ts";
import { withEnvironment } from "../environment.ts";
import {
  callHere,
  CliProject,
  outWithCode,
  TASKS_PIPELINE,
} from "./project.ts";

/** Output folder of the project's own pipelines. */
const own = await outWithCode();

/** Invalid command lines and their error messages. */
const wrong: readonly (readonly [readonly string[], RegExp])[] = [
  [
    ["everything"],
    /^Unknown command "everything"; expected "pipeline", "init", "predict", /,
  ],
  [["pipelin"], /^Unknown command "pipelin"; did you mean "pipeline"\?$/m],
  [
    ["graph", "smoke", "--json", "--format", "dot"],
    /^Options "--json" and "--format" exclude each other$/m,
  ],
  [
    ["plan"],
    /^Missing arguments: deno task plan PIPELINE \[STAGE\.\.\.\]$/m,
  ],
  [
    ["pipeline", "smok", "--help"],
    /^No pipeline "smok" in pipelines\/; did you mean "smoke"\?$/m,
  ],
  [["init", "no/such.csv"], /^File ".*no\/such\.csv" does not exist$/m],
  [["init", "deno.json/x.csv"], /^File ".*x\.csv" does not exist$/m],
  [["pipeline", "deno.json/x.yaml"], /x\.yaml: The file does not exist$/m],
  [
    ["push", "--adapter", "deno.json/x", "--to", "a/b"],
    /^"deno\.json\/x" is not a folder: give the output of a stage/m,
  ],
  [
    ["dash", "smoke", "--port", "70000"],
    /^Invalid value "70000" for option "--port"/,
  ],
  [
    ["pipeline", "smok"],
    /^No pipeline "smok" in pipelines\/; did you mean "smoke"\?$/m,
  ],
  [["pipeline", "no/such.yaml"], /^no\/such\.yaml: The file does not exist$/m],
  [
    ["pipeline", "--forse"],
    /^Unknown option "--forse"; did you mean "--force"\?$/m,
  ],
  [["plan", "x", "-Z"], /^Unknown option "-Z"/],
  [
    ["pipeline", "x", "--profile"],
    /^Option "--profile" requires a value: --profile NAME$/m,
  ],
  [
    ["pipeline", "x", "--out", "--json"],
    /^Option "--out" requires a value: --out DIR$/m,
  ],
  [
    ["pipeline", "x", "--json=1"],
    /^Option "--json" does not take a value, got "1"$/m,
  ],
  [
    ["pipeline", "x", "--engine", "tensorflo"],
    /^Invalid value "tensorflo" for option "--engine": .*; did you mean "tensorflow"\?$/m,
  ],
  [
    ["pipeline", "x.yaml", "--jobs", "0"],
    /^Invalid value "0" for option "--jobs": expected an integer of at least 1$/m,
  ],
  [
    ["pipeline", "x.yaml", "--memory", "4 gigs"],
    /^Invalid value "4 gigs" for option "--memory": expected a size such as 8GB or 512MiB$/m,
  ],
  [
    ["pipeline", "x.yaml", "--gpus", "0, 1,0"],
    /^Option "--gpus" names GPU "0" twice$/m,
  ],
  [
    ["plan", "x", "--profile", "a", "--profile", "b"],
    /^Option "--profile" can be given only once$/m,
  ],
  [
    ["pipeline", "smoke", "--out", "a,b"],
    /^The path of the output folder ".*a,b" contains a comma.*--out$/m,
  ],
  [
    ["plan", "own-data", "-S", "train=x.tsv", "-S", "foo"],
    /^Setting "foo" must have the form KEY=VALUE, such as "train.lr=5e-4"$/m,
  ],
  [
    ["plan", "own-data", "-S", "train=x.tsv", "-S", "training=3"],
    /^-S training=3: Expected a mapping .*, under "<<", got "3"\n$/,
  ],
  [["plan", "own-data"], /^Pipeline own-data needs a file: -S train=FILE/],
  [["status", "x", "y"], /^Unexpected argument "y"$/m],
  [["cache", "lss"], /^Unknown action "lss" of "cache"; did you mean "ls"\?$/m],
  [["cache", "pin"], /^Missing result: deno task cache pin RESULT/m],
];

for (const [args, message] of wrong) {
  Deno.test(`"${args.join(" ")}" is refused with exit code 2`, async () => {
    const { code, stdout, stderr } = await callHere(...args);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
    if (args.includes("--json")) assertEquals(JSON.parse(stdout).type, "error");
    else assertEquals(stdout, "");
  });
}

Deno.test("a fault of the file is not put down to a setting with the same word", async () => {
  using project = new CliProject(
    TASKS_PIPELINE.replace("end }", "end }, word: 3"),
  );
  const { code, stderr } = await project.call("plan", "-S", "word=word");
  assertEquals(code, 2);
  assertMatch(stderr, /: Unknown key "word" of stage "end"\n.*\n.*~\n$/);
});

Deno.test("every command has a summary, help and examples", async () => {
  const all = await callHere("--help");
  assertEquals(all.code, 0);
  const commands = [...all.stdout.matchAll(/^ {2}(\w+) {2,}/gm)]
    .map((it) => it[1]!);
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
  );
  for (const command of commands) {
    const { code, stdout } = await callHere(command, "--help");
    assertEquals(code, 0);
    assertMatch(stdout, new RegExp(`^Usage: deno task ${command}\\b`));
    assertMatch(stdout, /\nExamples:\n {2}deno task /);
    for (const line of stdout.split("\n")) {
      assertEquals(line.length <= 80 || /deno task/.test(line), true, line);
    }
    assertMatch(
      tasks[command].command,
      new RegExp(`lib/cli/main.ts ${command}$`),
    );
    assertMatch(tasks[command].description, /\w+ \w+/);
  }
  assertEquals(commands.slice(0, 3), ["pipeline", "init", "predict"]);
  // "deno task" alone lists them in this order, before those of developers.
  assertEquals(Object.keys(tasks).slice(0, commands.length), commands);
});

Deno.test("every example of every help text is taken by its command", async () => {
  const all = await callHere("--help");
  for (const [, command] of all.stdout.matchAll(/^ {2}(\w+) {2,}/gm)) {
    const { stdout } = await callHere(command!, "--help");
    for (const [, line] of stdout.matchAll(/^ {2}deno task \w+(.*)$/gm)) {
      const [words] = line!.split(/ [<>|]/);
      const args = [...words!.matchAll(/"([^"]*)"|(\S+)/g)]
        .map(([, quoted, bare]) => quoted ?? bare!);
      // Reads all of its arguments, and does nothing.
      const { stderr } = await callHere(command!, ...args, "--help");
      assertMatch(stderr, /^(my\/\S+: The file does not exist\n)?$/, line);
    }
  }
});

Deno.test("--version prints the version in deno.json, and Deno's", async () => {
  const { version } = JSON.parse(
    await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
  );
  for (const args of [["--version"], ["pipeline", "--version"]]) {
    const { code, stdout } = await callHere(...args);
    assertEquals(code, 0);
    assertEquals(
      stdout,
      `DyLoRA pipelines ${version}, Deno ${Deno.version.deno}\n`,
    );
  }
});

Deno.test("pipeline --help lists exactly its exit codes", async () => {
  const { stdout } = await callHere("pipeline", "--help");
  const [, listed] = /Exit codes: ([^.]*)\./.exec(
    stdout.replaceAll(/\s+/g, " "),
  )!;
  assertEquals(listed!.match(/\b\d+\b/g)!.map(Number), [
    EXIT.success,
    EXIT.failed,
    EXIT.usage,
    EXIT.busy,
    EXIT.outputMissing,
    EXIT.hungUp,
    EXIT.interrupted,
    EXIT.terminated,
  ]);
});

Deno.test("plan --help has a line for each state of a stage", async () => {
  const { stdout } = await callHere("plan", "--help");
  assertEquals(
    [...stdout.matchAll(/^(\w+) {2,}\w/gm)].map(([, state]) => state),
    ["run", "restore", "unchanged", "unknown", "skip"],
  );
});

Deno.test("the examples in help texts name existing pipelines, profiles, parameters and stages", async () => {
  let checked = 0;
  for (
    const command of ["pipeline", "plan", "explain", "graph", "logs", "verify"]
  ) {
    const { stdout } = await callHere(command, "--help");
    for (const [, line] of stdout.matchAll(/^ {2}deno task \w+ (.+)$/gm)) {
      const [pipeline, ...words] = line!.replaceAll('"', "").split(" ");
      if (pipeline!.includes("/")) continue;
      const given = words.flatMap((word, i) =>
        ["-S", "--profile"].includes(word) ? [word, words[i + 1]!] : []
      );
      const stages = words[0]?.startsWith("-") ? [] : words.slice(0, 1);
      const { code, stderr } = await callHere(
        ...["plan", pipeline!, ...stages, ...given],
        ...["-S", "model=./fixtures/tiny-roberta"],
        ...["-S", "data=./fixtures/tiny-glue", "--out", own],
      );
      assertEquals(code, 0, `${command} ${line}: ${stderr}`);
      checked++;
    }
  }
  assert(checked > 8, `${checked} examples`);
});

Deno.test("the examples of commands that read a stage name a single one", async () => {
  let checked = 0;
  for (
    const { name, examples } of [
      exportCommand,
      logsCommand,
      predictCommand,
      pushCommand,
    ]
  ) {
    for (const [line] of examples) {
      if (line.startsWith("-")) continue;
      // With --in, --out is the table to write, which --to names as well.
      const [command] = line.replace("--out", "--to").split(" <");
      const words = command!.match(/"[^"]*"|\S+/g)!
        .map((it) => it.replaceAll('"', ""));
      // Its default data are not part of the project.
      const data = words[0] === "retrieval"
        ? [
          ...["-S", "train=./fixtures/tiny-e2e/train.csv"],
          ...["-S", "validation=./fixtures/tiny-e2e/validation.csv"],
        ]
        : [];
      const { stderr } = await callHere(name, ...words, ...data, "--out", own);
      assertMatch(stderr, /^Stage ".*" has no result yet:\n/m, line);
      checked++;
    }
  }
  assert(checked > 7, `${checked} examples`);
});

Deno.test("every command prints JSON lines with --json", async () => {
  using project = new CliProject(TASKS_PIPELINE);
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
  const out = ["--out", project.path("out")];
  const runs = await callHere("runs", "test", "start", ...out, "--json");
  assertEquals(runs.json().map(({ stage }) => stage), ["start"]);
  const listed = await callHere("pipeline", "--json");
  assert(listed.json().some(({ name }) => name === "smoke"));
  for (const action of ["ls", "du", "verify", "gc", "pin", "unpin"]) {
    const named = /pin/.test(action) ? ["test/end"] : [];
    const called = await callHere("cache", action, ...named, ...out, "--json");
    assertEquals(called.code, 0, called.stderr);
    assertEquals(called.json().length > 0, true, action);
  }
});

Deno.test("under npx, printed commands start with npx", async () => {
  await withEnvironment({ npm_lifecycle_event: "npx" }, async () => {
    const typed = `npx -y deno@${Deno.version.deno} task`;
    const { stdout } = await callHere("plan", "--help");
    assert(stdout.startsWith(`Usage: ${typed} plan PIPELINE`), stdout);
    assert(stdout.includes(`  ${typed} plan smoke`), stdout);
    const { stderr } = await callHere("plan");
    assert(stderr.includes(`Missing arguments: ${typed} plan`), stderr);
    assert(stderr.includes(`Run "${typed} plan --help" for usage`), stderr);
  });
});
