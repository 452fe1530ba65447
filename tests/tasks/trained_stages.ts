import { join } from "node:path";
import { METRICS } from "../report/results.ts";
import { provenanceNamed } from "../report/results.ts";
import type { InputArtifact } from "../../lib/pipeline/task.ts";
import type { Report } from "../../lib/report/report.ts";
import { writeDataset } from "../../lib/artifacts/dataset.ts";
import { digestOf } from "../../lib/artifacts/json_file.ts";
import { writeScores } from "../../lib/artifacts/scores.ts";
import { writeSafetensors } from "../../lib/engine/safetensors/writer.ts";
import {
  SELECTION_SECONDS,
  STEP_SECONDS,
  TRAINING_SECONDS,
} from "../../lib/artifacts/training.ts";
import report from "../../tasks/report.ts";

/** Examples of the split that stages are scored on. */
export const EXAMPLES = 60;

/** What `training.json` says where a training chose its best epoch. */
const SELECTION = {
  split: "validation",
  examples: EXAMPLES,
  metric: "accuracy",
  flops: 5e9,
  best: 1,
  epochs: [{
    epoch: 1,
    step: 50,
    score: 0.7,
    ranks: [{ rank: 1, metrics: { accuracy: 0.7, f1: 0.6 } }],
  }],
};

const LABELS = ["not_equivalent", "equivalent"];

/** Losses every ten steps, as of a long training. */
export const LOSSES = Array.from({ length: 250 }, (_, i) => ({
  step: 10 * (i + 1),
  loss: 1 / (i + 1),
}));

/** What `training.json` says of any training. */
const TRAINED = {
  task: "mrpc",
  problem: "classification",
  labels: LABELS,
  epochs: 2,
  steps: 100,
  batchSize: 32,
  padding: "longest",
  maxLength: null,
  learningRate: 1e-3,
  weightDecay: 0.1,
  warmupRatio: 0.06,
  precision: "f32",
  engine: "tensorflow",
  examples: 3200,
  tokens: 64_000,
  paddedTokens: 70_000,
  flops: 1e12,
  losses: LOSSES,
};

type Place = InputArtifact["matrix"];

/** Artifacts as stages would leave them, and the report on them. */
export class TrainedStages {
  readonly inputs: Record<string, InputArtifact[]> = {
    scores: [],
    adapters: [],
    classifiers: [],
    data: [],
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
    {
      training = 10,
      evaluation = 1,
      step = 0.1,
      epochs = ["last"] as readonly ("last" | "best")[],
      /** Whether each rank is evaluated by a stage of its own. */
      apart = false,
      machine = undefined as string | undefined,
    } = {},
    matrix: Record<string, string> = {},
  ): Promise<void> {
    const place = {
      glue: "mrpc",
      seed,
      ...(method === "lora" && { rank: ranks[0]! }),
      ...matrix,
    };
    const adapter = this.#addAdapter(
      `train-${method}`,
      method,
      Math.max(...ranks),
      place,
      {
        // That of the last attempt, after an interruption.
        seconds: training / 4,
        metrics: {
          [STEP_SECONDS]: step,
          [TRAINING_SECONDS]: training,
          [SELECTION_SECONDS]: 3,
        },
        ...machine !== undefined && { machine },
      },
      epochs.includes("best"),
    );
    for (const epoch of epochs) {
      for (const evaluated of apart ? ranks.map((it) => [it]) : [ranks]) {
        const scored = {
          ...place,
          ...(epochs.length > 1 && { epoch }),
          ...(apart && { rank: evaluated[0]! }),
        };
        await this.#addScores(method, evaluated, scored, evaluation, adapter);
      }
    }
  }

  /**
   * Adds the reduction of a LoRA to all ranks below its own, and its
   * evaluation.
   */
  async reduce(
    method: "lora-svd" | "lora-truncated",
    rank: number,
    seed: number,
    { reduction = 0.5, evaluation = 2 } = {},
  ): Promise<void> {
    const by = method === "lora-svd" ? "svd" : "truncation";
    const place = { glue: "mrpc", seed, by };
    const adapter = this.#addAdapter("reduce", method, rank, place, {
      seconds: reduction,
      metrics: {},
    });
    const ranks = Array.from({ length: rank }, (_, i) => i + 1);
    await this.#addScores(method, ranks, place, evaluation, adapter);
  }

  /** Adds a training without adapters, and its evaluation. */
  async trainClassifier(method: "head" | "full", seed: number): Promise<void> {
    const place = { glue: "mrpc", seed, method };
    const model = this.#addTraining("classifiers", `train-${method}`, place, {
      seconds: 20,
      metrics: { [STEP_SECONDS]: 0.2, [TRAINING_SECONDS]: 20 },
    }, { method, ...TRAINED, seed, selection: null });
    await this.#addScores(method, [0], place, 1, model);
  }

  /** Adds the data set that was scored, and returns its folder. */
  async addData(): Promise<string> {
    const path = Deno.makeTempDirSync({ dir: this.#folder });
    await writeDataset(path, {
      task: "mrpc",
      problem: "classification",
      labels: LABELS,
      metrics: ["accuracy", "f1"],
      columns: ["a", "b"],
    }, {
      validation: [...labelsOf(EXAMPLES)].map((label, index) => ({
        index,
        text: `text ${index}`,
        pair: `<pair> ${index}`,
        label,
      })),
    });
    this.inputs.data!.push({ stage: "data@mrpc", matrix: {}, path });
    return path;
  }

  #addTraining(
    input: string,
    name: string,
    matrix: Place,
    measured: Pick<InputArtifact, "seconds" | "metrics">,
    training: Readonly<Record<string, unknown>>,
  ): string {
    const path = join(this.#folder, [name, ...Object.values(matrix)].join("-"));
    Deno.mkdirSync(path);
    Deno.writeTextFileSync(
      join(path, "training.json"),
      JSON.stringify(training),
    );
    const stage = `${name}@mrpc,seed=${matrix.seed}`;
    this.inputs[input]!.push({ stage, matrix, path, ...measured });
    return path;
  }

  #addAdapter(
    name: string,
    method: string,
    rank: number,
    matrix: Place,
    measured: Pick<InputArtifact, "seconds" | "metrics" | "machine">,
    keepsBest = false,
  ): string {
    const dylora = method === "dylora";
    const path = this.#addTraining("adapters", name, matrix, measured, {
      method: dylora ? { name: method, mode: matrix.mode } : { name: "lora" },
      imported: false,
      reducedBy: matrix.by ?? null,
      ...TRAINED,
      rank,
      alpha: 16,
      scaling: dylora ? "rank" : "maximum",
      targetModules: ["query", "value"],
      learningRate: { low: 1e-4, high: 1e-2 }[matrix.rate!] ?? 1e-3,
      seed: matrix.seed,
      start: null,
      selection: keepsBest ? SELECTION : null,
    });
    const prefix = "base_model.model.roberta.encoder.layer.0.attention.self";
    const zeros = (...shape: number[]) => ({
      shape,
      values: new Float32Array(shape.reduce((a, b) => a * b)),
    });
    writeSafetensors(join(path, "adapter_model.safetensors"), {
      [`${prefix}.query.lora_A.weight`]: zeros(rank, 8),
      [`${prefix}.query.lora_B.weight`]: zeros(6, rank),
      [`${prefix}.value.lora_A.weight`]: zeros(rank, 8),
      [`${prefix}.value.lora_B.weight`]: zeros(6, rank),
      "base_model.model.classifier.out_proj.weight": zeros(2, 8),
      "base_model.model.classifier.out_proj.bias": zeros(2),
    });
    return path;
  }

  async #addScores(
    method: string,
    ranks: readonly number[],
    matrix: Place,
    seconds: number,
    trained: string,
  ): Promise<void> {
    const name = `evaluate-${method}`;
    const path = join(this.#folder, [name, ...Object.values(matrix)].join("-"));
    Deno.mkdirSync(path);
    await this.writeScores(
      path,
      method,
      ranks,
      matrix.seed as number,
      EXAMPLES,
      {
        epoch: matrix.epoch as "last" | "best" | undefined,
        training: await digestOf(join(trained, "training.json")),
      },
    );
    const stage = `${name}@mrpc,seed=${matrix.seed}`;
    this.inputs.scores!.push({ stage, matrix, path, seconds, metrics: {} });
  }

  async writeScores(
    folder: string,
    method: string,
    ranks: readonly number[],
    seed: number,
    examples: number,
    { epoch = "last", training = "0".repeat(64) }: {
      readonly epoch?: "last" | "best" | undefined;
      readonly training?: string;
    } = {},
  ): Promise<void> {
    const labels = labelsOf(examples);
    const at = (rank: number) => {
      const predictions = predict(method, rank, seed, examples);
      return {
        metrics: {
          accuracy: METRICS.accuracy(predictions, labels),
          f1: METRICS.f1(predictions, labels),
        },
        logits: [...predictions].flatMap((label) =>
          label === 1 ? [-1, 1] : [1, -1]
        ),
      };
    };
    await writeScores(
      folder,
      {
        task: "mrpc",
        problem: "classification",
        labels: LABELS,
        provenance: provenanceNamed(method),
        seed,
        training,
        epoch,
        split: "validation",
        precision: "bf16",
        examples,
        tokens: 20 * examples,
        flops: 1e9 * ranks.length,
        ranks: ranks.map((rank) => ({ rank, metrics: at(rank).metrics })),
      },
      {
        labels,
        logits: Float32Array.from(ranks.flatMap((rank) => at(rank).logits)),
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
  async report(): Promise<
    { json: Report; markdown: string; page: string; folder: string }
  > {
    const output = Deno.makeTempDirSync({ dir: this.#folder });
    await report.run({
      params: report.params.parse({ replicates: 200 }),
      inputs: this.inputs,
      output,
      checkpoint: "",
      cpus: 1,
      runtimes: {},
      signal: new AbortController().signal,
      progress: () => {},
      log: () => {},
      saved: () => {},
      metric: () => {},
    });
    const json = Deno.readTextFileSync(join(output, "report.json"));
    return {
      folder: output,
      json: JSON.parse(json),
      markdown: Deno.readTextFileSync(join(output, "report.md")),
      page: Deno.readTextFileSync(join(output, "report.html")),
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
  const every = 3 + rank + seed + (method === "dylora" ? 0 : 1);
  return labelsOf(examples).map((label, i) =>
    i % every === 1 ? 1 - label : label
  );
}
