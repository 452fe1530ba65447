import { GLUE_TASKS } from "../../lib/glue/benchmark.ts";
import { predictionsOf } from "../../lib/glue/predictions.ts";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type { Result } from "../../lib/report/result.ts";
import { readOutputs, readScores } from "../artifacts/scores.ts";
import {
  readTraining,
  STEP_SECONDS,
  TRAINING_SECONDS,
} from "../artifacts/training.ts";

/**
 * Reads scores, and with each the costs of the adapter that it belongs to: the
 * one whose matrix values the scores share.
 */
export async function readResults(
  role: Result["role"],
  scores: readonly InputArtifact[],
  adapters: readonly InputArtifact[],
): Promise<Result[]> {
  const results: Result[] = [];
  for (const artifact of scores) {
    results.push(
      await readResult(role, artifact, adapterOf(artifact, adapters)),
    );
  }
  return results;
}

function adapterOf(
  scores: InputArtifact,
  adapters: readonly InputArtifact[],
): InputArtifact {
  const found = adapters.filter(({ matrix }) =>
    Object.entries(matrix).every(([key, value]) => scores.matrix[key] === value)
  );
  if (found.length === 1) return found[0]!;
  throw new TypeError(
    `Expected one adapter with the matrix values of "${scores.stage}", found ${
      found.map(({ stage }) => `"${stage}"`).join(", ") || "none"
    }; connect the trainings behind all scores, with the same matrix`,
  );
}

async function readResult(
  role: Result["role"],
  artifact: InputArtifact,
  adapter: InputArtifact,
): Promise<Result> {
  const info = await readScores(artifact.path);
  const training = await readTraining(adapter.path);
  for (const field of ["task", "seed"] as const) {
    if (info[field] !== training[field]) {
      throw new TypeError(
        `"${artifact.stage}" scores ${field} ${
          info[field]
        }, but "${adapter.stage}" trained ${field} ${training[field]}`,
      );
    }
  }
  const { logits, labels } = readOutputs(artifact.path, info);
  const outputs = info.labels?.length ?? 1;
  const size = info.examples * outputs;
  return {
    role,
    task: info.task,
    title: Object.hasOwn(GLUE_TASKS, info.task)
      ? GLUE_TASKS[info.task as keyof typeof GLUE_TASKS].title
      : info.task,
    split: info.split,
    method: info.method,
    variant: variantOf(artifact.matrix),
    seed: info.seed,
    labels,
    ranks: info.ranks.map(({ rank, metrics }, i) => ({
      rank,
      metrics,
      predictions: predictionsOf(
        logits.subarray(i * size, (i + 1) * size),
        outputs,
      ),
    })),
    training: {
      seconds: metricOf(adapter, TRAINING_SECONDS),
      stepSeconds: metricOf(adapter, STEP_SECONDS),
      steps: training.steps,
      examples: training.examples,
    },
    evaluationSeconds: secondsOf(artifact),
  };
}

/** What the scores' files tell themselves; any other matrix value makes a variant. */
const COMMON = ["glue", "task", "seed", "rank", "split"];

function variantOf(matrix: InputArtifact["matrix"]): string {
  return Object.entries(matrix)
    .filter(([key]) => !COMMON.includes(key))
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(", ");
}

function secondsOf({ stage, seconds }: InputArtifact): number {
  if (seconds !== undefined) return seconds;
  throw new TypeError(`No seconds are recorded for "${stage}"`);
}

function metricOf({ stage, metrics }: InputArtifact, name: string): number {
  const value = metrics?.[name];
  if (value !== undefined) return value;
  throw new TypeError(
    `"${stage}" reported no "${name}"; run it again with \`--force\``,
  );
}
