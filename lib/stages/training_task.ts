/** Tasks that train, all but their descriptions. */
import * as z from "zod";
import { ADAPTER_FILES } from "../peft/adapter.ts";
import { CLASSIFIER_FILES } from "../artifacts/classifier.ts";
import type { Bound } from "../engine/schedules/registry.ts";
import type { Schedule } from "../engine/schedules/schedule.ts";
import {
  ADAPTER_TRAINING_INPUTS,
  type AdapterTrainingStage,
  classifierSettings,
  TRAINING_INPUTS,
  trainingSettings,
  type TrainingStage,
} from "./settings.ts";

/** A training without adapters. */
export function classifierTraining(method: Bound) {
  return {
    params: z.strictObject(classifierSettings),
    inputs: TRAINING_INPUTS,
    output: { kind: "classifier", files: CLASSIFIER_FILES },
    needs: ["engine"],
    run: async (stage: TrainingStage) =>
      (await import("./training.ts")).trainClassifier(stage, method),
  } as const;
}

/** A training of adapters by a schedule. */
export function adapterTraining<Settings extends z.ZodRawShape>(
  schedule: Schedule<string, Settings>,
) {
  return {
    params: z.strictObject({ ...trainingSettings, ...schedule.settings }),
    inputs: ADAPTER_TRAINING_INPUTS,
    output: { kind: "adapter", files: ADAPTER_FILES },
    needs: ["engine"],
    run: async (stage: AdapterTrainingStage) =>
      (await import("./train_adapter.ts")).trainAdapter(stage, schedule),
  } as const;
}
