import { join } from "node:path";
import { METRICS } from "../../lib/glue/metrics.ts";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import { Report } from "../../lib/report/report.ts";
import { writeScores } from "../../tasks/artifacts/scores.ts";
import {
  STEP_SECONDS,
  TRAINING_SECONDS,
} from "../../tasks/artifacts/training.ts";
import report from "../../tasks/report.ts";

/** Examples of the split that stages are scored on. */
export const EXAMPLES = 60;

const LABELS = ["not_equivalent", "equivalent"];

/** Artifacts as stages would leave them, and the report on them. */
export class TrainedStages {
  readonly inputs: Record<string, InputArtifact[]> = {
    dylora: [],
    dyloraAdapters: [],
    lora: [],
    loraAdapters: [],
  };
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Adds a training and its evaluation. */
  async train(
    method: "dylora" | "lora",
    ranks: readonly number[],
    seed: number,
    { training = 10, evaluation = 1, step = 0.1 } = {},
    matrix: Record<string, string> = {},
  ): Promise<void> {
    const place = {
      glue: "mrpc",
      seed,
      ...(method === "lora" && { rank: ranks[0]! }),
      ...matrix,
    };
    const suffix = Object.values(place).join("-");
    const adapter = join(this.#folder, `train-${method}-${suffix}`);
    const scores = join(this.#folder, `evaluate-${method}-${suffix}`);
    Deno.mkdirSync(adapter);
    Deno.mkdirSync(scores);
    Deno.writeTextFileSync(
      join(adapter, "training.json"),
      JSON.stringify({
        method,
        task: "mrpc",
        labels: LABELS,
        rank: Math.max(...ranks),
        alpha: 16,
        scaling: method === "dylora" ? "rank" : "maximum",
        mode: method === "dylora" ? "all" : null,
        sampler: method === "dylora" ? { kind: "uniform" } : null,
        seed,
        start: null,
        epochs: 2,
        steps: 100,
        batchSize: 32,
        padding: "longest",
        learningRate: 1e-3,
        weightDecay: 0.1,
        warmupRatio: 0.06,
        precision: "f32",
        engine: "tensorflow",
        examples: 3200,
        tokens: 64_000,
        paddedTokens: 70_000,
        flops: 1e12,
        losses: [],
        selection: null,
      }),
    );
    await this.writeScores(scores, method, ranks, seed, EXAMPLES);
    this.inputs[`${method}Adapters`]!.push({
      stage: `train-${method}@mrpc,seed=${seed}`,
      matrix: place,
      path: adapter,
      // That of the last attempt, after an interruption.
      seconds: training / 4,
      metrics: { [STEP_SECONDS]: step, [TRAINING_SECONDS]: training },
    });
    this.inputs[method]!.push({
      stage: `evaluate@mrpc,seed=${seed}`,
      matrix: place,
      path: scores,
      seconds: evaluation,
      metrics: {},
    });
  }

  async writeScores(
    folder: string,
    method: string,
    ranks: readonly number[],
    seed: number,
    examples: number,
  ): Promise<void> {
    const labels = labelsOf(examples);
    await writeScores(
      folder,
      {
        task: "mrpc",
        labels: LABELS,
        method,
        seed,
        epoch: "last",
        split: "validation",
        examples,
        tokens: 20 * examples,
        flops: 1e9 * ranks.length,
        ranks: ranks.map((rank) => {
          const predictions = predict(method, rank, seed, examples);
          return {
            rank,
            metrics: {
              accuracy: METRICS.accuracy(predictions, labels),
              f1: METRICS.f1(predictions, labels),
            },
          };
        }),
      },
      {
        labels,
        logits: Float32Array.from(
          ranks.flatMap((rank) =>
            [...predict(method, rank, seed, examples)].flatMap((label) =>
              label === 1 ? [-1, 1] : [1, -1]
            )
          ),
        ),
      },
    );
  }

  accuracy(method: string, rank: number, seed: number): number {
    return METRICS.accuracy(
      predict(method, rank, seed, EXAMPLES),
      labelsOf(EXAMPLES),
    );
  }

  /** Runs the task as a stage would. */
  async report(): Promise<{ json: Report; markdown: string }> {
    const output = Deno.makeTempDirSync({ dir: this.#folder });
    await report.run({
      params: report.params.parse({ replicates: 200 }),
      inputs: this.inputs,
      output,
      checkpoint: "",
      cpus: 1,
      facilities: {},
      signal: new AbortController().signal,
      progress: () => {},
      log: () => {},
      metric: () => {},
    });
    const json = Deno.readTextFileSync(join(output, "report.json"));
    return {
      json: Report.parse(JSON.parse(json)),
      markdown: Deno.readTextFileSync(join(output, "report.md")),
    };
  }
}

function labelsOf(examples: number): Float32Array {
  return Float32Array.from({ length: examples }, (_, i) => i % 3 === 0 ? 0 : 1);
}

/** Errs on some examples, on fewer at a higher rank. */
function predict(
  method: string,
  rank: number,
  seed: number,
  examples: number,
): Float32Array {
  const every = 3 + rank + seed + (method === "lora" ? 1 : 0);
  return labelsOf(examples).map((label, i) =>
    i % every === 1 ? 1 - label : label
  );
}
