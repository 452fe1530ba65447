import * as z from "zod";
import { matryoshka } from "../lib/engine/schedules/matryoshka.ts";
import { defineTask } from "../lib/pipeline/task.ts";
import { ADAPTER_TRAINING, trainingSettings } from "../lib/stages/settings.ts";

export default defineTask({
  description:
    "Train an adapter at several ranks in every step: the Matryoshka objective",
  params: z.strictObject({ ...trainingSettings, ...matryoshka.settings }),
  ...ADAPTER_TRAINING,
  run: async (stage) =>
    (await import("../lib/stages/train_adapter.ts")).trainAdapter(
      stage,
      matryoshka,
    ),
});
