import { isDataSource } from "../lib/hub/data_source.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { HUB_PERMISSIONS } from "../lib/stages/hub.ts";
import { OwnData } from "../lib/stages/own_data.ts";

export default defineTask({
  description:
    "Read your own data from TSV, CSV, JSON or Parquet files, or a data set of the hub",
  params: OwnData,
  inputs: {},
  output: { kind: "dataset", files: ["dataset.json"] },
  permissions: HUB_PERMISSIONS,
  sources: ({ files }) =>
    Object.fromEntries(
      Object.entries(files)
        .flatMap(([split, path]) =>
          path && !isDataSource(path)
            ? [[`files.${split}`, expandHome(path)]]
            : []
        ),
    ),
  check: async (params) =>
    (await import("../lib/stages/own_rows.ts")).checkColumns(params),
  small: true,
  run: async (stage) =>
    (await import("../lib/stages/fetch_own_data.ts")).fetchData(stage),
});
