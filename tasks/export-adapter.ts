import * as z from "zod";
import { PEFT_FILES } from "../lib/peft/adapter.ts";
import { CLASSES_FILE } from "../lib/artifacts/classes.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { CUT_INPUTS, rankToTake } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Export an adapter for PEFT, at one rank or at a rank per module",
  params: z.strictObject({
    ...rankToTake,
    baseModel: z.string().min(1).nullish().describe(
      "Base model to write into the PEFT configuration: OWNER/NAME of the hub, or a folder; default: the repository of the hub on which the adapter was trained, and else a folder, to be filled in",
    ),
  }),
  inputs: {
    ...CUT_INPUTS,
    /** The model on which the adapter was trained, for its tokenizer. */
    model: { kind: "model", optional: true },
  },
  output: { kind: "peft", files: [...PEFT_FILES, CLASSES_FILE, "README.md"] },
  small: true,
  run: async (stage) =>
    (await import("../lib/stages/export.ts")).exportAdapter(stage),
});
