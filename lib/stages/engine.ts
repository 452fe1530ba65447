import { type EngineSettings, startEngine } from "../engine/start.ts";
import type { Precision } from "../engine/tensorflow/precision.ts";
import type { Stage } from "../pipeline/task.ts";

/**
 * Starts the engine that a run has selected, with the threads of a stage, and
 * makes it the backend of tfjs. Its task must have `needs: ["engine"]`.
 *
 * @param precision Of matrix products; `auto` selects bf16 if it is faster
 * @returns The precision, with `auto` resolved
 * @throws {Error} If the task does not need the engine, or it cannot run.
 */
export async function startStageEngine(
  { cpus, runtimes }: Pick<Stage<unknown>, "cpus" | "runtimes">,
  precision: Precision | "auto" = "f32",
): Promise<Precision> {
  const { engine } = runtimes;
  if (engine === undefined) {
    throw new Error(
      'The engine was not selected for this stage: add needs: ["engine"] to its task',
    );
  }
  // What the selection has written (lib/cli/runtime/engine.ts), as JSON.
  const settings = engine as object as EngineSettings;
  return await startEngine(settings, { cpus, precision });
}
