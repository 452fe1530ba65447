import { resolve } from "node:path";
import { command, UsageError } from "../arguments/arguments.ts";
import { createFolder, KEY_OPTIONS, shortPath } from "../arguments/options.ts";
import { interruptible } from "../terminal/interrupts.ts";
import { runAlone } from "./run_alone.ts";
import { adapterStage } from "./stage_result.ts";

export const exportCommand = command`
  export PIPELINE STAGE

  Export the adapter of a stage, at one of its ranks, as a folder for PEFT, or with its model in ONNX, for JavaScript. The folder is the one that a stage of the task export-adapter or export-onnx writes, so the pipeline needs no such stage for the rank.

  A model in ONNX serves every rank, and --rank is its default; with --merged it has one rank, for transformers.js.

  STAGE makes an adapter, as trainings do, and has run with the same parameters (-S, --profile) and engine.

  Options:
  --rank N  Rank to export (default: the adapter's own)
  --epoch NAME{last,best}  Epoch of the adapter: last or best (default last)
  --to DIR  Folder to create (default: named after the stage and the rank, in the current folder); onnx or onnx:DIR for ONNX
  --merged  In ONNX: merge the adapter at the rank
  --dtype TYPE{fp32,fp16,q8}  In ONNX: float32, float16, or 8 bits; the model card has what it costs on the validation split (default fp32)
  ${KEY_OPTIONS}

  Examples:
  smoke train-dylora --rank 4  Export the adapter at rank 4
  glue-mini train-dylora@mrpc,seed=0 --rank 2 --to ./mrpc  Name the folder
  smoke train-dylora --to onnx  Export every rank in ONNX
  smoke train-dylora --rank 4 --to onnx --merged --dtype q8  Export a model for transformers.js in 8 bits
`(async (args) => {
  const rank = args.integer("rank", 1);
  const to = args.value("to") ?? "";
  const isOnnx = to === "onnx" || to.startsWith("onnx:");
  const unused = (["merged", "dtype"] as const).find((it) => args.has(it));
  if (!isOnnx && unused !== undefined) {
    throw new UsageError(`Option "--${unused}" requires "--to onnx"`);
  }
  const { graph, stage, model, open } = await adapterStage(args, ["adapter"]);
  const ofRank = rank === undefined ? stage.id : `${stage.id}-rank-${rank}`;
  const name = isOnnx ? `${ofRank}-onnx` : ofRank;
  const folder = (isOnnx ? to.slice("onnx:".length) : to) || name;
  const output = resolve(Deno.cwd(), folder);
  // The examples on which the loss by a smaller type is measured.
  const [id = ""] = args.has("dtype") ? stage.inputs.tokens ?? [] : [];
  using results = await open({ model, tokens: graph.stages.get(id) });
  const { inputs, lastingPaths } = results;
  return await interruptible(async (signal) => {
    await createFolder(
      output,
      (folder) =>
        runAlone(args, isOnnx ? "export-onnx" : "export-adapter", {
          params: {
            ...(rank !== undefined && { rank }),
            ...(args.has("epoch") && { epoch: args.value("epoch") }),
            ...(args.has("merged") && { merged: true }),
            ...(args.has("dtype") && { dtype: args.value("dtype") }),
          },
          ...{ inputs, lastingPaths, folder, signal },
        }),
    );
    const at = rank === undefined ? "" : ` at rank ${rank}`;
    console.log(`Exported ${stage.id}${at} to ${shortPath(output)}`);
  });
});
