import { GLUE_TASKS, taskFolder } from "../lib/benchmarks/glue.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { GlueData } from "../lib/stages/glue_data.ts";
import { HUB_PERMISSIONS } from "../lib/stages/hub.ts";

export default defineTask({
  description: "Fetch a GLUE task from the hub or from a folder of TSV files",
  params: GlueData,
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  permissions: HUB_PERMISSIONS,
  sources({ source, task }): Record<string, string> {
    return source === "hub"
      ? {}
      : { source: taskFolder(expandHome(source), GLUE_TASKS[task]) };
  },
  run: async (stage) =>
    (await import("../lib/stages/fetch_glue_data.ts")).fetchGlue(stage),
});
