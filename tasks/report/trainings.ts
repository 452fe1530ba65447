import { isDeepStrictEqual } from "node:util";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import { methodOf } from "../../lib/report/methods.ts";
import type { ScoresInfo } from "../artifacts/scores.ts";
import { readTraining, type Training } from "../artifacts/training.ts";

/** An adapter, and how it was trained. */
export interface TrainedArtifact {
  readonly artifact: InputArtifact;
  readonly training: Training;
}

/** Reads how adapters were trained. */
export function readTrainings(
  adapters: readonly InputArtifact[],
): Promise<TrainedArtifact[]> {
  return Promise.all(adapters.map(async (artifact) => ({
    artifact,
    training: await readTraining(artifact.path),
  })));
}

/**
 * The adapter that scores belong to: of the same method, task and seed, and
 * with no matrix value that the scores do not share.
 *
 * @throws {TypeError} If there is none, or more than one.
 */
export function adapterOf(
  scores: InputArtifact,
  info: ScoresInfo,
  adapters: readonly TrainedArtifact[],
): TrainedArtifact {
  const found = adapters.filter(({ artifact, training }) =>
    training.method === info.method && training.task === info.task &&
    training.seed === info.seed &&
    Object.entries(artifact.matrix).every(([key, value]) =>
      scores.matrix[key] === value
    )
  );
  if (found.length === 1) return found[0]!;
  throw new TypeError(
    `Expected one adapter of method "${info.method}", task "${info.task}" and seed ${info.seed} with the matrix values of "${scores.stage}", found ${
      names(found)
    }; connect the stages that made the adapters behind all scores to "adapters", with the same matrix`,
  );
}

/**
 * The training that an adapter came from: its own, or if it was made by
 * reducing another, that one's, which is the same in all but method and scale.
 *
 * @throws {TypeError} If the adapter was reduced, and the one that it came from is not given.
 */
export function originOf(
  adapter: TrainedArtifact,
  adapters: readonly TrainedArtifact[],
): TrainedArtifact {
  const { reduces } = methodOf(adapter.training.method);
  if (reduces === undefined) return adapter;
  const { method: _, scaling: __, ...training } = adapter.training;
  const found = adapters.find(({ training: other }) => {
    const { method, scaling: _, ...rest } = other;
    return method === reduces && isDeepStrictEqual(rest, training);
  });
  if (found !== undefined) return found;
  throw new TypeError(
    `"${adapter.artifact.stage}" was made from an adapter of method "${reduces}" that is not among "adapters"; connect the stage that trained it, too, since its costs count`,
  );
}

function names(found: readonly TrainedArtifact[]): string {
  return found.map(({ artifact }) => `"${artifact.stage}"`).join(", ") ||
    "none";
}
