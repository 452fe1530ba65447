import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
import { callMainWith } from "../cli/project.ts";
import { LocalHub } from "../hub/local_hub.ts";
import { runSandboxed } from "./run_sandboxed.ts";
import { withFolder } from "./run_task.ts";

const fixtures = join(import.meta.dirname!, "../../fixtures");

/** The files below a folder of fixtures, as a repository of the hub. */
function filesOf(folder: string): Map<string, Uint8Array<ArrayBuffer>> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const walk = (path: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(path)) {
      const file = join(path, name);
      if (isDirectory) walk(file);
      else files.set(relative(folder, file), Deno.readFileSync(file));
    }
  };
  walk(folder);
  return files;
}

const repositories = [
  {
    id: "models/org/tiny-bert",
    commit: "a".repeat(40),
    files: filesOf(join(fixtures, "tiny-bert")),
  },
  {
    id: "datasets/nyu-mll/glue",
    commit: "b".repeat(40),
    files: filesOf(join(fixtures, "tiny-hub")),
  },
  {
    id: "datasets/org/reviews",
    commit: "c".repeat(40),
    files: filesOf(join(fixtures, "tiny-reviews")),
  },
];

Deno.test("fetch-model, fetch-glue and fetch-data fetch from the hub with the permissions that they declare, then work offline", () =>
  withFolder(async (folder) => {
    // A cache that does not exist yet, in a folder that does not either.
    const cache = join(folder, "new", "hub");
    const online = new LocalHub(repositories);
    const env = { HF_HUB_CACHE: cache, HF_ENDPOINT: online.endpoint };
    const model = { source: "org/tiny-bert" };
    const glue = { task: "mnli" };
    const reviews = { files: { train: "hub:org/reviews" }, holdout: 0.5 };
    const first = [
      await runSandboxed("fetch-model", folder, model, { env }),
      await runSandboxed("fetch-glue", folder, glue, { env }),
      await runSandboxed("fetch-data", folder, reviews, { env }),
    ];
    await online[Symbol.asyncDispose]();
    const offline = { ...env, HF_HUB_OFFLINE: "1" };
    const again = [
      await runSandboxed("fetch-model", folder, model, { env: offline }),
      await runSandboxed("fetch-glue", folder, glue, { env: offline }),
      await runSandboxed("fetch-data", folder, reviews, { env: offline }),
    ];
    for (const [i, { code, output, text }] of first.entries()) {
      assertEquals(code, 0, text);
      assertEquals(again[i]!.code, 0, again[i]!.text);
      assertEquals(filesOf(again[i]!.output), filesOf(output));
    }
    const fetched = filesOf(first[0]!.output);
    const origin = fetched.get("origin.json");
    fetched.delete("origin.json");
    assertEquals(fetched, filesOf(join(fixtures, "tiny-bert")));
    assertEquals(JSON.parse(new TextDecoder().decode(origin)), {
      name: "org/tiny-bert",
      revision: null,
    });
    const info = await readDatasetInfo(first[1]!.output);
    assertEquals(info.splits, {
      train: 25,
      validation_matched: 25,
      validation_mismatched: 25,
      test_matched: 25,
      test_mismatched: 25,
    });
    const path = first[1]!.output;
    const [example] = await readExamples(path, "test_matched");
    assertEquals(example!.label, undefined);

    const { output, text } = first[2]!;
    const data = await readDatasetInfo(output);
    // The classes are in the order of the hub, not of the alphabet.
    assertEquals(data.labels, ["worse", "better"]);
    assertEquals(data.splits, { train: 40, validation: 10, test: 10 });
    const train = await readExamples(output, "train");
    const lines = Deno.readTextFileSync(
      join(fixtures, "tiny-glue/SST-2/train.tsv"),
    ).split("\n").slice(1, 41).map((line) => line.split("\t"));
    assertEquals(
      train.map(({ index, text, label }) => [index, text, label]),
      lines.map(([text, label], i) => [i, text!, Number(label)]),
    );
    const test = await readExamples(output, "test");
    assertEquals(test[0]!.label, undefined);
    assertMatch(text, /org\/reviews at commit c{40}/);
    assertMatch(text, /test: 10 examples; no labels/);
  }));

/** Fetches a model with these variables, and again without the hub. */
async function fetchTwice(folder: string, cache: Record<string, string>) {
  const hub = new LocalHub(repositories);
  const env = { ...cache, HF_ENDPOINT: hub.endpoint };
  const model = { source: "org/tiny-bert" };
  const fetched = await runSandboxed("fetch-model", folder, model, { env });
  await hub[Symbol.asyncDispose]();
  assertEquals(fetched.code, 0, fetched.text);
  const again = await runSandboxed("fetch-model", folder, model, {
    env: { ...env, HF_HUB_OFFLINE: "1" },
  });
  assertEquals(again.code, 0, again.text);
}

Deno.test("fetch-model keeps what it fetched if HF_HOME begins with ~", () =>
  withFolder(async (folder) => {
    await fetchTwice(folder, { HOME: folder, HF_HOME: "~/hf" });
    assert(
      Deno.statSync(join(folder, "hf/hub/models--org--tiny-bert")).isDirectory,
    );
  }));

Deno.test("fetch-model takes a hub cache that is a symbolic link", () =>
  withFolder(async (folder) => {
    const cache = join(folder, "link");
    await Deno.mkdir(join(folder, "cache"));
    await Deno.symlink(join(folder, "cache"), cache);
    await fetchTwice(folder, { HF_HUB_CACHE: cache });
  }));

Deno.test("a stage of fetch-model finds a relative hub cache from the project, where the command runs", () =>
  withFolder(async (folder) => {
    await using hub = new LocalHub(repositories);
    const file = join(folder, "fetch.yaml");
    await Deno.writeTextFile(
      file,
      `name: fetch
stages:
  model: { task: fetch-model, with: { source: org/tiny-bert } }
`,
    );
    const cache = join(folder, "hub");
    const env = {
      HF_HUB_CACHE: relative(dirname(fixtures), cache),
      HF_ENDPOINT: hub.endpoint,
    };
    const { code, stdout } = await callMainWith(
      { env },
      ...["pipeline", file, "--out", join(folder, "out")],
    );
    assertEquals(code, 0, stdout);
    assert(Deno.statSync(join(cache, "models--org--tiny-bert")).isDirectory);
  }));

Deno.test("fetch-data takes single splits of the hub beside files, and class names in the order given", () =>
  withFolder(async (folder) => {
    await using hub = new LocalHub(repositories);
    const env = {
      HF_HUB_CACHE: join(folder, "hub"),
      HF_ENDPOINT: hub.endpoint,
    };
    const file = join(folder, "test.jsonl");
    await Deno.writeTextFile(file, '{"text":"great fun","label":"better"}');
    const { code, output, text } = await runSandboxed("fetch-data", folder, {
      files: {
        train: `hub:org/reviews@${"c".repeat(40)}/validation`,
        test: file,
      },
      classes: ["better", "worse"],
    }, { env });
    assertEquals(code, 0, text);
    const info = await readDatasetInfo(output);
    assertEquals(info.labels, ["better", "worse"]);
    assertEquals(info.splits, { train: 10, test: 1 });
    const [example] = await readExamples(output, "test");
    assertEquals(example!.label, 0);
    assertEquals(
      hub.seen.filter(({ path }) => path.includes("train-0000")),
      [],
    );
    const wrong = await runSandboxed("fetch-data", folder, {
      files: { train: "hub:org/reviews" },
      text: "sentence",
    }, { env });
    assertEquals(wrong.code, 1);
    assertMatch(
      wrong.text,
      /org\/reviews\/data\/train-00000-of-00002\.parquet\\?" has no column \\?"sentence\\?"; it has \\?"text\\?", \\?"label/,
    );
  }));

Deno.test("fetch-glue names a file missing from the data set on the hub", () =>
  withFolder(async (folder) => {
    await using hub = new LocalHub(repositories);
    const env = {
      HF_HUB_CACHE: join(folder, "hub"),
      HF_ENDPOINT: hub.endpoint,
    };
    const cola = { task: "cola" };
    const { code, text } = await runSandboxed("fetch-glue", folder, cola, {
      env,
    });
    assertEquals(code, 1);
    assertMatch(text, /glue.* has no .*cola\/train-00000-of-00001\.parquet/);
  }));
