import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Mapping } from "../lib/pipeline/faults.ts";
import { readYaml } from "../lib/pipeline/read.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const tasks: Record<string, unknown> =
  JSON.parse(Deno.readTextFileSync(join(root, "deno.json"))).tasks;

/** Paths of all files called README.md, below the root. */
function* readmes(folder = ""): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(root, folder))) {
    if (["node_modules", "out"].includes(name) || name.startsWith(".")) {
      continue;
    }
    const path = join(folder, name);
    if (isDirectory) yield* readmes(path);
    else if (name === "README.md") yield path;
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

async function denoTask(args: readonly string[], cwd = root) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["task", ...args],
    cwd,
    env: { NO_COLOR: "1", CI: "1" },
    stdin: "null",
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

Deno.test("README has its two commands first", () => {
  const readme = textOf("README.md");
  const commands = commandsOf(readme);
  assertEquals(commands.slice(0, 2), [["pipeline", "smoke"], ["test"]]);
  assertMatch(
    readme,
    /npx -y deno@2\.9\.6 task pipeline smoke\nnpx -y deno@2\.9\.6 task test/,
  );
});

Deno.test("README's smoke pipeline prints the report, then has nothing to do, and is deterministic", async () => {
  const out = await Deno.makeTempDir();
  try {
    const first = await denoTask(["pipeline", "smoke", "--out", out]);
    assertEquals(first.code, 0, first.stdout + first.stderr);
    assertMatch(first.stdout, /12 stages: 12 ran/);
    assertMatch(first.stdout, /\*\*Speed-up [\d.]+x\*\*/);
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

    const second = await denoTask(["pipeline", "smoke", "--out", out]);
    assertEquals(second.code, 0, second.stdout + second.stderr);
    assertMatch(second.stdout, /Nothing to do: 12 stages unchanged/);

    const again = await denoTask([
      "verify",
      "smoke",
      "train-dylora",
      "evaluate-dylora",
      "--out",
      out,
    ]);
    assertEquals(again.code, 0, again.stdout + again.stderr);
  } finally {
    await Deno.remove(out, { recursive: true });
  }
});

/** Tasks whose commands are run here; others take long or need what tests lack. */
const QUICK = [
  "cache",
  "explain",
  "graph",
  "pipeline",
  "plan",
  "schema",
  "status",
];

/** What stands for the files of a reader. */
const OWN: readonly (readonly [string, string])[] = [
  ["GLUE", "./fixtures/tiny-glue"],
  ["./roberta-base", "./fixtures/tiny-roberta"],
  ["my.tsv", "./fixtures/tiny-glue/SST-2/train.tsv"],
];

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

for (const path of readmes()) {
  const text = textOf(path);
  const folder = dirname(join(root, path));

  Deno.test(`${path} names tasks and files that exist`, () => {
    for (const [, name] of text.matchAll(/\bdeno(?:@[\d.]+)? task ([a-z]+)/g)) {
      assert(name! in tasks, `no task "${name}"`);
    }
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)];
    for (const [, link] of links) Deno.statSync(join(folder, link!));
    for (const [, file] of text.matchAll(/deno test -A ([\w./-]+)/g)) {
      Deno.statSync(join(root, file!));
    }
  });

  Deno.test(`${path} has commands that run`, async () => {
    const out = await Deno.makeTempDir();
    try {
      for (const [name, ...rest] of commandsOf(text)) {
        if (!QUICK.includes(name!)) continue;
        const args = rest.map((arg) =>
          OWN.reduce((arg, [from, to]) => arg.replaceAll(from, to), arg)
        );
        const { code, stdout, stderr } = await denoTask([
          name!,
          ...args,
          ...(name === "schema" ? [] : ["--out", out]),
          ...(name === "pipeline" && !args.includes("--dry-run")
            ? ["--dry-run"]
            : []),
        ]);
        assertEquals(code, 0, `${name} ${args.join(" ")}: ${stdout}${stderr}`);
      }
    } finally {
      await Deno.remove(out, { recursive: true });
    }
  });

  // A block without a name adds to the last one that has one.
  Deno.test(`${path} has pipelines that can be planned`, async () => {
    const out = await Deno.makeTempDir();
    try {
      let base: Mapping = {};
      // The tasks' own test runs the example there, which has a task of its own.
      const yaml = path === "tasks/README.md" ? [] : blocks(text, "yaml");
      for (const block of yaml) {
        const { value, document } = await readYaml(block);
        assertEquals(document?.faults ?? [], [], block);
        const isWhole = (value as Mapping).name !== undefined;
        if (isWhole) base = value as Mapping;
        const pipeline = isWhole ? base : added(base, value as Mapping);
        const file = join(out, "pipeline.yaml");
        await Deno.writeTextFile(
          file,
          isWhole ? block : JSON.stringify(pipeline),
        );
        const profiles = Object.keys(pipeline.profiles as Mapping ?? {});
        for (const profile of [undefined, ...profiles]) {
          const { code, stdout, stderr } = await denoTask([
            "plan",
            file,
            ...(profile === undefined ? [] : ["--profile", profile]),
            "--out",
            out,
          ]);
          assertEquals(code, 0, block + stdout + stderr);
          for (const stage of Object.keys(pipeline.stages as Mapping)) {
            assertStringIncludes(stdout, stage);
          }
        }
      }
    } finally {
      await Deno.remove(out, { recursive: true });
    }
  });
}

Deno.test("README has every flag of the pipeline command, and no other", async () => {
  const { stdout } = await denoTask(["pipeline", "--help"]);
  const flagsOf = (text: string) =>
    [...new Set(text.match(/--[a-z][a-z-]+/g))].sort();
  const readme = textOf("README.md");
  const table = readme.slice(
    readme.indexOf("## Flags of"),
    readme.indexOf("Stages are named by id"),
  );
  assertEquals(flagsOf(table), flagsOf(stdout));
});
