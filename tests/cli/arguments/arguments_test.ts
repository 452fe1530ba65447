import { assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import {
  command,
  type CommandSyntax,
  helpOf,
  readArguments,
  readOptions,
  UsageError,
  wrap,
} from "../../../lib/cli/arguments/arguments.ts";
import { GoldenFile } from "../../golden.ts";

const golden = new GoldenFile(
  new URL("arguments_golden.md", import.meta.url),
);

const USAGE: CommandSyntax = {
  name: "test",
  usage: "FILE [TEXT...]",
  description: "Do something",
  options: readOptions(`
    -S, --set KEY=VALUE...  Set
    -j, --jobs N  Number of jobs
    -f, --force  Force
    -w, --no-wait  Do not wait
    --pair SEPARATOR  Split
    --remote [URL]  Where results are
    --engine NAME{auto,wasm}  Engine
    -h, --help  Show this help
  `),
  examples: [["a.txt", "Read a file"]],
  positionals: { min: 1, max: 3 },
};

/** What a command line is parsed into. */
async function parsed(...args: string[]) {
  const { positionals, options } = await readArguments(USAGE, args);
  return [positionals, Object.fromEntries(options)];
}

Deno.test("readArguments() accepts every form of an option", async () => {
  const forms:
    readonly (readonly [readonly string[], Record<string, string[]>])[] = [
      [["--jobs", "4"], { jobs: ["4"] }],
      [["--jobs=4"], { jobs: ["4"] }],
      [["-j", "4"], { jobs: ["4"] }],
      [["-j4"], { jobs: ["4"] }],
      [["-fj4"], { force: [], jobs: ["4"] }],
      [["-fw"], { force: [], "no-wait": [] }],
      [["--force", "--force"], { force: [] }],
      [["--no-wait"], { "no-wait": [] }],
      [["-S", "train.epochs=4"], { set: ["train.epochs=4"] }],
      [["-Strain.epochs=4"], { set: ["train.epochs=4"] }],
      [["--set=a.b=c=d"], { set: ["a.b=c=d"] }],
      [["-S", "a=1", "--set", "b=\n2"], { set: ["a=1", "b=\n2"] }],
      [["--pair=-"], { pair: ["-"] }],
      [["--pair=--x"], { pair: ["--x"] }],
      [["--remote", "--force"], { remote: [""], force: [] }],
      [["--remote=", "-fw"], { remote: [""], force: [], "no-wait": [] }],
      [["--remote", "a/b"], { remote: ["a/b"] }],
    ];
  for (const [args, options] of forms) {
    assertEquals(await parsed("file", ...args), [["file"], options]);
    assertEquals(await parsed(...args, "file"), [["file"], options]);
  }
});

Deno.test("readArguments() keeps positional arguments", async () => {
  assertEquals(await parsed("1", "0x10", ""), [["1", "0x10", ""], {}]);
  assertEquals(await parsed("--force", "true"), [["true"], { force: [] }]);
  assertEquals(await parsed("--no-wait", "false"), [["false"], {
    "no-wait": [],
  }]);
  assertEquals(await parsed("-f", "true"), [["true"], { force: [] }]);
  assertEquals(await parsed("-", "x"), [["-", "x"], {}]);
  assertEquals(await parsed("-f", "--", "-f", "--jobs"), [
    ["-f", "--jobs"],
    { force: [] },
  ]);
});

Deno.test("readArguments() returns any value and any positional argument unchanged", async () => {
  const texts = fc.array(fc.string({ minLength: 1, unit: "grapheme" }));
  const words = [
    "-",
    "true",
    "false",
    "a=b",
    "=",
    "a.b",
    "no-wait",
    "1e3",
    "x",
  ];
  const property = fc.asyncProperty(
    fc.oneof(texts, fc.array(fc.constantFrom(...words))),
    async (texts) => {
      const set = (values: string[]) =>
        values.length > 0 ? { set: values } : {};
      const plain = texts.filter((it) => !it.startsWith("-"));
      const positionals = ["file", ...plain.slice(0, 2)];
      assertEquals(
        await parsed(...texts.map((it) => `--set=${it}`), "-f", ...positionals),
        [positionals, { force: [], ...set(texts) }],
      );
      assertEquals(
        await parsed("file", ...plain.flatMap((it) => ["-S", it])),
        [["file"], set(plain)],
      );
    },
  );
  await fc.assert(property, { numRuns: 500 });
});

Deno.test("readArguments() names the argument, the value and the remedy in errors", async () => {
  const wrong: readonly (readonly [readonly string[], string])[] = [
    [["--jbos", "4"], 'Unknown option "--jbos"; did you mean "--jobs"?'],
    [["--jbos=4"], 'Unknown option "--jbos"; did you mean "--jobs"?'],
    [["--no-wiat=1"], 'Unknown option "--no-wiat"; did you mean "--no-wait"?'],
    [["--quiet"], 'Unknown option "--quiet"'],
    [["--__proto__"], 'Unknown option "--__proto__"'],
    [["-Z"], 'Unknown option "-Z"'],
    [["-fZ"], 'Unknown option "-Z"'],
    [["-force"], 'Unknown option "-o"; did you mean "--force"?'],
    [["-5"], 'Unknown option "-5"'],
    [["--jobs"], 'Option "--jobs" requires a value: --jobs N'],
    [["--jobs="], 'Option "--jobs" requires a value: --jobs N'],
    [["--jobs", ""], 'Option "--jobs" requires a value: --jobs N'],
    [["--jobs", "--force", "4"], 'Option "--jobs" requires a value: --jobs N'],
    [["--jobs", "--force"], 'Option "--jobs" requires a value: --jobs N'],
    [["--jobs", "-"], 'Option "--jobs" requires a value: --jobs N'],
    [["-j", "-f"], 'Option "--jobs" requires a value: --jobs N'],
    [["--force=1"], 'Option "--force" does not take a value, got "1"'],
    [["-j1", "-j2"], 'Option "--jobs" can be given only once'],
    [
      ["--engine", "wsam"],
      'Invalid value "wsam" for option "--engine": expected one of "auto", "wasm"; did you mean "wasm"?',
    ],
    [["a", "b", "c"], 'Unexpected argument "c"'],
  ];
  for (const [args, message] of wrong) {
    const error = await assertRejects(
      () => parsed("file", ...args),
      UsageError,
    );
    assertEquals(error.message, message);
  }
  await assertRejects(
    () => parsed("--force"),
    UsageError,
    "Missing arguments: deno task test FILE [TEXT...]",
  );
  assertEquals(await parsed("--help"), [[], { help: [] }]);
});

Deno.test("Arguments.integer() rejects anything but an integer of at least a minimum", async () => {
  const jobs = async (...args: string[]) =>
    (await readArguments(USAGE, ["file", ...args])).integer("jobs", 1);
  assertEquals(await jobs("-j4"), 4);
  assertEquals(await jobs(), undefined);
  for (const value of ["0", "1.5", "1e3", "four", " 1"]) {
    await assertRejects(
      () => jobs(`-j${value}`),
      UsageError,
      `Invalid value "${value}" for option "--jobs": expected an integer of at least 1`,
    );
  }
});

Deno.test("helpOf() shows the options in columns, and examples", () => {
  const help = helpOf({ ...USAGE, options: USAGE.options.slice(0, 2) });
  golden.check("options in columns, and examples", help);
});

Deno.test("command() reads a command from its help text", () => {
  const shared = `
    --json  Print JSON
    --remote [URL]  Results of others`;
  const made = command`
    send [FILE [TEXT...]] --to NAME

    Send a text.

    A second paragraph.

    Options:
    -t, --to NAME{a,b}  To whom, "a" or "b"
    ${shared}

    Examples:
    Send nothing
    x.txt --to a  Send a file
  `(() => Promise.resolve(3));
  const { run: _, ...usage } = made;
  assertEquals<CommandSyntax>(usage, {
    name: "send",
    usage: "[FILE [TEXT...]] --to NAME",
    description: "Send a text.\n\nA second paragraph.",
    options: [
      {
        name: "to",
        short: "t",
        value: "NAME",
        choices: ["a", "b"],
        description: 'To whom, "a" or "b"',
      },
      { name: "json", description: "Print JSON" },
      {
        name: "remote",
        value: "URL",
        optional: true,
        description: "Results of others",
      },
    ],
    examples: [["", "Send nothing"], ["x.txt --to a", "Send a file"]],
    positionals: { min: 0, max: Infinity },
  });
  const counts = (usage: string) =>
    command`
      x ${usage}

      Do.

      Examples:
      Do it
    `(made.run).positionals;
  assertEquals(counts(""), { min: 0, max: 0 });
  assertEquals(counts("A|B [C...|D]"), { min: 1, max: Infinity });
  assertEquals(counts("A B"), { min: 2, max: 2 });
  assertEquals(counts("[A B] --to C"), { min: 0, max: 2 });
});

Deno.test("wrap() breaks lines at spaces and keeps line breaks and indents", () => {
  assertEquals(wrap("one two three\nfour", 8), ["one two", "three", "four"]);
  assertEquals(wrap("  one two", 6), ["  one", "  two"]);
});
