import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import { methodOf } from "../../lib/report/methods.ts";
import { digestOf } from "../artifacts/digest.ts";
import type { ScoresInfo } from "../artifacts/scores.ts";
import { type AdapterRecord, readRecord } from "../artifacts/adapter_record.ts";
import {
  type ClassifierTraining,
  readClassifierTraining,
} from "../artifacts/classifier.ts";

/** An adapter, or a model trained without adapters, and how it came to be. */
export interface TrainedArtifact {
  readonly artifact: InputArtifact;
  readonly training: AdapterRecord | ClassifierTraining;
  /** SHA-256 of its `training.json`. */
  readonly digest: string;
}

/** Reads how adapters came to be. */
export function readAdapters(
  adapters: readonly InputArtifact[],
): Promise<TrainedArtifact[]> {
  return Promise.all(adapters.map(async (artifact) => ({
    artifact,
    training: await readRecord(artifact.path),
    digest: await digestOf(join(artifact.path, "training.json")),
  })));
}

/** Reads how models without adapters were trained. */
export function readClassifiers(
  classifiers: readonly InputArtifact[],
): Promise<TrainedArtifact[]> {
  return Promise.all(classifiers.map(async (artifact) => ({
    artifact,
    training: await readClassifierTraining(artifact.path),
    digest: await digestOf(join(artifact.path, "training.json")),
  })));
}

/**
 * What scores belong to: the artifact that they say they are of, of the same
 * method, task and seed, and with no matrix value that the scores do not share.
 *
 * @throws {TypeError} If there is none, or more than one.
 */
export function artifactOf(
  scores: InputArtifact,
  info: ScoresInfo,
  trainings: readonly TrainedArtifact[],
): TrainedArtifact {
  const found = trainings.filter(({ artifact, training }) =>
    training.method === info.method && training.task === info.task &&
    training.seed === info.seed &&
    Object.entries(artifact.matrix).every(([key, value]) =>
      scores.matrix[key] === value
    )
  );
  const [only] = found;
  if (only !== undefined && found.length === 1) {
    if (only.digest === info.training) return only;
    throw new TypeError(
      `"${scores.stage}" does not score what "${only.artifact.stage}" trained, but another training with the same method, task, seed and matrix: connect that one`,
    );
  }
  const elsewhere = trainings.find(({ training }) =>
    training.method === info.method && training.seed === info.seed &&
    training.method.startsWith("imported-") && training.task !== info.task
  );
  if (found.length === 0 && elsewhere !== undefined) {
    throw new TypeError(
      `"${elsewhere.artifact.stage}" was imported for the task "${elsewhere.training.task}", and "${scores.stage}" scores it on "${info.task}": give import-adapter the parameter "task", or the input "tokens"`,
    );
  }
  throw new TypeError(
    `Expected one training of method "${info.method}", task "${info.task}" and seed ${info.seed} with the matrix values of "${scores.stage}", found ${
      names(found)
    }; connect the stages that trained what all scores belong to, with the same matrix, to "adapters" or, without adapters, to "classifiers"`,
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
  const others = ({ training }: TrainedArtifact) => ({
    ...training,
    method: undefined,
    scaling: undefined,
  });
  const found = adapters.find((other) =>
    other.training.method === reduces &&
    isDeepStrictEqual(others(other), others(adapter))
  );
  if (found !== undefined) return found;
  throw new TypeError(
    `"${adapter.artifact.stage}" was made from an adapter of method "${reduces}" that is not among "adapters"; connect the stage that trained it, too, since its costs count`,
  );
}

function names(found: readonly TrainedArtifact[]): string {
  return found.map(({ artifact }) => `"${artifact.stage}"`).join(", ") ||
    "none";
}
