import { type EngineSettings, startEngine } from "../../lib/engine/start.ts";
import type { Precision } from "../../lib/engine/tensorflow/precision.ts";
import type { Stage } from "../../lib/pipeline/task.ts";

/** A stage whose task computes. */
export type ComputingStage = Pick<
  Stage<{ readonly precision: Precision | "auto" }>,
  "cpus" | "runtimes" | "params"
>;

/** The engine that the run chose for a stage. */
export function engineOf(
  { runtimes }: Pick<ComputingStage, "runtimes">,
): EngineSettings {
  return runtimes.engine as unknown as EngineSettings;
}

/**
 * Starts the stage's engine with the stage's threads and precision.
 *
 * @returns The precision in which products are computed
 */
export function startStageEngine(stage: ComputingStage): Promise<Precision> {
  const { cpus, params: { precision } } = stage;
  return startEngine(engineOf(stage), { cpus, precision });
}
