import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  CUT_INPUTS,
  modulesToTake,
  rankToTake,
} from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Export an adapter and its model in ONNX, for every rank at once or merged at one",
  params: z.strictObject({
    ...rankToTake,
    merged: z.boolean().default(false).describe(
      "Merge the adapter into the model at one rank, laid out for transformers.js; otherwise its factors are inputs of the model, which then serves every rank and other adapters",
    ),
    dtype: z.enum(["fp32", "fp16", "q8"]).default("fp32").describe(
      "Weights and products of the model: float32, float16, or 8 bits, where products are computed with integers",
    ),
    targetModules: modulesToTake.describe(
      "Modules with inputs for the factors of adapters, as in PEFT: name suffixes, or all-linear; default: those of the adapter",
    ),
  }),
  inputs: { model: { kind: "model" }, ...CUT_INPUTS },
  output: {
    kind: "onnx",
    files: ["config.json", "tokenizer.json", "README.md"],
  },
  run: async (stage) =>
    (await import("../lib/stages/onnx.ts")).exportOnnx(stage),
});
