import * as z from "zod";
import { defineTask } from "../lib/pipeline/task.ts";
import {
  CUT_INPUTS,
  modulesToTake,
  rankToTake,
} from "../lib/stages/settings.ts";

/** Folder of onnxruntime's WebAssembly in a project. */
const RUNTIME = "node_modules/onnxruntime-web/dist";

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
  inputs: {
    model: { kind: "model" },
    ...CUT_INPUTS,
    /** Examples on which the loss by a smaller dtype is measured. */
    tokens: { kind: "tokens", optional: true },
  },
  output: {
    kind: "onnx",
    files: ["config.json", "tokenizer.json", "README.md"],
  },
  permissions: {
    env: ["DYLORA_PROJECT"],
    read: () => {
      const { pathname } = new URL(`../${RUNTIME}`, import.meta.url);
      const path = decodeURIComponent(pathname);
      return [path, Deno.realPathSync(path)];
    },
  },
  async run(stage) {
    const { exportOnnx } = await import("../lib/stages/onnx.ts");
    const folder = `${Deno.env.get("DYLORA_PROJECT") ?? "."}/${RUNTIME}`;
    await exportOnnx(stage, `${folder}/ort-wasm-simd-threaded.wasm`);
  },
});
