import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { dirname, join } from "node:path";
import type { Mapping } from "../lib/pipeline/faults.ts";
import { readYaml } from "../lib/pipeline/read.ts";
import { listFiles } from "../lib/store/blobs.ts";
import { callHere, outWithCode } from "./cli/project.ts";
import {
  blocks,
  commandsOf,
  documents,
  reads,
  replaceAll,
  root,
  textOf,
} from "./documents.ts";
import { peftFolder } from "./tasks/peft_folder.ts";

const tasks: Record<string, unknown> =
  JSON.parse(Deno.readTextFileSync(join(root, "deno.json"))).tasks;

/** Output folder of all commands. */
const out = await outWithCode();

/**
 * Tasks whose commands are run or planned; others take long or need what tests
 * lack.
 */
const QUICK = [
  "cache",
  "explain",
  "graph",
  "pipeline",
  "plan",
  "schema",
  "status",
];

/** A table whose texts have several labels. */
const withLabels = join(out, "labels.csv");
await Deno.writeTextFile(
  withLabels,
  "sentence,labels\n" + "a good film,good|film\na bad scene,bad\n".repeat(20),
);

/** Paths that stand for those of a reader. */
const OWN: readonly (readonly [string, string])[] = [
  ["GLUE", "./fixtures/tiny-glue"],
  ["./roberta-base", "./fixtures/tiny-roberta"],
  ["./mpnet-base", "./fixtures/tiny-mpnet"],
  ["./smollm2", "./fixtures/tiny-llama"],
  ["ADAPTER", await peftFolder(out, {})],
  ["MODEL", "./fixtures/tiny-roberta"],
  ["my.tsv", "./fixtures/tiny-glue/SST-2/train.tsv"],
  ["banking77_train.csv", "./fixtures/tiny-glue/SST-2/train.tsv"],
  ["banking77_test.csv", "./fixtures/tiny-glue/SST-2/dev.tsv"],
  ["clinc150_train.csv", "./fixtures/tiny-glue/SST-2/train.tsv"],
  ["clinc150_test.csv", "./fixtures/tiny-glue/SST-2/dev.tsv"],
  ["=search-train.csv", "=./fixtures/tiny-e2e/train.csv"],
  ["=search-validation.csv", "=./fixtures/tiny-e2e/validation.csv"],
  ["=dev.csv", "=./fixtures/tiny-e2e/train.csv"],
  ["=test.csv", "=./fixtures/tiny-e2e/validation.csv"],
  ["wnut17_train.conll", "./fixtures/tiny-entities/train.conll"],
  ["wnut17_dev.conll", "./fixtures/tiny-entities/validation.conll"],
  ["=goemotions-8000.csv", `=${withLabels}`],
  ["=goemotions_test.csv", `=${withLabels}`],
  ["text=text", "text=sentence"],
  ["label=category", "label=label"],
  ["label=intent", "label=label"],
];

Deno.test("README has its two commands first", () => {
  const readme = textOf("README.md");
  assertEquals(commandsOf(readme).slice(0, 2), [
    ["pipeline", "smoke"],
    ["test"],
  ]);
  assertMatch(
    readme,
    /npx -y deno@2\.9\.6 task -q pipeline smoke\nnpx -y deno@2\.9\.6 task -q test/,
  );
});

/**
 * Adds a part of a pipeline file: whole stages and profiles, and single
 * parameters.
 */
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
/**
 * Names that the code declares, imports or calls as members, not those in
 * comments.
 */
const functions = new Set(
  [...sources.values()].flatMap((text) => {
    const code = text.replaceAll(/\/\*.*?\*\//gs, "")
      .replaceAll(/^\s*\/\/.*$/gm, "");
    return [
      ...code.matchAll(/\b(?:function\*?|const|def|class) (\w+)/g),
      // Methods, and members with a function.
      ...code.matchAll(/^\s+(?:(?:async|static|get) )*\*?(\w+)(?:<.*>)?\(/gm),
      ...code.matchAll(/\b(\w+): (?:async )?(?:\(|function|\{)/g),
      // Members of packages, which are called.
      ...code.matchAll(/\.(\w+)\(/g),
      ...[...code.matchAll(/^import (?:type )?\{([^}]*)\}/gm)]
        .flatMap(([, names]) => [...names!.matchAll(/(\w+)/g)]),
    ].map(([, name]) => name!);
  }),
);

/**
 * Names with the file that a document gives for each: `run()`
 * (`scheduler/scheduler.ts`).
 */
function* placedNames(prose: string): Generator<[name: string, file: string]> {
  const places = prose.matchAll(
    /`(?:[A-Z]\w*\.)?(\w+)(?:\(\))?`\s+\(`([\w./-]+\.ts)`\)/g,
  );
  for (const [, name, file] of places) yield [name!, file!];
}

/**
 * True if a module declares a function, value or type of this name, or a
 * member.
 */
function declares(code: string, name: string): boolean {
  return new RegExp(
    `\\b(?:function\\*?|const|class|interface|type) ${name}\\b|` +
      `^  (?:async |static |get |\\*|readonly )*${name}(?:<.*>)?[(:?]`,
    "m",
  ).test(code);
}

Deno.test("declares() finds functions, values, types and members, but no calls", () => {
  const code = [
    "export async function load() {}",
    "export class Store {",
    "  async *results(",
    "    options: Options,",
    "  ) {",
    "    visit(options);",
    "  }",
    "}",
  ].join("\n");
  for (const name of ["load", "Store", "results"]) {
    assert(declares(code, name), name);
  }
  for (const name of ["visit", "lo", "Options"]) {
    assert(!declares(code, name), name);
  }
});

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
      const [, name] of text.matchAll(
        /\bdeno(?:@[\d.]+)? task (?:-q )?([a-z:]+)/g,
      )
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
      if (/NAME|filter-data|smooth/.test(file!)) continue;
      assert(
        [...sources.keys()].some((it) => `/${it}`.endsWith(`/${file}`)),
        `no file "${file}"`,
      );
    }
    for (const [, name] of prose.matchAll(/`(?:\w+\.)*(\w+)\(\)`/g)) {
      assert(functions.has(name!), `no function "${name}"`);
    }
    for (const [name, file] of placedNames(prose)) {
      assert(
        [...sources].some(([path, code]) =>
          `/${path}`.endsWith(`/${file}`) && declares(code, name)
        ),
        `"${file}" declares no "${name}"`,
      );
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
          ...(name === "schema" ? [] : ["--out", out]),
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
      // The tasks' own test runs the example there, which has a task of its
      // own.
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
