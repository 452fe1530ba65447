import { assertEquals, assertMatch } from "@std/assert";
import { join, relative } from "node:path";
import { readDatasetInfo, readExamples } from "../../lib/artifacts/dataset.ts";
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
];

Deno.test("fetch-model and fetch-glue fetch from the hub within the permissions that they declare, then work offline", () =>
  withFolder(async (folder) => {
    // A cache that does not exist yet, in a folder that does not either.
    const cache = join(folder, "new", "hub");
    const online = new LocalHub(repositories);
    const env = { HF_HUB_CACHE: cache, HF_ENDPOINT: online.endpoint };
    const model = { source: "org/tiny-bert" };
    const glue = { task: "mnli" };
    const first = [
      await runSandboxed("fetch-model", folder, model, { env }),
      await runSandboxed("fetch-glue", folder, glue, { env }),
    ];
    await online[Symbol.asyncDispose]();
    const offline = { ...env, HF_HUB_OFFLINE: "1" };
    const again = [
      await runSandboxed("fetch-model", folder, model, { env: offline }),
      await runSandboxed("fetch-glue", folder, glue, { env: offline }),
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
    const [example] = await readExamples(path, info, "test_matched");
    assertEquals(example!.label, undefined);
  }));

Deno.test("fetch-glue names the file that the hub's data set lacks", () =>
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
