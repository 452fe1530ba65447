/** What makes code dense, and is refused. */
import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { listFiles } from "../lib/store/blobs.ts";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** A spread of an object that is written there, which packs properties into a line. */
const PACKING_SPREAD = /\.\.\.\{\s*[\w"\[.]/;

/** Files that still have some. Nothing is added to this list. */
const UNCLEAN: readonly string[] = [
  "lib/cli/commands/graph.ts",
  "lib/cli/commands/pipeline_outcome.ts",
  "lib/cli/commands/resize.ts",
  "lib/cli/pages/text_writer.ts",
  "lib/data/inspect_table.ts",
  "lib/engine/models/pass_weights.ts",
  "lib/engine/models/tensor_pass.ts",
  "lib/engine/ops/adapted_linear.ts",
  "lib/engine/ops/layer_norm.ts",
  "lib/engine/training/generation.ts",
  "lib/engine/training/step.ts",
  "lib/engine/training/train.ts",
  "lib/pipeline/graph.ts",
  "lib/problems/language.ts",
  "lib/scheduler/run_stage.ts",
  "lib/scheduler/scheduler.ts",
  "lib/slurm/settings.ts",
  "lib/store/cleanup.ts",
];

Deno.test("no object is packed by a spread of another one that is written there", () => {
  const packed = ["lib", "tasks"].flatMap((folder) =>
    listFiles(`${ROOT}${folder}`, "refuse").map((path) => `${folder}/${path}`)
  ).filter((path) =>
    path.endsWith(".ts") && !UNCLEAN.includes(path) &&
    PACKING_SPREAD.test(Deno.readTextFileSync(`${ROOT}${path}`))
  );
  assertEquals(packed, []);
});

/** Folders whose comments are wrapped. */
const WRAPPED = [
  "fixtures",
  "lib/benchmarks",
  "lib/cli/pages",
  "lib/onnx",
  "lib/pypi",
  "lib/report",
  "lib/serve",
  "lib/track",
  "tasks",
];

Deno.test("comments are wrapped at 80 columns, but for URLs", () => {
  const tooLong = WRAPPED.flatMap((folder) =>
    listFiles(`${ROOT}${folder}`, "refuse").map((path) => `${folder}/${path}`)
  ).filter((path) => path.endsWith(".ts")).flatMap((path) =>
    Deno.readTextFileSync(`${ROOT}${path}`).split("\n").flatMap((line, i) =>
      line.length > 80 && /^\s*(\/\*\*|\*|\/\/) /.test(line) &&
        !line.includes("://")
        ? [`${path}:${i + 1}`]
        : []
    )
  );
  assertEquals(tooLong, []);
});
