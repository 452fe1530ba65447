import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PEFT_FILES } from "../lib/artifacts/adapter.ts";
import type { Mapping } from "../lib/pipeline/faults.ts";
import { readYaml } from "../lib/pipeline/read.ts";
import { listFiles } from "../lib/store/blobs.ts";
import { callHere, outWithCode } from "./cli/project.ts";
import { peftFolder } from "./tasks/peft_folder.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const tasks: Record<string, unknown> =
  JSON.parse(Deno.readTextFileSync(join(root, "deno.json"))).tasks;

/** Paths of all Markdown files for readers: README.md, RESULTS.md, .github/ and so on. */
function* documents(folder = ""): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(root, folder))) {
    const isHidden = name.startsWith(".") && name !== ".github";
    if (["node_modules", "out"].includes(name) || isHidden) continue;
    const path = join(folder, name);
    if (isDirectory) yield* documents(path);
    else if (/^[A-Z_]+\.md$/.test(name) || /^\.github.*\.md$/.test(path)) {
      yield path;
    }
  }
}

function textOf(path: string): string {
  return Deno.readTextFileSync(join(root, path));
}

/** Blocks of a language, without the fences. */
function blocks(text: string, language: string): string[] {
  return [
    ...text.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "gms")),
  ]
    .map(([, block]) => block!);
}

/** Arguments of each `deno task` line of the shell blocks. */
function commandsOf(text: string): string[][] {
  return blocks(text, "sh").flatMap((block) => block.trim().split("\n"))
    .flatMap((line) => {
      const [, command] =
        /^(?:npx -y deno@[\d.]+|deno) task ([^#]*)/.exec(line) ??
          [];
      return command === undefined
        ? []
        : [[...command.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map((
          [, double, single, bare],
        ) => double ?? single ?? bare!)];
    });
}

/** Runs a command of a document, which must succeed; gives its output. */
async function succeeds(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", ...args],
    cwd: root,
    env: { NO_COLOR: "1", CI: "1" },
    stdin: "null",
  }).output();
  const [text, errors] = [stdout, stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  ) as [string, string];
  assertEquals(code, 0, `${args.join(" ")}: ${text}${errors}`);
  return text;
}

/** Output folder of all commands. */
const out = await outWithCode();

/** Commands that were called in this process: documents share some. */
const done = new Set<string>();

/** Calls a command of a document that runs no stage, once. */
async function reads(args: readonly string[]): Promise<void> {
  const command = args.join("\0");
  if (done.has(command)) return;
  done.add(command);
  const { code, stderr } = await callHere(...args);
  assertEquals(code, 0, `${args.join(" ")}: ${stderr}`);
}

/** Tasks whose commands are run or planned; others take long or need what tests lack. */
const QUICK = [
  "cache",
  "completion",
  "explain",
  "graph",
  "pipeline",
  "plan",
  "schema",
  "status",
];

/** Tasks whose commands are run on the results of smoke. */
const AFTER_SMOKE = [
  "export",
  "logs",
  "predict",
  "resize",
  "runs",
  "track",
  "verify",
];

/** Paths that stand for those of a reader. */
const OWN: readonly (readonly [string, string])[] = [
  ["GLUE", "./fixtures/tiny-glue"],
  ["./roberta-base", "./fixtures/tiny-roberta"],
  ["./mpnet-base", "./fixtures/tiny-mpnet"],
  ["ADAPTER", await peftFolder(out, {})],
  ["MODEL", "./fixtures/tiny-roberta"],
  ["my.tsv", "./fixtures/tiny-glue/SST-2/train.tsv"],
];

function replaceAll(
  args: readonly string[],
  replacements: readonly (readonly [string, string])[],
): string[] {
  return args.map((arg) =>
    replacements.reduce((arg, [from, to]) => arg.replaceAll(from, to), arg)
  );
}

Deno.test("README has its two commands first", () => {
  const readme = textOf("README.md");
  assertEquals(commandsOf(readme).slice(0, 2), [
    ["pipeline", "smoke"],
    ["pipeline", "sst2-mini"],
  ]);
  assertMatch(
    readme,
    /npx -y deno@2\.9\.6 task pipeline smoke\nnpx -y deno@2\.9\.6 task pipeline sst2-mini/,
  );
});

Deno.test("README's smoke pipeline prints the report, then has nothing to do, and is deterministic", async () => {
  const first = await succeeds(["pipeline", "smoke", "--out", out]);
  assertMatch(first, /12 stages: 12 ran/);
  assertMatch(first, /Speed-up [\d.]+x/);
  const scores = JSON.parse(
    await Deno.readTextFile(
      join(out, "smoke/evaluate-dylora@sst2,seed=0/scores.json"),
    ),
  ) as { ranks: { rank: number; metrics: { accuracy: number } }[] };
  assertEquals(scores.ranks.map(({ rank }) => rank), [
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
  ]);
  for (const { rank, metrics } of scores.ranks) {
    assert(
      metrics.accuracy > 0.7,
      `rank ${rank}: ${metrics.accuracy}, chance is 0.5`,
    );
  }

  const second = await succeeds(["pipeline", "smoke", "--out", out]);
  assertMatch(second, /Nothing to do: 12 stages unchanged/);

  const commands = [...documents()].flatMap((path) => commandsOf(textOf(path)))
    .filter(([name]) => AFTER_SMOKE.includes(name!));
  const names = new Set(commands.map(([name]) => name!));
  assertEquals([...names].sort(), AFTER_SMOKE);
  const distinct = new Set(
    [...commands, ["verify", "smoke", "evaluate-dylora"]].map((args) =>
      // Unlike own-data, smoke needs no settings, and exports nothing.
      replaceAll(
        args.filter((_, i) => ![args[i], args[i - 1]].includes("-S")),
        [
          ["out/own-data/take-away@seed=0", "ADAPTER"],
          ["out/own-data/model", "MODEL"],
          ["own-data", "smoke"],
          ["take-away", "train-dylora"],
          ["ADAPTER", join(out, "smoke/train-dylora@sst2,seed=0")],
          ["MODEL", join(out, "smoke/model")],
          ["my-adapter", join(out, "my-adapter")],
          ["my-model", join(out, "my-model")],
          ["FOLDER", join(out, "resized")],
        ],
      ).join("\0")
    ),
  );
  const lora = join(out, "my-lora");
  await Deno.mkdir(lora);
  for (const file of PEFT_FILES) {
    const trained = join(out, "smoke/train-lora@sst2,seed=0,rank=8", file);
    await Deno.copyFile(trained, join(lora, file));
  }
  const resize = [
    ...["pipeline", "resize", "--profile", "trial", "--out", out],
    ...["-S", `adapter=${lora}`, "-S", "model=./fixtures/tiny-roberta"],
  ];
  const lines = [...distinct].map((command) => command.split("\0"))
    .map((words) =>
      words.includes("--adapter") || words[0] === "resize"
        ? words
        : [...words, "--out", out]
    );
  const isRead = ([name]: string[]) => ["logs", "runs"].includes(name!);
  for (const line of lines.filter(isRead)) await reads(line);
  // All have ended before the folder is removed, even if one fails.
  const ends = await Promise.allSettled([
    ...lines.filter((line) => !isRead(line)).map(succeeds),
    succeeds(resize),
  ]);
  for (const end of ends) if (end.status === "rejected") throw end.reason;
  const { comparisons: [comparison] } = JSON.parse(
    await Deno.readTextFile(join(out, "resize/report/report.json")),
  ) as { comparisons: { methods: { method: string; ranks: unknown[] }[] }[] };
  assertEquals(
    comparison!.methods.map(({ method, ranks }) => [method, ranks.length]),
    [["dylora", 8], ["imported-lora-svd", 8], ["imported-lora", 1]],
  );
  const exported = join(out, "my-adapter/adapter_config.json");
  assertEquals(JSON.parse(await Deno.readTextFile(exported)).r, 4);
  // The page has what made it.
  const page = await Deno.readTextFile(join(out, "smoke/report.html"));
  assertMatch(page, /id="run">\{"pipeline":"smoke"/);
});

/** Adds a part of a pipeline file: whole stages and profiles, and single parameters. */
function added(base: Mapping, part: Mapping): Mapping {
  const inner = (key: string) => ({
    ...base[key] as Mapping,
    ...part[key] as Mapping,
  });
  return {
    ...base,
    ...part,
    params: inner("params"),
    profiles: inner("profiles"),
    stages: inner("stages"),
  };
}

/** Source files, by path below the root. */
const sources = new Map<string, string>();
for (const folder of ["fixtures", "lib", "tasks", "tests"]) {
  for (const path of listFiles(join(root, folder), "follow")) {
    if (!/\.(ts|py|sh)$/.test(path)) continue;
    sources.set(`${folder}/${path}`, textOf(join(folder, path)));
  }
}
const code = [...sources.values()].join("\n");

/** Anchors of the headings, as GitHub makes them. */
function anchorsOf(text: string): string[] {
  return [...text.replace(/^```.*?^```/gms, "").matchAll(/^#+ (.*)$/gm)]
    .map(([, title]) =>
      title!.toLowerCase().replace(/[^\w\s-]/g, "").replaceAll(" ", "-")
    );
}

for (const path of documents()) {
  const text = textOf(path);
  const folder = dirname(join(root, path));

  Deno.test(`${path} names tasks, files, headings and functions that exist`, () => {
    for (
      const [, name] of text.matchAll(/\bdeno(?:@[\d.]+)? task ([a-z:]+)/g)
    ) {
      assert(name! in tasks, `no task "${name}"`);
    }
    for (const [, name] of text.matchAll(/\bdeno task bench ([a-z]+)/g)) {
      Deno.statSync(join(root, "tests/bench", name!, "bench.ts"));
    }
    const links = text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)/g);
    for (const [, link, anchor] of links) {
      const target = link ? join(folder, link) : join(root, path);
      Deno.statSync(target);
      if (anchor === undefined) continue;
      const anchors = anchorsOf(Deno.readTextFileSync(target));
      assert(anchors.includes(anchor), `no heading "${anchor}" in ${target}`);
    }
    for (const [, file] of text.matchAll(/deno test -A ([\w./-]+)/g)) {
      Deno.statSync(join(root, file!));
    }
    const prose = text.replace(/^```.*?^```/gms, "");
    for (const [, file] of prose.matchAll(/`([\w./-]+\.(?:ts|py|sh))`/g)) {
      // NAME is a placeholder; the tasks' README adds a task of its own.
      if (/NAME|filter-data/.test(file!)) continue;
      assert(
        [...sources.keys()].some((it) => `/${it}`.endsWith(`/${file}`)),
        `no file "${file}"`,
      );
    }
    for (const [, name] of prose.matchAll(/`(?:\w+\.)*(\w+)\(\)`/g)) {
      assert(new RegExp(`\\b${name}\\b`).test(code), `no function "${name}"`);
    }
  });

  Deno.test(`${path} has commands that run`, async () => {
    const commands = commandsOf(text)
      .filter(([name]) => QUICK.includes(name!))
      .map(([name, ...rest]) => {
        const args = replaceAll(rest, OWN);
        return [
          name!,
          ...args,
          ...(["completion", "schema"].includes(name!) ? [] : ["--out", out]),
          ...(name === "pipeline" && !args.includes("--dry-run")
            ? ["--dry-run"]
            : []),
        ];
      });
    for (const command of commands) await reads(command);
  });

  // A block without a name adds to the last one that has one.
  Deno.test(`${path} has pipelines that can be planned`, async () => {
    const temporary = await Deno.makeTempDir();
    try {
      let base: Mapping = {};
      // The tasks' own test runs the example there, which has a task of its own.
      const yaml = path === "tasks/README.md" ? [] : blocks(text, "yaml");
      for (const block of yaml) {
        const { value, faults } = await readYaml(block);
        assertEquals(faults, [], block);
        const isWhole = (value as Mapping).name !== undefined;
        if (isWhole) base = value as Mapping;
        const pipeline = isWhole ? base : added(base, value as Mapping);
        const file = join(temporary, "pipeline.yaml");
        await Deno.writeTextFile(
          file,
          isWhole ? block : JSON.stringify(pipeline),
        );
        const profiles = Object.keys(pipeline.profiles as Mapping ?? {});
        for (const profile of [undefined, ...profiles]) {
          const { code, stdout, stderr } = await callHere(
            "plan",
            file,
            ...(profile === undefined ? [] : ["--profile", profile]),
            "--out",
            out,
          );
          assertEquals(code, 0, stderr);
          for (const stage of Object.keys(pipeline.stages as Mapping)) {
            assertStringIncludes(stdout, stage);
          }
        }
      }
    } finally {
      await Deno.remove(temporary, { recursive: true });
    }
  });
}

Deno.test("pipelines/README.md shows a fault as it is printed", async () => {
  const text = textOf("pipelines/README.md");
  const [example] = blocks(text, "yaml");
  const [fault] = blocks(text, "text");
  const temporary = await Deno.makeTempDir();
  try {
    const file = join(temporary, "which-rank.yaml");
    const misspelt = example!.replace("train-dylora", "train-dylroa");
    await Deno.writeTextFile(file, misspelt);
    const { code, stderr } = await callHere("plan", file, "--out", out);
    assertEquals(code, 2);
    assertEquals(stderr.replace(`${temporary}/`, ""), fault);
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
});

Deno.test("lib/cli/README.md has every flag of the pipeline command, and no other", async () => {
  const { stdout } = await callHere("pipeline", "--help");
  const flagsOf = (text: string) =>
    [...new Set(text.match(/--[a-z][a-z-]+/g))].sort();
  const readme = textOf("lib/cli/README.md");
  const table = readme.slice(
    readme.indexOf("| flag "),
    readme.indexOf("**Stages**"),
  );
  assertEquals(flagsOf(table), flagsOf(stdout));
});
