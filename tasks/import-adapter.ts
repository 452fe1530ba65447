import * as z from "zod";
import { ADAPTER_FILES } from "../lib/peft/adapter.ts";
import { expandHome } from "../lib/hub/model_source.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { classNames } from "../lib/stages/settings.ts";

export default defineTask({
  description: "Import a LoRA adapter from a PEFT folder",
  params: z.strictObject({
    source: z.string().min(1).describe(
      "Folder with adapter_config.json and adapter_model.safetensors",
    ),
    method: z.enum(["lora", "dylora"]).default("lora").describe(
      "Method of its training: a lora serves its own rank, a dylora every rank b up to its own with scale alpha / b",
    ),
    task: z.string().min(1).optional().describe(
      "Name of the task; default: the task of the input tokens, which it must match, otherwise that of an adapter that export-adapter wrote",
    ),
    labels: classNames(z.string()).optional().describe(
      "Class names in the order of their ids; default: those of the input tokens or of an adapter that export-adapter wrote, which they must match, otherwise LABEL_0, LABEL_1 and so on",
    ),
    seed: z.int().min(0).default(0).describe(
      "Seed under which its scores are reported",
    ),
  }),
  inputs: {
    model: { kind: "model" },
    tokens: { kind: "tokens", optional: true },
  },
  output: { kind: "adapter", files: ADAPTER_FILES },
  sources: ({ source }) => ({ source: expandHome(source) }),
  small: true,
  run: async (stage) =>
    (await import("../lib/stages/import.ts")).importAdapter(stage),
});
