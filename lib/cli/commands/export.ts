import { resolve } from "node:path";
import { command, UsageError } from "../arguments/arguments.ts";
import { createFolder, KEY_OPTIONS, shortPath } from "../arguments/options.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { runAlone } from "./run_alone.ts";
import { adapterStage, recommendedFor } from "./stage_result.ts";

export const exportCommand = command`
  export PIPELINE [STAGE]

  Export the adapter of a stage, at one of its ranks, as a folder for PEFT, or with its model in ONNX, for JavaScript. The folder is the one that a stage of the task export-adapter or export-onnx writes, so the pipeline needs no such stage for the rank.

  A model in ONNX serves every rank, and --rank is its default; with --merged it has one rank, for transformers.js.

  STAGE makes an adapter, as trainings do, and has run with the same parameters (-S, --profile; by default those of the last run) and engine. By default, it is the first one of the pipeline that does, and whose adapter no other is made of.

  Options:
  --rank N  Rank to export (default: the one recommended by the pipeline's report, else the adapter's own)
  --epoch NAME{last,best}  Epoch of the adapter: last or best (default last)
  --to DIR  Folder to create (default: named after the stage and the rank, in the current folder); onnx or onnx:DIR for ONNX
  --merged  In ONNX: merge the adapter at the rank
  --dtype TYPE{fp32,fp16,q8}  In ONNX: float32, float16, or 8 bits; the model card has what it costs on the validation split (default fp32)
  ${KEY_OPTIONS}

  Examples:
  smoke  Export the adapter at the recommended rank
  smoke train-dylora --rank 4  Export it at rank 4
  glue-mini train-dylora@mrpc,seed=0 --rank 2 --to ./mrpc  Name the folder
  smoke train-dylora --to onnx  Export every rank in ONNX
  smoke train-dylora --rank 4 --to onnx --merged --dtype q8  Export a model for transformers.js in 8 bits
`(async (args) => {
  const requested = args.integer("rank", 1);
  const to = args.value("to") ?? "";
  const isOnnx = to === "onnx" || to.startsWith("onnx:");
  const unused = (["merged", "dtype"] as const).find((it) => args.has(it));
  if (!isOnnx && unused !== undefined) {
    throw new UsageError(`Option "--${unused}" requires "--to onnx"`);
  }
  const adapter = await adapterStage(args, ["adapter"]);
  const { graph, stage, model } = adapter;
  // The examples on which the loss by a smaller type is measured.
  const [id = ""] = args.has("dtype") ? stage.inputs.tokens ?? [] : [];
  const others = { model, tokens: graph.stages.get(id) };
  using results = requested === undefined
    ? await adapter.openReported(others)
    : await adapter.open(others);
  const { lastingPaths, inputs: { report, ...inputs } } = results;
  const recommended = report === undefined
    ? undefined
    : await recommendedFor(stage.id, report, inputs.adapter!);
  const rank = requested ?? recommended;
  const ofRank = rank === undefined ? stage.id : `${stage.id}-rank-${rank}`;
  const name = isOnnx ? `${ofRank}-onnx` : ofRank;
  const folder = (isOnnx ? to.slice("onnx:".length) : to) || name;
  const output = resolve(Deno.cwd(), folder);
  const params = {
    ...(rank !== undefined && { rank }),
    ...(args.has("epoch") && { epoch: args.value("epoch") }),
    ...(args.has("merged") && { merged: true }),
    ...(args.has("dtype") && { dtype: args.value("dtype") }),
  };
  return await interruptible(async (signal) => {
    const task = isOnnx ? "export-onnx" : "export-adapter";
    await createFolder(output, (folder) => {
      const run = { params, inputs, lastingPaths, folder, signal };
      return runAlone(args, task, run);
    });
    let at = rank === undefined ? "" : ` at rank ${rank}`;
    if (requested === undefined && report !== undefined) {
      at = rank === undefined
        ? " at its own rank, since the report recommends none"
        : ` at rank ${rank}, which the report recommends`;
    }
    console.log(`Exported ${stage.id}${at}, to ${shortPath(output)}`);
  });
});
