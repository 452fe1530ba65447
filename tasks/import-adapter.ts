import { z } from "zod";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_FILES } from "./artifacts/adapter.ts";
import { areDistinct } from "./artifacts/classes.ts";

export default defineTask({
  description: "Take over a LoRA adapter for classification that PEFT wrote",
  params: z.strictObject({
    source: z.string().min(1).describe(
      "Folder with adapter_config.json and adapter_model.safetensors",
    ),
    method: z.enum(["lora", "dylora"]).default("lora").describe(
      "What it was trained as: lora serves its own rank; dylora every rank b up to it, with scale alpha / b",
    ),
    task: z.string().min(1).optional().describe(
      "Name of the task that it is for; by default that of the tokens, which it must be if they are connected",
    ),
    labels: z.array(z.string().min(1)).min(2).refine(
      areDistinct,
      "Expected distinct names",
    ).optional().describe(
      "Class names in the order of their numbers, which must be that of the tokens if they are connected; by default those of the tokens, else LABEL_0, LABEL_1 and so on",
    ),
    seed: z.int().min(0).default(0).describe("Seed that its scores go by"),
  }),
  inputs: {
    model: { kind: "model" },
    tokens: { kind: "tokens", optional: true },
  },
  output: { kind: "adapter", files: ADAPTER_FILES },
  sources({ source }): Record<string, string> {
    return { source: expandHome(source) };
  },
  async run(stage) {
    const { importAdapter } = await import("./adapters/import_adapter.ts");
    await importAdapter(stage);
  },
});
