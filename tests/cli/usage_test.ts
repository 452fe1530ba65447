import { assert, assertEquals, assertMatch } from "@std/assert";
import { EXIT } from "../../lib/cli/exit.ts";
import { callMain, CliProject } from "./project.ts";

const PIPELINE = `name: test
params: { word: one }
profiles: { quick: { word: two } }
stages:
  start: { task: make, with: { text: "\${params.word}" } }
  end: { task: make, with: { text: end }, inputs: { from: start } }
`;

/** Wrong arguments, and what is said of them. */
const wrong: readonly (readonly [readonly string[], RegExp])[] = [
  [["pipelin"], /^Unknown command "pipelin"; did you mean "pipeline"\?$/m],
  [["pipeline"], /^"pipeline" needs PIPELINE \[STAGE\.\.\.\]$/m],
  [["pipeline", "smok"], /^There is no pipeline "smok" in pipelines\//],
  [["pipeline", "no/such.yaml"], /^no\/such\.yaml: There is no such file$/m],
  [
    ["pipeline", "--forse"],
    /^Unknown option "--forse"; did you mean "--force"\?$/m,
  ],
  [["plan", "x", "-Z"], /^Unknown option "-Z"/],
  [["pipeline", "x", "--profile"], /^Option "--profile" needs a value: NAME$/m],
  [
    ["pipeline", "x", "--out", "--json"],
    /^Option "--out" needs a value: DIR$/m,
  ],
  [["pipeline", "x", "--json=1"], /^Option "--json" takes no value$/m],
  [
    ["pipeline", "x", "--engine", "tensorflo"],
    /^Option "--engine" does not take "tensorflo"; did you mean "tensorflow"\?$/m,
  ],
  [
    ["pipeline", "x.yaml", "--jobs", "0"],
    /^Option "--jobs" takes a whole number from 1, not "0"$/m,
  ],
  [
    ["pipeline", "x.yaml", "--memory", "4 gigs"],
    /^Option "--memory" takes a size such as 8GB or 512MiB, not "4 gigs"$/m,
  ],
  [
    ["pipeline", "x.yaml", "--gpus", "0, 1,0"],
    /^Option "--gpus" names GPU "0" twice$/m,
  ],
  [
    ["plan", "x", "--profile", "a", "--profile", "b"],
    /^Option "--profile" is given twice$/m,
  ],
  [
    ["pipeline", "smoke", "--out", "a,b"],
    /^The output folder ".*a,b" has a comma in its path.*"--out"$/m,
  ],
  [["status", "x", "y"], /^Unexpected argument "y"$/m],
  [["cache", "lss"], /^"cache" cannot do "lss"; did you mean "ls"\?$/m],
  [["cache", "pin"], /^Name the results: PIPELINE\/STAGE, or a key$/m],
];

for (const [args, message] of wrong) {
  Deno.test(`the command line refuses "${args.join(" ")}" with 2`, async () => {
    const { code, stdout, stderr } = await callMain(...args);
    assertEquals(code, 2, stderr);
    assertMatch(stderr, message);
    if (args.includes("--json")) assertEquals(JSON.parse(stdout).type, "error");
    else assertEquals(stdout, "");
  });
}

Deno.test("pipeline refuses what its file does not know with 2", async () => {
  using project = new CliProject(PIPELINE);
  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [["strat"], /^No stage matches "strat"; did you mean "start"\?$/m],
    [
      ["-S", "wrd=x"],
      /test\.yaml: Unknown parameter "wrd" in "-S wrd=\.\.\."; did you mean "word"\?$/m,
    ],
    [["-S", "word"], /^Setting "word" must have the form KEY=VALUE/],
    [
      ["--profile", "quik"],
      /test\.yaml: Unknown profile "quik"; did you mean "quick"\?$/m,
    ],
    [
      ["-S", "word=5"],
      /test\.yaml:5:38: Invalid "text" of task "make": expected text, got "5" from "\$\{params\.word\}"$/m,
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

Deno.test("the command line explains itself", async () => {
  const all = await callMain("--help");
  assertEquals(all.code, 0);
  const commands = [...all.stdout.matchAll(/^ {2}(\w+) {2,}/gm)]
    .map((it) => it[1]!);
  const { tasks } = JSON.parse(
    await Deno.readTextFile(new URL("../../deno.json", import.meta.url)),
  );
  for (const command of commands) {
    const { code, stdout } = await callMain(command, "--help");
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
  assertEquals(commands.slice(0, 3), ["pipeline", "plan", "explain"]);
});

Deno.test("pipeline --help lists the codes that it exits with, and no others", async () => {
  const { stdout } = await callMain("pipeline", "--help");
  const [, listed] = /Exit codes: ([^.]*)\./.exec(
    stdout.replaceAll(/\s+/g, " "),
  )!;
  assertEquals(listed!.match(/\b\d+\b/g)!.map(Number), [
    EXIT.fine,
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
  const { stdout } = await callMain("plan", "--help");
  assertEquals(
    [...stdout.matchAll(/^(\w+) {2,}\w/gm)].map(([, state]) => state),
    ["run", "restore", "unchanged", "unknown", "skip"],
  );
});

Deno.test("the examples that help gives name profiles, parameters and stages that the pipelines have", async () => {
  const out = await Deno.makeTempDir();
  let checked = 0;
  try {
    for (
      const command of [
        "pipeline",
        "plan",
        "explain",
        "graph",
        "logs",
        "verify",
      ]
    ) {
      const { stdout } = await callMain(command, "--help");
      for (const [, line] of stdout.matchAll(/^ {2}deno task \w+ (.+)$/gm)) {
        const [pipeline, ...words] = line!.replaceAll('"', "").split(" ");
        if (pipeline!.includes("/")) continue;
        const given = words.flatMap((word, i) =>
          ["-S", "--profile"].includes(word) ? [word, words[i + 1]!] : []
        );
        const stages = words[0]?.startsWith("-") ? [] : words.slice(0, 1);
        const { code, stderr } = await callMain(
          ...["plan", pipeline!, ...stages, ...given],
          ...["-S", "model=./fixtures/tiny-roberta"],
          ...["-S", "data=./fixtures/tiny-glue", "--out", out],
        );
        assertEquals(code, 0, `${command} ${line}: ${stderr}`);
        checked++;
      }
    }
    assert(checked > 8, `${checked} examples`);
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});
